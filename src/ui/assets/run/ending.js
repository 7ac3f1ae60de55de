// @ts-check
/** How a run ended: the outcome and why, what it gave, what it took, and where to go from here. */

import { isEmptyObject, isObject } from '../gateway/exact-json.js';
import { h } from '../elements/dom.js';
import { icon } from '../elements/icons.js';
import { fold } from './messages.js';
import { codeBlock, richText, withCode } from '../text/rich-text.js';
import { reasonOf, totalsOf } from './state.js';
import { counted, duration, prettyJson, reasonWords, sentenceOf, timeOfDay } from '../text/words.js';

const HEADINGS = { completed: 'Completed', failed: 'Failed', cancelled: 'Stopped' };

/**
 * @param {import('./state.js').RunView} view
 * @param {{reader: string | null, lateStop: string, onAgain: (button: HTMLButtonElement) => void, onNew: () => void}} actions   `lateStop`: that
 *   the reader's stop came too late, in words
 */
export function endingBlock(view, actions) {
  const ending = view.ending;
  if (!ending) return null;
  const reason = reasonOf(view);
  const again = h('button', { type: 'button', class: 'primary-button', onclick: () => actions.onAgain(again) }, icon('again'), 'Start again');
  return h('section', { class: `ending is-${ending.outcome}`, 'data-outcome': ending.outcome, 'aria-label': 'The end of this run' },
    h('h2', null, icon(ending.outcome === 'completed' ? 'check' : ending.outcome === 'failed' ? 'warning' : 'stop'),
      HEADINGS[ending.outcome] ?? 'Ended', h('time', { datetime: ending.at }, timeOfDay(ending.at))),
    reason ? h('p', { class: 'reason', dir: 'auto' }, ...withCode(sentenceOf(reasonWords(reason, actions.reader)))) : null,
    actions.lateStop ? h('p', { class: 'late-note', role: 'status' }, actions.lateStop) : null,
    resultOf(view, ending),
    h('p', { class: 'totals' }, totalsWords(view)),
    h('div', { class: 'ending-actions' }, again,
      h('button', { type: 'button', class: 'secondary-button', onclick: () => actions.onNew() }, icon('plus'), 'New conversation')));
}

/** @param {import('./state.js').RunView} view @param {import('./state.js').Ending} ending */
function resultOf(view, ending) {
  const { outcome, result, html } = ending;
  // What another end gives as its result only tells that end once more.
  if (outcome !== 'completed' || result === null || result === undefined || result === '') return null;
  // An empty list says no more than nothing does; a number or a truth is read at a glance.
  if (isEmptyObject(result)) return null;
  if (isObject(result)) return fold('Result', codeBlock(prettyJson(result), 'json'));
  if (typeof result !== 'string') return h('div', { class: 'result' }, h('h3', null, 'Result'), h('p', null, String(result)));
  const last = view.items.findLast((item) => item.kind === 'text');
  // Many workflows give their last message as the result; it stands right above.
  if (last?.kind === 'text' && last.text.trim() === result.trim()) return null;
  return h('div', { class: 'result' }, h('h3', null, 'Result'), richText(html, result));
}

/** @param {import('./state.js').RunView} view */
export function totalsWords(view) {
  const totals = totalsOf(view);
  const usage = view.ending?.usage;
  const tokens = (usage?.prompt_tokens ?? 0) + (usage?.completion_tokens ?? 0);
  return [
    totals.messages > 0 && counted(totals.messages, 'message'),
    totals.toolCalls > 0 && counted(totals.toolCalls, 'tool call'),
    usage?.llm_calls && counted(usage.llm_calls, 'model call'),
    tokens > 0 && `${counted(tokens, 'token')} (${(usage?.prompt_tokens ?? 0).toLocaleString()} read, ${(usage?.completion_tokens ?? 0).toLocaleString()} written${usage?.estimated_calls ? ', estimated' : ''})`,
    usage?.cost_usd && usage.cost_usd > 0 && `$${usage.cost_usd.toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 6 })}`,
    totals.milliseconds !== null && duration(totals.milliseconds),
  ].filter(Boolean).join(' · ');
}
