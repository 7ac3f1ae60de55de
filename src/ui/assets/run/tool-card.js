// @ts-check
/**
 * A tool call and what came of it, as one card: a line that says the essence, everything else folded behind it. What went
 * wrong is unfolded from the start.
 */

import { h } from '../elements/dom.js';
import { exactParse, exactText, isEmptyObject } from '../gateway/exact-json.js';
import { icon } from '../elements/icons.js';
import { messageFrame } from './messages.js';
import { codeBlock } from '../text/rich-text.js';
import { duration, oneLine, prettyJson, visible } from '../text/words.js';

/** @typedef {import('./state.js').ToolItem} ToolItem */

/** @param {ToolItem} item @param {import('../elements/faces.js').Hues} hues */
export function toolCard(item, hues) {
  const state = toolState(item);
  const target = /^transfer_to_(.+)_\d+$/.exec(item.name)?.[1];
  const summary = h('summary', null,
    icon('tool'),
    h('span', { class: 'tool-line' },
      h('span', { class: 'tool-name' }, target ? `hands over to ${visible(target)}` : visible(item.name) || 'a tool'),
      h('span', { class: 'tool-essence' }, oneLine(item.argumentsText ?? item.arguments, 70)),
      item.executed && (!target || item.failed) ? h('span', { class: 'tool-result' }, icon('arrow'), oneLine(item.result, 90) || 'nothing') : null),
    h('span', { class: `tool-state is-${state.kind}` }, state.icon, state.words));
  const card = h('details', { class: 'tool-card', 'data-tool-state': state.kind, open: state.kind === 'failed' }, summary);
  const inside = h('div', { class: 'tool-inside' });
  if (item.asked) inside.append(item.argumentsText === null ? valueBlock('Arguments', item.arguments) : textBlock('Arguments', item.argumentsText));
  if (item.executed) inside.append(valueBlock(item.executor ? `Result from ${item.executor}` : 'Result', item.result));
  card.append(inside);
  return messageFrame(item, hues, card);
}

/** @param {ToolItem} item */
function toolState(item) {
  if (item.approval === 'denied') return { kind: 'denied', icon: icon('cross'), words: 'denied' };
  if (item.executed) {
    const took = item.asked && item.executedAt ? duration(Date.parse(item.executedAt) - Date.parse(item.at)) : '';
    const words = item.failed ? 'failed' : item.approval === 'allowed' ? 'allowed, done' : 'done';
    // The time that a person took to allow it, or to answer it, says nothing about the tool.
    const isTimed = took && took !== '0 ms' && item.approval === null && item.person === null;
    return { kind: item.failed ? 'failed' : 'done', icon: icon(item.failed ? 'warning' : 'check'), words: isTimed ? `${words} in ${took}` : words };
  }
  if (item.abandoned) return { kind: 'abandoned', icon: icon('stop'), words: 'no result' };
  if (item.person === 'asked') return { kind: 'asked', icon: icon('question'), words: 'waits for an answer' };
  if (item.approval === 'asked') return { kind: 'asked', icon: icon('shield'), words: 'waits for approval' };
  // Calls that need no approval may be made at the same time: of this one nothing is known yet.
  if (item.behind) return { kind: 'asked', icon: '', words: 'requested' };
  return { kind: 'running', icon: h('span', { class: 'spinner', 'aria-hidden': 'true' }), words: item.approval === 'allowed' ? 'allowed, running' : 'running' };
}

/** JSON as the server has written it: with its digits, and with what cannot be seen, or looks like something else, written out.
 * @param {string} title @param {string} text */
export function textBlock(title, text) {
  const block = codeBlock(text, 'json', true, title);
  markWrittenOut(block.querySelector('code') ?? block);
  return block;
}

/** Marks the escapes of JSON that stand for one letter each. @param {Element} code */
function markWrittenOut(code) {
  const walker = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
  const texts = /** @type {Text[]} */ ([]);
  while (walker.nextNode()) texts.push(/** @type {Text} */ (walker.currentNode));
  for (const node of texts.filter((each) => each.data.includes('\\u'))) {
    // A backslash before another one is a letter of the text.
    const parts = node.data.split(/(\\\\|\\u[dD][89abAB][\da-fA-F]{2}\\u[\da-fA-F]{4}|\\u[\da-fA-F]{4})/);
    node.replaceWith(...parts.map((part) => part.startsWith('\\u') ? h('mark', { class: 'written-out', title: writtenOutWords(part) }, part) : part));
  }
}

/** @param {string} escape */
function writtenOutWords(escape) {
  const point = JSON.parse(`"${escape}"`).codePointAt(0);
  return `U+${point.toString(16).toUpperCase().padStart(4, '0')}: invisible, or like another letter`;
}

/** @param {string} title @param {unknown} value */
export function valueBlock(title, value) {
  const isEmpty = value === undefined || value === null || value === '' || isEmptyObject(value);
  if (isEmpty) return h('p', { class: 'muted' }, `${title}: none`);
  // Many tools answer with JSON in a string.
  if (typeof value === 'string' && /^\s*[[{]/.test(value)) {
    try {
      return textBlock(title, visible(exactText(exactParse(value), 2)));
    } catch { /* then it is text */ }
  }
  return typeof value === 'string' ? codeBlock(value, 'text', true, title) : codeBlock(prettyJson(value), 'json', true, title);
}
