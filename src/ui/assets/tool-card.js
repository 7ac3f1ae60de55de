// @ts-check
/** A tool call and what came of it, as one card: a line that says the essence, everything else folded behind it. */

import { h } from './dom.js';
import { icon } from './icons.js';
import { messageFrame } from './messages.js';
import { codeBlock } from './rich-text.js';
import { duration, oneLine, prettyJson } from './words.js';

/** @typedef {import('./state.js').ToolItem} ToolItem */

/** @param {ToolItem} item @param {import('./faces.js').Hues} hues */
export function toolCard(item, hues) {
  const state = toolState(item);
  const summary = h('summary', null,
    icon('tool'),
    h('span', { class: 'tool-line' },
      h('span', { class: 'tool-name' }, item.name || 'a tool'),
      h('span', { class: 'tool-essence' }, oneLine(item.arguments, 70))),
    h('span', { class: `tool-state is-${state.kind}` }, state.icon, state.words));
  const card = h('details', { class: 'tool-card', 'data-tool-state': state.kind }, summary);
  const inside = h('div', { class: 'tool-inside' });
  if (item.asked) inside.append(h('h3', null, 'Arguments'), valueBlock(item.arguments));
  if (item.executed) {
    inside.append(h('h3', null, item.executor ? `Result from ${item.executor}` : 'Result'), valueBlock(item.result));
  }
  card.append(inside);
  return messageFrame(item, hues, card);
}

/** @param {ToolItem} item */
function toolState(item) {
  if (item.executed) {
    const took = item.asked && item.executedAt ? duration(Date.parse(item.executedAt) - Date.parse(item.at)) : '';
    return { kind: 'done', icon: icon('check'), words: took && took !== '0 ms' ? `done in ${took}` : 'done' };
  }
  if (item.abandoned) return { kind: 'abandoned', icon: icon('stop'), words: 'no result' };
  return { kind: 'running', icon: h('span', { class: 'spinner', 'aria-hidden': 'true' }), words: 'running' };
}

/** @param {unknown} value */
function valueBlock(value) {
  if (value === undefined || value === null || value === '') return h('p', { class: 'muted' }, 'none');
  if (typeof value === 'object' && Object.keys(value).length === 0) return h('p', { class: 'muted' }, 'none');
  // Many tools answer with JSON in a string.
  if (typeof value === 'string' && /^\s*[[{]/.test(value)) {
    try {
      return codeBlock(prettyJson(JSON.parse(value)), 'json');
    } catch { /* then it is text */ }
  }
  return typeof value === 'string' ? codeBlock(value, 'text') : codeBlock(prettyJson(value), 'json');
}
