// @ts-check
/** The dialog that lists the keys of the page, and turns off those of one character. */

import { dialogWith } from '../elements/dialogs.js';
import { h } from '../elements/dom.js';
import { OFF_KEY, areSingleKeysOff } from './keys.js';

const ROWS = [
  ['Enter', 'send the answer'], ['Shift + Enter', 'new line'], ['↑', 'the last answer again, in an empty field'],
  ['1 – 9', 'choose'], ['/', 'go to the question, or to the search'], ['Esc', 'stop the run (asks first)'],
  ['Ctrl or ⌘ + K', 'find a conversation: Enter opens the first, arrows the others'], ['n', 'new conversation'], ['?', 'these keys'],
];

export function showKeys() {
  const box = h('input', { type: 'checkbox', onchange: () => setSingleKeysOff(!box.checked) });
  box.checked = !areSingleKeysOff();
  dialogWith('Keys',
    h('dl', { class: 'keys' }, ...ROWS.flatMap(([keys, words]) => [h('dt', null, h('kbd', null, keys)), h('dd', null, words)])),
    h('label', { class: 'box' }, box, h('span', null, 'Use keys of one character (1 – 9, /, n, ?)')),
    h('div', { class: 'dialog-actions' }, h('button', { class: 'primary-button', autofocus: true }, 'Close')));
}

/** @param {boolean} off */
function setSingleKeysOff(off) {
  try {
    if (off) localStorage.setItem(OFF_KEY, 'yes');
    else localStorage.removeItem(OFF_KEY);
  } catch { /* then they stay on */ }
}
