// @ts-check
/** Small modal dialogs. The browser's own element keeps the focus inside, closes on Esc and gives the focus back. */

import { freshId, h } from './dom.js';

/**
 * Asks for a yes. Resolves to false if the dialog is closed in any other way.
 * @param {{title: string, text: string, yes: string, no: string, danger?: boolean}} words @returns {Promise<boolean>}
 */
export function confirmed({ title, text, yes, no, danger = false }) {
  const dialog = dialogWith(title,
    h('p', null, text),
    h('div', { class: 'dialog-actions' },
      h('button', { value: 'no', class: 'secondary-button', autofocus: danger }, no),
      h('button', { value: 'yes', class: danger ? 'danger-button' : 'primary-button', autofocus: !danger }, yes)));
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes')));
}

/**
 * Asks for one line of text; null if the dialog is closed without it.
 * @param {string} title @param {string} text what stands there at first
 * @param {{longest: number, problem?: string}} about   `problem`: what was wrong with the text, if it was asked for before
 * @returns {Promise<string | null>}
 */
export function askedFor(title, text, { longest, problem = '' }) {
  const problemId = freshId('problem');
  const input = h('input', { type: 'text', dir: 'auto', 'aria-label': title, autofocus: true, maxlength: longest, 'aria-invalid': problem ? 'true' : null, 'aria-describedby': problemId });
  input.value = text;
  const dialog = dialogWith(title, input, h('p', { class: 'problem', id: problemId, role: 'alert' }, problem), h('div', { class: 'dialog-actions' },
    h('button', { value: 'no', class: 'secondary-button', formnovalidate: true, type: 'button', onclick: () => dialog.close('no') }, 'Cancel'),
    h('button', { value: 'yes', class: 'primary-button' }, 'Save')));
  input.select();
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes' ? input.value.trim() : null)));
}

/** @param {string} title @param {...Node} content */
export function dialogWith(title, ...content) {
  const heading = h('h2', { id: 'dialog-title' }, title);
  const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' }, h('form', { method: 'dialog' }, heading, ...content));
  document.body.append(dialog);
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close('no'); });
  dialog.showModal();
  return dialog;
}

/** A sentence that everybody should hear and that goes away by itself; the one before is no longer true then. @param {string} words */
export function announce(words) {
  const place = document.getElementById('announcements');
  if (!place) return;
  const toast = h('div', { class: 'toast' }, words);
  place.replaceChildren(toast);
  setTimeout(() => toast.remove(), Math.max(5000, words.length * 70));
}
