// @ts-check
/** The keys of the page. Keys of one character rest while someone types, and can be turned off. */

import { isOfInputMethod, isTyping } from '../elements/dom.js';

export const OFF_KEY = 'fastagency.single-keys-off';

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
    if (event.defaultPrevented || isOfInputMethod(event) || document.querySelector('dialog[open]')) return;
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

/** The dialog that lists them comes when somebody wants to see it. */
export const showKeys = () => { import('./keys-dialog.js').then((shown) => shown.showKeys(), () => {}); };

export function areSingleKeysOff() {
  try {
    return localStorage.getItem(OFF_KEY) === 'yes';
  } catch {
    return false;
  }
}
