// @ts-check
/** Draws what was said: one function per kind of item, all of the same outline (face, speakers, body). */

import { h } from '../elements/dom.js';
import { icon } from '../elements/icons.js';
import { face, speakers } from '../elements/faces.js';
import { codeBlock, richText, withCode } from '../text/rich-text.js';
import { plainDetailOf } from './state.js';
import { copyButton } from '../text/copying.js';
import { streamedText } from '../text/streamed-text.js';
import { prettyJson } from '../text/words.js';
import { titleOf } from '../gateway/workflow-titles.js';

/** @typedef {import('../elements/faces.js').Hues} Hues */

/**
 * @param {{key: string, kind: string, sender: string, recipient: string, at?: string, askedOf?: string | null}} item
 * @param {Hues} hues @param {...Node} body
 */
export function messageFrame(item, hues, ...body) {
  const content = h('div', { class: 'message-body' }, speakers(item, hues), ...body);
  return h('article', frameAttributes(item), item.sender ? face(item.sender, hues) : h('span', { class: 'face nobody', 'aria-hidden': 'true' }), content);
}

/** @param {{key: string, kind: string, sender: string, recipient: string}} item @param {string} [className] */
export function frameAttributes(item, className = 'message') {
  return {
    class: `${className} is-${item.kind}`, 'data-key': item.key, 'data-kind': item.kind,
    'data-sender': item.sender || null, 'data-recipient': item.recipient || null,
  };
}

/** Why a reply is not all that a model had to say. @type {Record<string, string>} */
const CUT_MARKS = { length: 'Cut off here: the reply reached its greatest length.', content_filter: 'Cut off here by a content filter.', refusal: 'The model refused.' };

/** @param {import('./state.js').TextItem} item @param {Hues} hues */
export function textMessage(item, hues) {
  // It stands there already, as the answer to the question for it.
  if (item.standsInQuestion) return h('article', { ...frameAttributes(item), hidden: true });
  const body = item.text.trim() || item.html?.trim() ? richText(item.html, item.text) : h('p', { class: 'muted' }, '(an empty message)');
  const frame = messageFrame(item, hues, body);
  const mark = item.stopped ? 'Stopped here; the rest was never written.' : item.cut && (CUT_MARKS[item.cut] ?? 'Cut off here.');
  if (mark) frame.lastElementChild?.append(h('p', { class: 'stopped-mark' }, icon('stop'), mark));
  frame.append(h('div', { class: 'message-actions' }, copyButton('Copy this message', () => item.text)));
  return frame;
}

/**
 * The text that is being written, and a function that brings it up to date without touching anything around it.
 * @param {import('./state.js').Writing} writing @param {Hues} hues
 */
export function writingMessage(writing, hues) {
  const body = streamedText();
  /** @param {import('./state.js').Writing} now */
  const update = (now) => body.update(now.from > 0 ? `… ${now.text}` : now.text);
  update(writing);
  return { frame: messageFrame(writing, hues, body.element), update };
}

/** @param {import('./state.js').SystemItem} item @param {Hues} hues */
export function systemMessage(item, hues) {
  const message = /** @type {any} */ (item.message);
  const heading = typeof message?.heading === 'string' ? message.heading : null;
  const words = typeof message === 'string' ? message : typeof message?.body === 'string' ? message.body : null;
  if (words === null && item.html === null) return folded(item, hues, heading ?? 'System message', message);
  return h('article', frameAttributes(item, 'notice'), icon('info'), h('div', null,
    speakers({ ...item, sender: item.sender || 'System' }, hues),
    heading ? h('p', { class: 'notice-heading', dir: 'auto' }, heading) : null,
    richText(item.html, words ?? '')));
}

/** @param {import('./state.js').StartedItem} item */
export function startedNotice(item) {
  const params = item.params && typeof item.params === 'object' && Object.keys(item.params).length > 0
    ? fold('Started with these parameters', codeBlock(prettyJson(item.params), 'json')) : null;
  return h('article', frameAttributes(item, 'opening'),
    h('h2', { 'data-title-of': item.name, dir: 'auto' }, titleOf(item.name)),
    item.description ? h('p', { class: 'muted', dir: 'auto' }, item.description) : null, params);
}

/** @param {import('./state.js').ErrorItem} item @param {Hues} hues */
export function errorMessage(item, hues) {
  const detail = plainDetailOf(item);
  return h('article', frameAttributes(item, 'notice is-problem'), icon('warning'), h('div', null,
    speakers({ ...item, sender: item.sender || 'Error' }, hues),
    h('p', { class: 'problem-words', dir: 'auto' }, ...withCode(item.short)),
    detail ? h('p', { class: 'problem-words problem-detail', dir: 'auto' }, ...withCode(detail)) : null,
    item.long && !detail && item.long !== item.short ? fold('Details', codeBlock(item.long, 'text')) : null));
}

/** @param {import('./state.js').UnknownItem} item @param {Hues} hues */
export function unknownMessage(item, hues) {
  const words = item.type.replace(/_/g, ' ');
  if (item.html) return messageFrame(item, hues, richText(item.html, ''), fold(`As it came (${words})`, codeBlock(prettyJson(item.raw), 'json')));
  return folded(item, hues, words.charAt(0).toUpperCase() + words.slice(1), item.raw);
}

/** @param {string} summary @param {...(Node | string)} content */
export function fold(summary, ...content) {
  return h('details', { class: 'fold' }, h('summary', null, summary), ...content);
}

/** @param {import('./state.js').Item} item @param {Hues} hues @param {string} title @param {unknown} value */
function folded(item, hues, title, value) {
  const json = fold(title, codeBlock(prettyJson(value), 'json'));
  if (item.sender) return messageFrame(item, hues, json);
  return h('article', frameAttributes(item, 'notice is-quiet'), icon('info'), h('div', null, json));
}
