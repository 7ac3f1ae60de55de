// @ts-check
/** The conversations at the left: those that wait for someone first. Asks the server again and again while someone looks. */

import { isNotLetIn, listRuns, wordsOf } from '../gateway/api.js';
import { h } from '../elements/dom.js';
import { icon } from '../elements/icons.js';
import { dayWords, plainLine, stateWords, timeOfDay } from '../text/words.js';
import { onTitles, titleOf } from '../gateway/workflow-titles.js';

/**
 * @typedef {import('../gateway/api.js').Run} Run
 * @typedef {Pick<Run, 'id' | 'state' | 'outcome' | 'question'>} Standing   how a run stands
 */

const EVERY_MS = 5000;
const EVERY_HIDDEN_MS = 30_000;
// A worker writes a line of the list up to a quarter of a second after what it tells: asked earlier, it would say the old for as long
// as `EVERY_MS`.
const SOON_MS = 400;
const SEARCH_PAUSE_MS = 200;
const PAGE = 50;

/**
 * @param {{list: HTMLElement, search: HTMLInputElement}} elements
 * @param {{isShown: boolean, onRuns: (runs: Run[]) => void, onLeave: (to: HTMLElement | null) => void}} listeners
 *   a list that nobody sees asks for nothing; `onLeave`: somebody has done here, and goes back to where they came from
 */
export function runsList({ list, search }, { isShown, onRuns, onLeave }) {
  /** @type {Run[]} as the server has them */
  let listed = [];
  /** As its log has it, which is earlier than the list. @type {Standing | null} */
  let standing = null;
  /** @type {string | null} */
  let problem = null;
  /** @type {string | null} */
  let current = null;
  let limit = PAGE;
  let loaded = false;
  /** Until someone asks again. */
  let isShut = false;
  /** The current one is to be brought into sight once its row is there. */
  let isSought = false;
  let asked = 0;
  let drawn = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let soon;

  const runs = () => listed.map((run) => (run.id === standing?.id ? { ...run, ...standing } : run));

  const refresh = async () => {
    if (!isShown) return;
    clearTimeout(timer);
    const mine = ++asked;
    try {
      const answer = await listRuns({ search: search.value.trim(), limit });
      if (mine !== asked) return;
      listed = answer;
      problem = null;
      isShut = false;
      loaded = true;
      if (search.value.trim() === '') onRuns(runs());
    } catch (error) {
      if (mine !== asked) return;
      problem = wordsOf(error);
      isShut = isNotLetIn(error);
    }
    draw();
    clearTimeout(timer);
    if (isShut) return;
    timer = setTimeout(refresh, document.visibilityState === 'hidden' ? EVERY_HIDDEN_MS : EVERY_MS);
  };

  const draw = () => {
    // Redrawing the same would take the focus from someone who walks through the list.
    const now = JSON.stringify([runs(), problem, current, loaded, search.value]);
    if (now === drawn) return;
    drawn = now;
    const focused = document.activeElement instanceof HTMLElement && list.contains(document.activeElement)
      ? document.activeElement.dataset.run : null;
    list.replaceChildren(...contents());
    if (focused) /** @type {HTMLElement | null} */ (list.querySelector(`[data-run="${CSS.escape(focused)}"]`))?.focus();
    seek();
  };

  /** The list is longer than the window. Not by `scrollIntoView`, which would also move what is around it. */
  const seek = () => {
    const row = isSought ? list.querySelector('[aria-current]') : null;
    if (!row) return;
    isSought = false;
    const [inside, around] = [row.getBoundingClientRect(), list.getBoundingClientRect()];
    // Into the middle, so that it stays in sight when what is around the list gets its height.
    if (inside.top < around.top || inside.bottom > around.bottom) list.scrollTop += (inside.top + inside.bottom - around.top - around.bottom) / 2;
  };

  /** @returns {Node[]} */
  const contents = () => {
    const again = isShut ? h('button', { type: 'button', class: 'quiet-button', onclick: () => refresh() }, 'Try again') : null;
    if (!loaded) return [h('p', { class: 'list-note' }, problem ?? 'Loading…'), ...(again ? [again] : [])];
    const all = runs();
    const waiting = all.filter((run) => run.state === 'waiting');
    const others = all.filter((run) => run.state !== 'waiting');
    const note = all.length > 0 ? null : search.value ? 'Nothing found. Titles and workflows are searched.' : 'No conversations yet.';
    return [
      note ? h('p', { class: 'list-note' }, note) : null,
      ...group('Waiting for you', waiting), ...byDay(others).flatMap(([heading, members]) => group(heading, members)),
      all.length >= limit ? h('button', { type: 'button', class: 'quiet-button more-runs', onclick: () => { limit += PAGE; refresh(); } }, 'Show more') : null,
      // At the foot, over the rows: above them it would move what somebody is about to press.
      problem ? h('div', { class: 'list-problem' }, h('p', { class: 'list-note' }, problem), again) : null,
    ].filter((node) => node !== null);
  };

  /** @param {string} heading @param {Run[]} members */
  const group = (heading, members) => members.length === 0 ? [] : [
    h('h2', null, heading), h('ul', null, ...members.map((run) => h('li', null, runLink(run, run.id === current)))),
  ];

  let pause = /** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined);
  search.addEventListener('input', () => {
    clearTimeout(pause);
    limit = PAGE;
    pause = setTimeout(refresh, SEARCH_PAUSE_MS);
  });
  /** @type {HTMLElement | null} */
  let cameFrom = null;
  search.addEventListener('focus', ({ relatedTarget }) => {
    if (!(relatedTarget instanceof Node && list.contains(relatedTarget))) cameFrom = relatedTarget instanceof HTMLElement ? relatedTarget : null;
  });
  // From one conversation to another without a mouse: Enter opens the first that was found, arrows walk through them.
  const endSearch = () => {
    search.value = '';
    isSought = true;
    clearTimeout(pause);
    refresh();
  };
  search.addEventListener('keydown', async (event) => {
    if (event.isComposing) return;
    if (event.key === 'Escape') {
      // Elsewhere this key stops the run; here somebody has found what they looked for, or not.
      event.preventDefault();
      if (search.value === '') {
        onLeave(cameFrom);
        return;
      }
      endSearch();
    } else if (event.key === 'ArrowDown') {
      event.preventDefault();
      step(1);
    } else if (event.key === 'Enter' && search.value.trim() !== '') {
      event.preventDefault();
      clearTimeout(pause);
      await refresh();
      const found = links()[0];
      if (!found) return;
      search.value = '';
      found.click();
      refresh();
    }
  });
  list.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      event.preventDefault();
      if (search.value !== '') endSearch();
      onLeave(cameFrom);
      return;
    }
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    event.preventDefault();
    step(event.key === 'ArrowDown' ? 1 : -1);
  });
  /** @returns {HTMLElement[]} */
  const links = () => [...list.querySelectorAll('a')];
  /** @param {1 | -1} by from where the focus is; above the first is the search */
  const step = (by) => {
    const all = links();
    const at = all.findIndex((link) => link === document.activeElement) + by;
    (at < 0 ? search : all[Math.min(at, all.length - 1)])?.focus();
  };
  document.addEventListener('visibilitychange', () => { if (document.visibilityState === 'visible' && !isShut) refresh(); });
  onTitles(() => { drawn = ''; draw(); });
  draw();
  refresh();

  return {
    /** Asks soon; several reasons at once ask once. A question that is under way already may be answered with what was before. */
    refresh: () => { clearTimeout(soon); soon = setTimeout(refresh, SOON_MS); },
    refreshNow: () => { refresh(); },
    /** @param {string | null} id */
    setCurrent: (id) => {
      isSought ||= id !== current;
      current = id;
      draw();
    },
    /** How the run stands whose log is open; null once nobody hears of it. @param {Standing | null} now */
    setStanding: (now) => {
      // Its row moves to another part of the list, and is looked for there.
      isSought ||= now?.state !== standing?.state;
      standing = now;
      draw();
    },
  };
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
    href: `/runs/${encodeURIComponent(run.id)}`, class: 'run', 'data-run': run.id, 'data-state': kind,
    'aria-current': isCurrent ? 'page' : null,
  },
  h('span', { class: `run-state is-${kind}` }, stateMark(kind)),
  h('span', { class: 'run-words' },
    h('span', { class: 'run-title' }, plainLine(run.title ?? '', 120) || titleOf(run.workflow)),
    detail ? h('span', { class: 'run-detail' }, detail) : null,
    h('span', { class: 'run-meta' }, [
      kind === 'waiting' ? null : stateWords(run), timeOfDay(run.updated_at), run.title ? titleOf(run.workflow) : null,
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
