// @ts-check
/** Words, numbers and times as people read them. Pure; times are said in the reader's own zone. */

import { exactText, isObject } from '../gateway/exact-json.js';

// Made once: each takes as long to make as a thousand times to format.
const TIME = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

/** @param {string | null} at RFC 3339 @param {number} [now] */
export function timeOfDay(at, now = Date.now()) {
  const date = new Date(at ?? NaN);
  if (Number.isNaN(date.getTime())) return '';
  const sameDay = date.toDateString() === new Date(now).toDateString();
  return sameDay ? TIME.format(date) : `${DAY.format(date)}, ${TIME.format(date)}`;
}

/** How long ago, as roughly as one remembers it. @param {string} at RFC 3339 @param {number} [now] */
export function dayWords(at, now = Date.now()) {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const days = Math.round((midnight - new Date(at).setHours(0, 0, 0, 0)) / 86_400_000);
  if (Number.isNaN(days)) return 'Some time';
  if (days <= 0) return 'Today';
  if (days === 1) return 'Yesterday';
  return days < 7 ? 'This week' : days < 31 ? 'This month' : 'Earlier';
}

/** The whole of it, with the second. @param {string} at RFC 3339 */
export function exactTime(at) {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? '' : EXACT.format(date);
}

/** @param {number} milliseconds */
export function duration(milliseconds) {
  if (!Number.isFinite(milliseconds) || milliseconds < 0) return '';
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = Math.round(milliseconds / 1000);
  if (milliseconds < 10_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} days`;
}

/** A length in kB or MB, roughly. @param {number} length */
export function bytes(length) {
  return length < 1_000_000 ? `${Math.round(length / 1000)} kB` : `${(length / 1_000_000).toFixed(1)} MB`;
}

/** @param {number} count @param {string} one @param {string} [many] */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}

/** "simple_learning" is "Simple learning" where nobody gave a title. @param {{name: string, title?: string | null}} workflow */
export function workflowTitle(workflow) {
  if (workflow.title) return workflow.title;
  const words = workflow.name.replace(/[_-]+/g, ' ').trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** @param {{state: string, outcome: string | null}} run @param {string | null} [other] who is waited for, if not the reader */
export function stateWords(run, other = null) {
  if (run.state === 'ended') return outcomeWords(run.outcome);
  return { queued: 'waiting for a worker', running: 'running', waiting: `waiting for ${other ?? 'you'}` }[run.state] ?? run.state;
}

/** @param {string | null} outcome */
export function outcomeWords(outcome) {
  return { completed: 'completed', failed: 'failed', cancelled: 'stopped' }[outcome ?? ''] ?? outcome ?? 'ended';
}

/** Who answered, said from the reader's side. Where nobody signs in, all are one. @param {{by: string | null}} answer @param {string | null} reader */
export function answererWords({ by }, reader) {
  if (by === reader) return 'You';
  return by === null ? 'Somebody' : visible(by);
}

/** Whose a run is, where that is somebody else. @param {string | null} owner @param {string | null} reader */
export const otherThan = (owner, reader) => owner === null || owner === reader ? null : visible(owner);

/** Who "You" is in a file that others may read. @param {string} reader */
export const aboutReader = (reader) => `“You” is ${visible(reader)}.`;

/** How a run ended, where a person has ended it. @param {string} reason @param {string | null} reader */
export function reasonWords(reason, reader) {
  const by = stopperOf(reason);
  return by === null ? reason : by === reader ? 'stopped by you' : `stopped by ${visible(by)}`;
}

/** Who stopped a run, as its end tells it. @param {string | null} reason */
export const stopperOf = (reason) => /^stopped by (.+)$/s.exec(reason ?? '')?.[1] ?? null;

/** The words on the button that gives an answer; null if none does. @param {Record<string, any>} content @param {string | null} answer @returns {string | null} */
export function buttonLabel(content, answer) {
  return content.in_short?.answers.find((/** @type {{answer: string}} */ each) => each.answer === answer)?.label ?? null;
}

/** @param {{text: string | null}} answer */
export function answerText(answer) {
  return answer.text === null ? '••• (given)' : answer.text;
}

/** Not what joins emoji, which is in many texts. */
const UNSEEN = /(?![\n\t\u200c\u200d\ufe0e\ufe0f])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{DI}\u2800]/gu;

/**
 * Shows what is meant to be invisible or to turn the order of letters around: a name, or the argument of a tool that someone
 * allows, must not look like another one. JSON reads these escapes back as what they stand for.
 * @param {string} text
 */
export function visible(text) {
  return text.replace(UNSEEN, (letter) => letter.split('').map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).join(''));
}

/** One line of JSON for a summary: `city: "Zagreb", days: 3`. @param {unknown} value @param {number} [limit] */
export function oneLine(value, limit = 90) {
  if (value === undefined || value === null) return '';
  let text;
  if (typeof value === 'string') text = value;
  else if (isObject(value) && !Array.isArray(value)) {
    text = Object.entries(value).map(([name, part]) => `${name}: ${exactText(part)}`).join(', ');
  } else text = exactText(value);
  // A megabyte is not needed for one line of it.
  text = visible(text.slice(0, limit * 8)).replace(/\s+/g, ' ').trim();
  return text.length > limit ? `${[...text].slice(0, limit - 1).join('')}…` : text;
}

/**
 * Whether a conversation could be told from others by it, as the server has it (`run::summary`): "30" or "ok" are no titles. Outside
 * of ASCII a letter may be a word. @param {string} title
 */
export function saysSomething(title) {
  const letters = title.match(/\p{Alphabetic}/gu) ?? [];
  return letters.length >= 3 || letters.some((letter) => letter > '\x7f');
}

/** Markdown as a plain line of words, for places that are too small for it. @param {string} markdown @param {number} [limit] */
export function plainLine(markdown, limit = 90) {
  return oneLine(markdown.slice(0, limit * 8).replace(/!?\[([^\]\n]*)\]\([^)\s]*\)/g, '$1').replace(/(\*\*|__|`+|^#{1,6} |^> ?)/gm, '').replace(/(?<!\w)[*_](\S[^*_\n]*)[*_](?!\w)/g, '$1'), limit);
}

/** @param {unknown} value */
export function prettyJson(value) {
  return typeof value === 'string' ? value : visible(exactText(value, 2));
}

/** Words as a sentence. @param {string} text */
export function sentenceOf(text) {
  const trimmed = text.trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? '' : '.');
}
