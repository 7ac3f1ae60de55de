// @ts-check
/** Copies text and says so on the button that was pressed. */

import { h } from '../elements/dom.js';
import { icon } from '../elements/icons.js';

const SAID_FOR_MS = 1600;

/** @param {string} text */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Under plain http there is no clipboard; the old way still works, but takes the focus.
  const focused = document.activeElement;
  const field = h('textarea', { class: 'visually-hidden' });
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand('copy');
  field.remove();
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  if (!done) throw new Error('this browser does not let the page copy');
}

/** @param {string} label @param {() => string} text @param {string} [className] */
export function copyButton(label, text, className = 'quiet-button') {
  const words = h('span', null, 'Copy');
  const button = h('button', {
    type: 'button', class: `${className} copy-button`, 'aria-label': label,
    onclick: async () => {
      try {
        await copyText(text());
        words.textContent = 'Copied';
      } catch {
        words.textContent = 'Could not copy';
      }
      button.setAttribute('aria-label', words.textContent);
      setTimeout(() => { words.textContent = 'Copy'; button.setAttribute('aria-label', label); }, SAID_FOR_MS);
    },
  }, icon('copy'), words);
  return button;
}
