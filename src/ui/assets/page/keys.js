// @ts-check
/** The keys of the page, and the dialog that lists them. Keys of one character rest while someone types, and can be turned off. */

import { dialogWith } from '../elements/dialogs.js';
import { h, isTyping } from '../elements/dom.js';

const OFF_KEY = 'fastagency.single-keys-off';

/**
 * @typedef {object} KeyActions
 * @property {() => void} focusInput      the open question, or the search
 * @property {() => void} searchRuns
 * @property {() => void} stop
 * @property {() => void} newConversation
 * @property {(position: number) => boolean} choose
 * @property {() => boolean} closeSomething   the drawer or a menu; whether there was one
 */

/** @param {KeyActions} actions */
export function listenToKeys(actions) {
  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector('dialog[open]')) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
      event.preventDefault();
      actions.searchRuns();
      return;
    }
    if (event.key === 'Escape') {
      // Otherwise the same press would close the dialog that it opens.
      event.preventDefault();
      if (!actions.closeSomething()) actions.stop();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || areSingleKeysOff()) return;
    const done = singleKey(event.key, actions);
    if (done) event.preventDefault();
  });
}

/** @param {string} key @param {KeyActions} actions */
function singleKey(key, actions) {
  if (/^[1-9]$/.test(key)) return actions.choose(Number(key) - 1);
  switch (key) {
    case '/': actions.focusInput(); return true;
    case 'n': actions.newConversation(); return true;
    case '?': showKeys(); return true;
    default: return false;
  }
}

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

function areSingleKeysOff() {
  try {
    return localStorage.getItem(OFF_KEY) === 'yes';
  } catch {
    return false;
  }
}

/** @param {boolean} off */
function setSingleKeysOff(off) {
  try {
    if (off) localStorage.setItem(OFF_KEY, 'yes');
    else localStorage.removeItem(OFF_KEY);
  } catch { /* then they stay on */ }
}
