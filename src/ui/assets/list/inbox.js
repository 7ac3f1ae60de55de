// @ts-check
/**
 * The questions that wait for the reader in everybody's runs: the way there, with how many there are, and the list, with its filters.
 * For those who may answer for others; asked for again and again while somebody looks.
 */

import { isNotLetIn, listQuestions, wordsOf } from '../gateway/api.js';
import { h } from '../elements/dom.js';
import { icon } from '../elements/icons.js';
import { at } from '../page/base.js';
import { counted, plainLine, timeOfDay, visible } from '../text/words.js';
import { fetchTitles, onTitles, titleOf } from '../gateway/workflow-titles.js';

/** @typedef {import('../gateway/api.js').Question} Question */

const EVERY_MS = 5000;
const EVERY_HIDDEN_MS = 30_000;
const SEARCH_PAUSE_MS = 200;
const HOUR = 3_600_000;
const AGES = /** @type {const} */ ([['', 'Any time'], [HOUR, 'Over an hour ago'], [24 * HOUR, 'Over a day ago'], [7 * 24 * HOUR, 'Over a week ago']]);
/** As many as the server gives at once. */
const MOST = 500;

/** The way to the inbox. @param {HTMLElement} place */
export function inboxLink(place) {
  const count = h('span', { class: 'state-chip', 'data-state': 'waiting', hidden: true });
  place.replaceChildren(h('a', { href: at('/inbox'), class: 'quiet-button inbox-link' }, icon('question'), h('span', null, 'Inbox'), count));
  const watch = again(async () => {
    const waiting = (await listQuestions({ everybody: true, limit: MOST })).length;
    const words = waiting >= MOST ? `${MOST}+` : String(waiting);
    if (count.textContent !== words) count.textContent = words;
    count.title = counted(waiting, 'question waits', 'questions wait');
    count.hidden = waiting === 0;
  });
  addStyle();
  return watch;
}

/** The inbox itself. @param {HTMLElement} main */
export function openInbox(main) {
  addStyle();
  const search = h('input', { type: 'search', dir: 'auto', placeholder: 'Search', autocomplete: 'off' });
  const [workflow, user] = [select('Workflow', 'All workflows'), select('Started by', 'Everybody')];
  const age = select('Asked', '');
  age.field.replaceChildren(...AGES.map(([value, words]) => h('option', { value }, words)));
  const status = h('p', { class: 'list-note', role: 'status' }, 'Loading…');
  const list = h('ul', { class: 'inbox' });
  main.replaceChildren(h('div', { class: 'scroller' }, h('div', { class: 'column' },
    h('h1', null, 'Inbox'), h('p', { class: 'muted' }, 'What waits for you, the oldest first.'),
    h('form', { class: 'inbox-filters', role: 'search', onsubmit: (/** @type {Event} */ event) => event.preventDefault() }, h('label', null, 'Text', search), workflow.label, user.label, age.label),
    status, list)));
  let drawn = '';
  fetchTitles();
  const watch = again(async () => {
    const wanted = { everybody: true, limit: MOST, search: search.value.trim(), workflow: workflow.field.value, user: user.field.value,
      asked_before: age.field.value ? new Date(Date.now() - Number(age.field.value)).toISOString() : '' };
    const isFiltered = [wanted.search, wanted.workflow, wanted.user, wanted.asked_before].some(Boolean);
    // What can be chosen is what there is without a choice.
    const [questions, all] = await Promise.all([listQuestions(wanted), isFiltered ? listQuestions({ everybody: true, limit: MOST }) : null]);
    offer(workflow.field, (all ?? questions).map(({ run }) => run.workflow), titleOf);
    offer(user.field, (all ?? questions).map(({ run }) => run.user), visible);
    const now = JSON.stringify(questions);
    if (now === drawn) return;
    drawn = now;
    const focused = document.activeElement instanceof HTMLElement && list.contains(document.activeElement) ? document.activeElement.dataset.question : null;
    list.replaceChildren(...questions.map((question) => h('li', null, row(question))));
    if (focused) /** @type {HTMLElement | null} */ (list.querySelector(`[data-question="${CSS.escape(focused)}"]`))?.focus();
    status.textContent = questions.length > 0 ? counted(questions.length, 'question waits', 'questions wait') : isFiltered ? 'Nothing found.' : 'Nothing waits for you.';
  }, (error) => { status.textContent = wordsOf(error); });
  onTitles(() => {
    drawn = '';
    workflow.field.dataset.known = '';
    if (list.isConnected) watch.now();
  });
  let pause = /** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined);
  search.addEventListener('input', () => {
    clearTimeout(pause);
    pause = setTimeout(watch.now, SEARCH_PAUSE_MS);
  });
  for (const { field } of [workflow, user, age]) field.addEventListener('change', watch.now);
  return watch;
}

/** @param {Question} question */
function row({ id, prompt, asked_at: askedAt, approval, escalated, reminded_at: remindedAt, run }) {
  const about = [run.title ? titleOf(run.workflow) : null, run.user === null ? null : `started by ${visible(run.user)}`, `asked ${timeOfDay(askedAt)}`, remindedAt ? `reminded ${timeOfDay(remindedAt)}` : null];
  return h('a', { href: at(`/runs/${encodeURIComponent(run.id)}`), class: 'run', 'data-question': id },
    h('span', { class: 'run-state is-waiting' }, icon(approval ? 'shield' : 'question')),
    h('span', { class: 'run-words' },
      h('span', { class: 'run-title', dir: 'auto' }, plainLine(prompt, 160) || 'A question'),
      h('span', { class: 'run-detail', dir: 'auto' }, plainLine(run.title ?? '', 120) || titleOf(run.workflow)),
      h('span', { class: 'run-meta' }, about.filter(Boolean).join(' · '))),
    escalated ? h('span', { class: 'state-chip', 'data-state': 'failed' }, 'escalated') : null);
}

/** @param {string} words @param {string} all */
function select(words, all) {
  const field = h('select', null, h('option', { value: '' }, all));
  return { field, label: h('label', null, words, field) };
}

/** Brings the choices up to date; what is chosen stays. @param {HTMLSelectElement} field @param {(string | null)[]} values
 * @param {(value: string) => string} wordsOfValue */
function offer(field, values, wordsOfValue) {
  const known = [...new Set([...values, field.value])].filter((value) => value !== null && value !== '').sort();
  if (field.dataset.known === JSON.stringify(known)) return;
  field.dataset.known = JSON.stringify(known);
  const chosen = field.value;
  field.replaceChildren(field.options[0], ...known.map((value) => h('option', { value }, wordsOfValue(value ?? ''))));
  field.value = chosen;
}

/** Does it now, and again while somebody looks; one time after the other. @param {() => Promise<void>} act @param {(error: unknown) => void} [onError] */
function again(act, onError = () => {}) {
  let round = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const now = async () => {
    clearTimeout(timer);
    round += 1;
    const mine = round;
    try {
      await act();
    } catch (error) {
      if (mine !== round) return;
      onError(error);
      if (isNotLetIn(error)) return;
    }
    if (mine === round) timer = setTimeout(now, document.visibilityState === 'hidden' ? EVERY_HIDDEN_MS : EVERY_MS);
  };
  const onVisible = () => { if (document.visibilityState === 'visible') now(); };
  document.addEventListener('visibilitychange', onVisible);
  now();
  return {
    now,
    close: () => {
      round += 1;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', onVisible);
    },
  };
}

/** Few readers need it, so it is no part of the page's own. */
function addStyle() {
  const href = new URL('./inbox.css', import.meta.url).href;
  if (!document.querySelector(`link[href="${href}"]`)) document.head.append(h('link', { rel: 'stylesheet', href }));
}
