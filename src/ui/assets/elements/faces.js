// @ts-check
/** The face of an agent (initials in its colour) and the line that says who speaks to whom. */

import { h } from './dom.js';
import { icon } from './icons.js';
import { hueFor, initialsOf } from './agents.js';
import { exactTime, timeOfDay, visible } from '../text/words.js';

/** @typedef {Readonly<Record<string, number>>} Hues */

/** @param {string} name @param {Hues} hues */
export function face(name, hues) {
  const element = h('span', { class: 'face', 'aria-hidden': 'true' }, initialsOf(name));
  return coloured(element, name, hues);
}

/**
 * Who speaks to whom; a question is put to those who may answer it, whatever part they play in the conversation: to the reader, or to
 * somebody else (`askedOf`).
 * @param {{kind?: string, sender: string, recipient: string, at?: string, askedOf?: string | null}} message @param {Hues} hues @param {...Node} after
 */
export function speakers(message, hues, ...after) {
  const line = h('div', { class: 'speakers' });
  if (message.sender) line.append(coloured(h('span', { class: 'sender', dir: 'auto' }, visible(message.sender)), message.sender, hues));
  if (message.kind === 'question') {
    const whom = message.askedOf ? h('bdi', null, message.askedOf) : 'you';
    const words = message.sender ? ['asks ', whom] : message.askedOf ? [whom, ' is asked'] : ['You are asked'];
    const part = message.recipient && message.recipient !== 'User' ? [' as ', h('bdi', null, visible(message.recipient))] : [];
    line.append(h('span', { class: 'asks' }, ...words, ...part));
  } else if (message.recipient) {
    line.append(h('span', { class: 'to' }, icon('arrow'), h('span', { class: 'visually-hidden' }, ' to ')),
      h('span', { class: 'recipient', dir: 'auto' }, visible(message.recipient)));
  }
  if (message.at) line.append(h('time', { datetime: message.at, title: exactTime(message.at) }, timeOfDay(message.at)));
  line.append(...after);
  return line;
}

/** @template {HTMLElement} Kind @param {Kind} element @param {string} name @param {Hues} hues @returns {Kind} */
function coloured(element, name, hues) {
  element.style.setProperty('--hue', String(Object.hasOwn(hues, name) ? hues[name] : hueFor(name)));
  return element;
}
