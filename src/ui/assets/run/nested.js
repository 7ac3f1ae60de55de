// @ts-check
/**
 * Conversations inside the conversation (a nested chat, a workflow that another one calls), each folded behind one line that
 * says how long it is and what was said last. What waits for a person is never hidden: its fold opens.
 */

import { h, legible } from '../elements/dom.js';
import { icon } from '../elements/icons.js';
import { stretchesIn } from './stretches.js';
import { counted, oneLine, plainLine } from '../text/words.js';

/**
 * @typedef {import('./state.js').Within} Within
 * @typedef {{details: HTMLDetailsElement, place: () => HTMLElement, tail: HTMLElement, count: HTMLElement, last: HTMLElement, messages: number}} Fold
 */

/** @param {HTMLElement} log where the conversation itself is drawn @param {HTMLElement} tail where its unfinished texts are */
export function nestedFolds(log, tail) {
  /** @type {Map<string, Fold>} */
  const folds = new Map();
  const place = stretchesIn(log);

  /** @param {readonly Within[]} within @returns {Fold | null} null for the conversation itself */
  const foldOf = (within) => {
    /** @type {Fold | null} */
    let fold = null;
    let path = '';
    for (const { id, title } of within) {
      path += `/${id}`;
      const known = folds.get(path);
      const here = known ?? newFold(title);
      if (!known) {
        folds.set(path, here);
        (fold?.place ?? place)().append(here.details);
      }
      fold = here;
    }
    return fold;
  };

  return {
    /** Where a finished item goes. @param {readonly Within[]} within @returns {HTMLElement} */
    placeOf: (within) => (foldOf(within)?.place ?? place)(),
    /** Where a text goes while it is being written. @param {readonly Within[]} within @returns {HTMLElement} */
    tailOf: (within) => foldOf(within)?.tail ?? tail,
    /** Tells all folds around an item what was said last. @param {import('./state.js').Item} item @param {boolean} isNew */
    note: (item, isNew) => {
      for (let depth = item.within.length; depth > 0; depth -= 1) {
        const fold = foldOf(item.within.slice(0, depth));
        if (!fold) continue;
        if (isNew) fold.messages += 1;
        fold.count.textContent = counted(fold.messages, 'message');
        const words = essenceOf(item);
        fold.last.replaceChildren(`${legible(oneLine(item.sender, 60))}${item.sender && words ? ': ' : ''}`, h('bdi', null, words));
        if (item.kind === 'question' && item.open) fold.details.open = true;
      }
    },
    /** Unfolds everything around an element. @param {Element} element */
    reveal: (element) => {
      for (const fold of folds.values()) if (fold.details.contains(element)) fold.details.open = true;
    },
  };
}

/** @param {string} title @returns {Fold} */
function newFold(title) {
  const count = h('span', { class: 'nested-count' });
  const last = h('span', { class: 'nested-last', dir: 'auto' });
  const body = h('div', { class: 'nested-body' });
  const tail = h('div', { class: 'nested-tail', 'aria-live': 'off' });
  const details = h('details', { class: 'nested' },
    h('summary', null, icon('fold'), h('span', { class: 'nested-words' },
      h('span', { class: 'nested-head' }, h('span', { class: 'nested-title', dir: 'auto' }, title), count), last)),
    body, tail);
  return { details, place: stretchesIn(body), tail, count, last, messages: 0 };
}

/** @param {import('./state.js').Item} item */
function essenceOf(item) {
  switch (item.kind) {
    case 'text': return plainLine(item.text, 120);
    case 'tool': return oneLine(item.name, 120);
    case 'question': return plainLine(item.content.prompt ?? '', 120);
    case 'error': return oneLine(item.short, 120);
    default: return '';
  }
}
