// @ts-check
/**
 * What somebody wrote here and did not send, because its question was closed from elsewhere: by another tab, another person, a
 * deadline. It stands at the question until the conversation is deleted, and ↑ brings it back. Passwords never come here.
 */

import { copyButton } from '../text/copying.js';
import { h } from '../elements/dom.js';
import { keepDraft, readDraft, UNSENT } from '../form/drafts.js';
import { plainText } from '../text/rich-text.js';

/** Of longer words so much is shown at once. */
const SHOWN_AT_ONCE = 1500;

/** Where nothing can be stored, they last as long as the page. @type {Map<string, string>} */
const inThisTab = new Map();

/** The texts of this tab that ↑ brings back, the last one last. @type {string[]} */
const texts = [];

/** @param {string} text */
export const rememberText = (text) => { texts.push(text); };
export const lastText = () => texts.at(-1) ?? null;

/** @param {string} run @param {string} question @param {string} words none, where they were sent from here */
export function keepUnsent(run, question, words) {
  inThisTab.set(question, words);
  if (words.trim() === '') return;
  keepDraft(run, unsentName(question), words);
  rememberText(words);
}

/** The words that were not sent, at a question that is closed. @param {string} run @param {import('../run/state.js').QuestionItem} item */
export function unsentNote(run, item) {
  // A draft without that name: the question was closed while this page was.
  const words = inThisTab.get(item.key) ?? readDraft(run, unsentName(item.key)) ?? readDraft(run, item.key);
  if (typeof words !== 'string' || words.trim() === '') return null;
  // What was begun here and finished elsewhere is not lost.
  if (item.answer?.text?.trim().startsWith(words.trim())) {
    keepDraft(run, unsentName(item.key), null);
    return null;
  }
  // ↑ brings them back also where another life of this page wrote them.
  if (!inThisTab.has(item.key)) {
    inThisTab.set(item.key, words);
    rememberText(words);
  }
  return h('div', { class: 'unsent' },
    h('div', { class: 'unsent-head' }, h('p', null, 'Your unsent words:'), copyButton('Copy your unsent words', () => words)),
    plainText(words, SHOWN_AT_ONCE));
}

/** @param {string} question */
const unsentName = (question) => question + UNSENT;
