// @ts-check
/** The conversations at the left: those that wait for someone first. Asks the server again and again while someone looks. */

import { isNotLetIn, listRuns, wordsOf } from '../gateway/api.js';
import { h, isOfInputMethod } from '../elements/dom.js';
import { icon } from '../elements/icons.js';
import { at } from '../page/base.js';
import { dayWords, plainLine, stateWords, timeOfDay } from '../text/words.js';
import { onTitles, titleOf } from '../gateway/workflow-titles.js';

/**
 * @typedef {import('../gateway/api.js').Run} Run
 * @typedef {Pick<Run, 'id' | 'state' | 'outcome' | 'question'>} Standing   how a run stands
 *
 * @typedef {object} ListListeners
 * @property {boolean} isShown                          a list that nobody sees asks for nothing
 * @property {(runs: Run[]) => void} onRuns
 * @property {(to: HTMLElement | null) => void} onLeave   a person is done here, and goes back to where they came from
 *
 * @typedef {ReturnType<typeof setTimeout> | undefined} Timer
 *
 * @typedef {object} ListState
 * @property {HTMLElement} list
 * @property {HTMLInputElement} search
 * @property {ListListeners} listeners
 * @property {Run[]} listed             as the server has them
 * @property {Standing | null} standing   as the log of the open run has it, which is earlier than the list
 * @property {string | null} problem
 * @property {string | null} current    the run that is open
 * @property {number} limit
 * @property {boolean} isMore           the server has more than is listed
 * @property {boolean} isLoaded
 * @property {boolean} isShut           the server refuses this reader: nothing is asked until a person asks again
 * @property {boolean} isSought         the current run is to be brought into sight once its row is there
 * @property {number} asked             the number of the last request
 * @property {string} drawn             what is drawn, as JSON
 * @property {HTMLElement | null} cameFrom   what had the focus before the search
 * @property {Timer} timer              until the next request
 * @property {Timer} soon               until a request that was asked for
 * @property {Timer} pause              until what is written in the search is looked for
 */

const EVERY_MS = 5000;
const EVERY_HIDDEN_MS = 30_000;
// A worker updates the list up to a quarter of a second after the log: a list that is read earlier would stay out of date for as
// long as `EVERY_MS`.
const SOON_MS = 400;
const SEARCH_PAUSE_MS = 200;
const PAGE = 50;

/** @param {{list: HTMLElement, search: HTMLInputElement}} elements @param {ListListeners} listeners */
export function runsList({ list, search }, listeners) {
  /** @type {ListState} */
  const state = {
    list, search, listeners, listed: [], standing: null, problem: null, current: null, limit: PAGE, isMore: false, isLoaded: false, isShut: false,
    isSought: false, asked: 0, drawn: '', cameFrom: null, timer: undefined, soon: undefined, pause: undefined,
  };
  listenToSearch(state);
  listenToRows(state);
  document.addEventListener('visibilitychange', () => { if (document.visibilityState === 'visible' && !state.isShut) refresh(state); });
  onTitles(() => { state.drawn = ''; draw(state); });
  draw(state);
  refresh(state);
  return {
    /** Asks soon; several reasons at once ask once. A question that is under way already may be answered with what was before. */
    refresh: () => { clearTimeout(state.soon); state.soon = setTimeout(() => refresh(state), SOON_MS); },
    refreshNow: () => { refresh(state); },
    /** @param {string | null} id */
    setCurrent: (id) => {
      state.isSought ||= id !== state.current;
      state.current = id;
      draw(state);
    },
    /** How the run stands whose log is open; null once its log is not followed. @param {Standing | null} now */
    setStanding: (now) => {
      // Its row moves to another part of the list, and is looked for there.
      state.isSought ||= now?.state !== state.standing?.state;
      state.standing = now;
      draw(state);
    },
  };
}

/** @param {ListState} state */
const knownRuns = ({ listed, standing }) => listed.map((run) => (run.id === standing?.id ? { ...run, ...standing } : run));

/** @param {ListState} state */
async function refresh(state) {
  const { listeners, search } = state;
  if (!listeners.isShown) return;
  clearTimeout(state.timer);
  const mine = ++state.asked;
  try {
    const answer = await listRuns({ search: search.value.trim(), limit: state.limit });
    if (mine !== state.asked) return;
    state.listed = answer.runs;
    state.isMore = answer.isMore;
    state.problem = null;
    state.isShut = false;
    state.isLoaded = true;
    if (search.value.trim() === '') listeners.onRuns(knownRuns(state));
  } catch (error) {
    if (mine !== state.asked) return;
    state.problem = wordsOf(error);
    state.isShut = isNotLetIn(error);
  }
  draw(state);
  clearTimeout(state.timer);
  if (state.isShut) return;
  state.timer = setTimeout(() => refresh(state), document.visibilityState === 'hidden' ? EVERY_HIDDEN_MS : EVERY_MS);
}

/** @param {ListState} state */
function draw(state) {
  const { list } = state;
  // Redrawing the same would take the focus from someone who walks through the list.
  const now = JSON.stringify([knownRuns(state), state.problem, state.current, state.isLoaded, state.isMore, state.search.value]);
  if (now === state.drawn) return;
  state.drawn = now;
  const focused = document.activeElement instanceof HTMLElement && list.contains(document.activeElement)
    ? document.activeElement.dataset.run : null;
  list.replaceChildren(...contents(state));
  if (focused) /** @type {HTMLElement | null} */ (list.querySelector(`[data-run="${CSS.escape(focused)}"]`))?.focus();
  seek(state);
}

/** The list is longer than the window. Not by `scrollIntoView`, which would also move what is around it. @param {ListState} state */
function seek(state) {
  const { list } = state;
  const row = state.isSought ? list.querySelector('[aria-current]') : null;
  if (!row) return;
  state.isSought = false;
  const [inside, around] = [row.getBoundingClientRect(), list.getBoundingClientRect()];
  // Into the middle, so that it stays in sight when what is around the list gets its height.
  if (inside.top < around.top || inside.bottom > around.bottom) list.scrollTop += (inside.top + inside.bottom - around.top - around.bottom) / 2;
}

/** @param {ListState} state @returns {Node[]} */
function contents(state) {
  const { current, problem } = state;
  const again = state.isShut ? h('button', { type: 'button', class: 'quiet-button', onclick: () => refresh(state) }, 'Try again') : null;
  if (!state.isLoaded) return [h('p', { class: 'list-note' }, problem ?? 'Loading…'), ...(again ? [again] : [])];
  const all = knownRuns(state);
  const waiting = all.filter(waitsForReader);
  const others = all.filter((run) => !waitsForReader(run));
  const note = all.length > 0 ? null : state.search.value ? 'Nothing found. Titles and workflows are searched.' : 'No conversations yet.';
  return [
    note ? h('p', { class: 'list-note' }, note) : null,
    ...group('Waiting for you', waiting, current), ...byDay(others).flatMap(([heading, members]) => group(heading, members, current)),
    state.isMore ? h('button', { type: 'button', class: 'quiet-button more-runs', onclick: () => { state.limit += PAGE; refresh(state); } }, 'Show more') : null,
    // At the foot, over the rows: above them it would move what somebody is about to press.
    problem ? h('div', { class: 'list-problem' }, h('p', { class: 'list-note' }, problem), again) : null,
  ].filter((node) => node !== null);
}

/** Whether a run waits for who reads the list, and not for somebody else. @param {Standing} run */
export const waitsForReader = ({ state, question }) => state === 'waiting' && !question?.waits_for;

/** @param {string} heading @param {Run[]} members @param {string | null} current */
const group = (heading, members, current) => members.length === 0 ? [] : [
  h('h2', null, heading), h('ul', null, ...members.map((run) => h('li', null, runLink(run, run.id === current)))),
];

/** From one conversation to another without a mouse: Enter opens the first that was found, arrows walk through them. @param {ListState} state */
function listenToSearch(state) {
  const { list, search } = state;
  search.addEventListener('input', () => {
    clearTimeout(state.pause);
    state.limit = PAGE;
    state.pause = setTimeout(() => refresh(state), SEARCH_PAUSE_MS);
  });
  search.addEventListener('focus', ({ relatedTarget }) => {
    if (!(relatedTarget instanceof Node && list.contains(relatedTarget))) state.cameFrom = relatedTarget instanceof HTMLElement ? relatedTarget : null;
  });
  search.addEventListener('keydown', async (event) => {
    if (isOfInputMethod(event)) return;
    if (event.key === 'Escape') {
      // Elsewhere this key stops the run; here somebody has found what they looked for, or not.
      event.preventDefault();
      if (search.value === '') {
        state.listeners.onLeave(state.cameFrom);
        return;
      }
      endSearch(state);
    } else if (event.key === 'ArrowDown') {
      event.preventDefault();
      step(state, 1);
    } else if (event.key === 'Enter' && search.value.trim() !== '') {
      event.preventDefault();
      clearTimeout(state.pause);
      await refresh(state);
      const found = links(state)[0];
      if (!found) return;
      search.value = '';
      found.click();
      refresh(state);
    }
  });
}

/** @param {ListState} state */
function listenToRows(state) {
  state.list.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      event.preventDefault();
      if (state.search.value !== '') endSearch(state);
      state.listeners.onLeave(state.cameFrom);
      return;
    }
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    event.preventDefault();
    step(state, event.key === 'ArrowDown' ? 1 : -1);
  });
}

/** @param {ListState} state */
function endSearch(state) {
  state.search.value = '';
  state.isSought = true;
  clearTimeout(state.pause);
  refresh(state);
}

/** @param {ListState} state @returns {HTMLElement[]} */
const links = ({ list }) => [...list.querySelectorAll('a')];

/** @param {ListState} state @param {1 | -1} by from where the focus is; above the first is the search */
function step(state, by) {
  const all = links(state);
  const at = all.findIndex((link) => link === document.activeElement) + by;
  (at < 0 ? state.search : all[Math.min(at, all.length - 1)])?.focus();
}

/** What is neither waiting nor of today is looked for by when it was. @param {Run[]} runs @returns {[string, Run[]][]} */
function byDay(runs) {
  /** @type {Map<string, Run[]>} */
  const days = new Map();
  for (const run of runs) {
    const heading = dayWords(run.updated_at);
    days.set(heading, [...days.get(heading) ?? [], run]);
  }
  return [...days];
}

/** @param {Run} run @param {boolean} isCurrent */
function runLink(run, isCurrent) {
  const kind = run.state === 'ended' ? run.outcome ?? 'ended' : run.state;
  const detail = run.state === 'waiting' && run.question?.prompt ? plainLine(run.question.prompt) : null;
  return h('a', {
    href: at(`/runs/${encodeURIComponent(run.id)}`), class: 'run', 'data-run': run.id, 'data-state': kind,
    'aria-current': isCurrent ? 'page' : null,
  },
  h('span', { class: `run-state is-${kind}` }, stateMark(kind)),
  h('span', { class: 'run-words' },
    h('span', { class: 'run-title', dir: 'auto' }, plainLine(run.title ?? '', 120) || titleOf(run.workflow)),
    detail ? h('span', { class: 'run-detail', dir: 'auto' }, detail) : null,
    h('span', { class: 'run-meta' }, [
      waitsForReader(run) ? null : stateWords(run, run.question?.waits_for), timeOfDay(run.updated_at), run.title ? titleOf(run.workflow) : null,
    ].filter(Boolean).join(' · '))));
}

/** @param {string} kind */
function stateMark(kind) {
  switch (kind) {
    case 'waiting': return icon('question');
    case 'running': return h('span', { class: 'spinner', 'aria-hidden': 'true' });
    case 'queued': return icon('clock');
    case 'completed': return icon('check');
    case 'failed': return icon('warning');
    default: return icon('stop');
  }
}
