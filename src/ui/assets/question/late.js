// @ts-check
/**
 * An answer that came too late: somebody else had answered, or the run had ended. Where it was made it says who was first, and what was
 * written with it stays there, until the conversation is deleted. Passwords never come here.
 */

import { copyButton } from '../text/copying.js';
import { h } from '../elements/dom.js';
import { LATE, keepDraft, readDraft } from '../form/drafts.js';
import { exactText } from '../gateway/exact-json.js';
import { labelled } from '../form/schema.js';
import { plainText } from '../text/rich-text.js';
import { answererWords, buttonLabel, stopperOf, visible } from '../text/words.js';

/**
 * @typedef {import('../run/state.js').QuestionItem} QuestionItem
 * @typedef {{kind: string, words: string}} LateAnswer   what it was, and what was written with it
 */

/** Of longer words so much is shown at once. */
const SHOWN_AT_ONCE = 1500;

/** Where nothing can be stored, they last as long as the page. @type {Map<string, LateAnswer>} */
const inThisTab = new Map();

/** @param {string} run @param {QuestionItem} item @param {unknown} sent */
export function keepLate(run, item, sent) {
  const late = lateAnswer(item, sent);
  inThisTab.set(item.key, late);
  keepDraft(run, item.key + LATE, late);
}

/** @param {QuestionItem} item @param {any} sent @returns {LateAnswer} */
function lateAnswer({ content, question }, sent) {
  if (question === 'approval') {
    const changes = (sent?.changes ?? []).map((/** @type {{path: string, json?: string}} */ { path, json }) => `${path.slice(1)}: ${json ?? '(left out)'}`);
    const kind = sent?.decision === 'deny' ? 'denial' : changes.length > 0 || sent?.arguments ? 'approval with other arguments' : 'approval';
    return { kind, words: sent?.reason ?? (changes.length > 0 ? changes.join('\n') : sent?.arguments ? exactText(sent.arguments, 2) : '') };
  }
  if (content.password) return { kind: 'answer', words: '' };
  if (question === 'form') return { kind: 'answer', words: labelled(content.schema, sent ?? {}).map(({ label, words }) => `${label}: ${words}`).join('\n') };
  return { kind: 'answer', words: Array.isArray(sent) ? sent.join(', ') : buttonLabel(content, sent) ?? String(sent ?? '') };
}

/**
 * The words that say so, at a question that is closed.
 * @param {{run: string, reader: string | null, ending: import('../run/state.js').Ending | null}} context @param {QuestionItem} item
 */
export function lateNote({ run, reader, ending }, item) {
  /** @type {LateAnswer | null} */
  const late = inThisTab.get(item.key) ?? readDraft(run, item.key + LATE);
  if (typeof late?.kind !== 'string') return null;
  const note = h('div', { class: 'unsent' }, h('p', { class: 'late-note' }, lateWords(late, item, reader, ending)));
  if (late.words.trim() === '') return note;
  note.append(h('div', { class: 'unsent-head' }, h('p', null, late.kind === 'denial' ? 'Your reason:' : 'What you sent:'), copyButton('Copy what you sent', () => late.words)),
    plainText(late.words, SHOWN_AT_ONCE));
  return note;
}

/** @param {LateAnswer} late @param {QuestionItem} item @param {string | null} reader @param {import('../run/state.js').Ending | null} ending */
function lateWords({ kind }, { answer, question }, reader, ending) {
  const lost = `your ${kind} was not used.`;
  if (answer === null) {
    const by = stopperOf(ending?.reason ?? null);
    const who = by === null ? null : by === reader ? 'You' : visible(by);
    return who ? `${who} stopped the run before that; ${lost}` : `The run ended before you answered; ${lost}`;
  }
  if (answer.onTimeout) return `The time was over before you answered; ${lost}`;
  const who = answererWords(answer, reader);
  const did = question !== 'approval' ? 'answered this' : answer.value?.decision === 'deny' ? 'denied this'
    : `allowed this${answer.value?.arguments ? ' with other arguments' : ''}`;
  return who === 'You' ? `This was answered elsewhere in your name before; ${lost}` : `${who} ${did} before you; ${lost}`;
}
