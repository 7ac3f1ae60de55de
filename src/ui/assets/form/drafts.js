// @ts-check
/**
 * What a person began to write, kept in this browser per run and question. Callers never pass a password here.
 * Storage may be full or forbidden; then there simply is no draft.
 */

import { exactParse, exactText } from '../gateway/exact-json.js';
import { base } from '../page/base.js';

/** A sign-out forgets the drafts of this page, and not those of another one of the same server. */
const PREFIX = `fastagency${base}.draft.`;
/** Behind the name of a question: what was written there and can no longer be sent. */
export const UNSENT = '.unsent';
/** Behind the name of a question: what was sent and came too late. */
export const LATE = '.late';

/** @param {string} run @param {string} question @returns {any} */
export function readDraft(run, question) {
  try {
    return exactParse(localStorage.getItem(PREFIX + run + '.' + question) ?? 'null');
  } catch {
    return null;
  }
}

/** @param {string} run @param {string} question @param {unknown} value empty forgets it */
export function keepDraft(run, question, value) {
  try {
    if (value === '' || value === null || value === undefined) localStorage.removeItem(PREFIX + run + '.' + question);
    else localStorage.setItem(PREFIX + run + '.' + question, exactText(value));
  } catch { /* see above */ }
}

/**
 * A run has ended, so nothing of it will be sent any more. A text that somebody began stays as their unsent words (unsent.js).
 * @param {string} run
 */
export function endDrafts(run) {
  const prefix = `${PREFIX}${run}.`;
  try {
    for (const key of Object.keys(localStorage)) {
      if (!key.startsWith(prefix) || key.endsWith(UNSENT) || key.endsWith(LATE)) continue;
      const kept = localStorage.getItem(key) ?? 'null';
      localStorage.removeItem(key);
      if (typeof JSON.parse(kept) === 'string') localStorage.setItem(key + UNSENT, kept);
    }
  } catch { /* see above */ }
}

/** @param {string} [run] without it, those of all runs */
export function forgetDrafts(run) {
  const prefix = run === undefined ? PREFIX : `${PREFIX}${run}.`;
  try {
    for (const key of Object.keys(localStorage)) if (key.startsWith(prefix)) localStorage.removeItem(key);
  } catch { /* see above */ }
}
