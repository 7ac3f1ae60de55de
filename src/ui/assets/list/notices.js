// @ts-check
/**
 * Says that a conversation waits for its reader, outside of the page, while nobody looks at it: a conversation takes as long as it takes, and its
 * question should not wait for somebody to look. Only for those who want it, and only where browsers allow it (https, or this machine).
 */

import { announce } from '../elements/dialogs.js';
import { h } from '../elements/dom.js';
import { icon } from '../elements/icons.js';
import { at } from '../page/base.js';
import { waitsForReader } from './runs-list.js';
import { plainLine } from '../text/words.js';
import { titleOf } from '../gateway/workflow-titles.js';

/** @typedef {import('../gateway/api.js').Run} Run */

const KEY = 'fastagency.notify';

/** The switch; null where there is nothing to switch. */
export function noticesButton() {
  if (!('Notification' in window) || !window.isSecureContext) return null;
  const button = h('button', { type: 'button', class: 'quiet-button', id: 'notify', title: 'Tell me outside of this page when a conversation waits for me' },
    icon('bell'), 'Notify me');
  const draw = () => button.setAttribute('aria-pressed', String(isWanted()));
  button.addEventListener('click', async () => {
    if (isWanted()) keep(false);
    else if (await Notification.requestPermission() === 'granted') keep(true);
    else announce('Your browser does not let this page notify you; see its settings for this site.');
    draw();
  });
  draw();
  return button;
}

/**
 * Returns a function that takes each new list of runs. It reports runs that wait, except those that waited when the page was opened.
 * @param {(run: string) => void} open   goes to a conversation
 */
export function noticesOf(open) {
  /** @type {Set<string> | null} */
  let known = null;
  /** @param {Run[]} runs */
  return (runs) => {
    const waiting = runs.filter((run) => run.question && waitsForReader(run));
    const before = known;
    known = new Set(waiting.map(nameOf));
    if (!before || document.visibilityState === 'visible' || !isWanted()) return;
    for (const run of waiting) if (!before.has(nameOf(run))) notify(run, open);
  };
}

/** Each question is reported once, and again when its people are reminded: notifications of several tabs have this same name. @param {Run} run */
const nameOf = (run) => `${run.id}/${run.question?.id}/${run.question?.reminded_at}`;

/** @param {Run} run @param {(run: string) => void} open */
function notify(run, open) {
  try {
    const notice = new Notification(plainLine(run.title ?? '') || titleOf(run.workflow), { body: plainLine(run.question?.prompt ?? '', 160), tag: nameOf(run), icon: at('/assets/favicon.svg') });
    notice.addEventListener('click', () => {
      window.focus();
      open(run.id);
      notice.close();
    });
  } catch { /* some phones have the name of it, but not the thing */ }
}

function isWanted() {
  try {
    return Notification.permission === 'granted' && localStorage.getItem(KEY) === 'yes';
  } catch {
    return false;
  }
}

/** @param {boolean} wanted */
function keep(wanted) {
  try {
    if (wanted) localStorage.setItem(KEY, 'yes');
    else localStorage.removeItem(KEY);
  } catch { /* then it is not kept */ }
}
