// @ts-check
/** The bar above a conversation: what it is, who takes part, how it stands, and what can be done with it. */

import { ApiError, cancelRun, renameRun, startRun, wordsOf } from '../gateway/api.js';
import { copyText } from '../text/copying.js';
import { announce, askedFor, confirmed } from '../elements/dialogs.js';
import { h } from '../elements/dom.js';
import { face } from '../elements/faces.js';
import { icon } from '../elements/icons.js';
import { toLink } from '../form/links.js';
import { at } from '../page/base.js';
import { phaseOf, waitedFor } from './state.js';
import { readerName } from '../session/session.js';
import { otherThan, outcomeWords, plainLine, saysSomething, stateWords, stopperOf, visible } from '../text/words.js';
import { titleOf } from '../gateway/workflow-titles.js';

/**
 * @typedef {import('./state.js').RunView} RunView
 * @typedef {import('../gateway/api.js').Run} Run
 *
 * @typedef {object} Means   what the bar is given by the page around it
 * @property {() => RunView} view
 * @property {() => HTMLElement} column    the whole conversation, for an export
 * @property {(words: string) => void} onLateStop   the run had ended before the reader stopped it
 * @property {() => void} onChanged
 * @property {() => void} onDeleted
 * @property {(run: import('../gateway/api.js').Run) => void} onStarted
 * @property {(path: string) => void} onNavigate
 *
 * @typedef {object} Bar
 * @property {string} run
 * @property {Means} means
 * @property {string | null} title         as the server has it
 * @property {Run['may']} may             what the reader may do; undefined: that is not known
 * @property {boolean} isStopping
 * @property {boolean} isLateStopSaid
 * @property {HTMLElement} titleLine
 * @property {HTMLElement} under           the workflow's title, where the run has another one, and whose run it is
 * @property {HTMLElement} faces
 * @property {HTMLElement} chip            how the run stands
 * @property {HTMLButtonElement} stopButton
 * @property {HTMLDetailsElement} menu
 * @property {HTMLButtonElement} withChanges   the entry of the menu that only a run with parameters has
 * @property {HTMLButtonElement} renaming    the entries that not everybody has
 * @property {HTMLButtonElement} removing
 */

const FACES_SHOWN = 5;
/** As the server has it. */
const LONGEST_TITLE = 120;

/** @param {HTMLElement} place @param {string} run @param {Means} means */
export function runBar(place, run, means) {
  const bar = newBar(run, means);
  const { menu } = bar;
  place.replaceChildren(h('div', { class: 'bar-words' }, bar.titleLine, bar.under), bar.faces, bar.chip, bar.stopButton, menu);
  draw(bar);
  return {
    draw: () => draw(bar),
    stop: () => stop(bar),
    title: () => currentTitle(bar),
    /** @param {string | null} fromServer */
    setTitle: (fromServer) => {
      bar.title = fromServer;
      draw(bar);
    },
    /** @param {Run['may']} may */
    setRights: (may) => {
      bar.may = may;
      draw(bar);
    },
    closeMenu: () => {
      const was = menu.open;
      if (menu.contains(document.activeElement)) menu.querySelector('summary')?.focus();
      menu.open = false;
      return was;
    },
  };
}

/** @param {string} run @param {Means} means @returns {Bar} */
function newBar(run, means) {
  const menu = h('details', { class: 'menu' }, h('summary', { 'aria-label': 'More' }, icon('more')));
  /** @type {Bar} */
  const bar = {
    run, means, menu, title: null, may: undefined, isStopping: false, isLateStopSaid: false,
    titleLine: h('h1', { class: 'bar-title', dir: 'auto' }),
    under: h('p', { class: 'bar-under', dir: 'auto' }),
    faces: h('div', { class: 'faces' }),
    chip: h('span', { class: 'state-chip', role: 'status' }),
    // There from the first moment: a run exists, so it can be stopped.
    stopButton: h('button', { type: 'button', class: 'stop-button', id: 'stop', onclick: () => stop(bar) }, icon('stop'), h('span', null, 'Stop')),
    renaming: menuEntry(menu, 'Rename…', () => rename(bar)),
    removing: menuEntry(menu, 'Delete…', async () => (await import('./rare-actions.js')).remove(bar, () => draw(bar))),
    withChanges: menuEntry(menu, 'Start another with changes…', () => means.onNavigate(toLink(means.view().workflow ?? '', means.view().params))),
  };
  menu.append(h('div', { class: 'menu-entries' }, ...entriesOf(bar)));
  listenToMenu(menu);
  return bar;
}

/** @param {Bar} bar */
function entriesOf(bar) {
  const { means, menu } = bar;
  const { view } = means;
  /** @param {string} words @param {() => void | Promise<void>} act */
  const entry = (words, act) => menuEntry(menu, words, act);
  return [
    bar.renaming,
    entry('Start another like it', async () => means.onStarted(await startRun(view().workflow ?? '', view().params))),
    bar.withChanges,
    entry('Copy the link', async () => { await copyText(location.origin + at(`/runs/${encodeURIComponent(bar.run)}`)); announce('The link was copied.'); }),
    entry('Copy as Markdown', async () => { await copyText(await markdown(bar)); announce('The conversation was copied.'); }),
    entry('Download Markdown', async () => download(bar, await markdown(bar), 'text/markdown', 'md')),
    entry('Download HTML', async () => {
      const { toHtml } = await import('./export-page.js');
      const about = { title: currentTitle(bar), workflow: titleOf(view().workflow ?? ''), startedAt: view().createdAt, owner: view().user, reader: readerName() };
      download(bar, toHtml(means.column(), about), 'text/html', 'html');
    }),
    entry('Download JSON', async () => download(bar, await (await import('./rare-actions.js')).records(bar, currentTitle(bar)), 'application/json', 'json')),
    bar.removing,
  ];
}

/** @param {HTMLDetailsElement} menu @param {string} words @param {() => void | Promise<void>} act */
function menuEntry(menu, words, act) {
  return h('button', { type: 'button', onclick: async () => {
    // What is folded away cannot keep the focus; a dialog gives it back to where it was.
    menu.querySelector('summary')?.focus();
    menu.open = false;
    try {
      await act();
    } catch (error) {
      announce(wordsOf(error));
    }
  } }, words);
}

/** @param {HTMLDetailsElement} menu */
function listenToMenu(menu) {
  menu.addEventListener('keydown', (event) => {
    const entries = [...menu.querySelectorAll('button')].filter((button) => !button.hidden);
    const next = menu.open || event.key.startsWith('Arrow') ? nextOf(entries, event.key) : null;
    if (!next) return;
    event.preventDefault();
    menu.open = true;
    next.focus();
  });
  menu.addEventListener('focusout', (event) => {
    if (event.relatedTarget instanceof Node && !menu.contains(event.relatedTarget)) menu.open = false;
  });
  document.addEventListener('pointerdown', (event) => {
    if (event.target instanceof Node && !menu.contains(event.target)) menu.open = false;
  });
}

/** @param {Bar} bar */
async function stop(bar) {
  const { view } = bar.means;
  if (view().ending || bar.isStopping || bar.stopButton.hidden) return;
  const yes = await confirmed({
    title: 'Stop this run?', text: 'What was said stays here. The run cannot be continued afterwards.',
    yes: 'Stop it', no: 'Let it run', danger: true,
  });
  if (!yes) return;
  bar.isStopping = true;
  draw(bar);
  if (view().ending) return;
  try {
    await cancelRun(bar.run);
  } catch (error) {
    // Its log tells what ended it, and who.
    if (error instanceof ApiError && error.code === 'run_ended') return;
    bar.isStopping = false;
    announce(wordsOf(error));
    draw(bar);
  }
}

/** Says that somebody, or the run itself, was quicker than the reader who stopped it. @param {Bar} bar */
function sayLateStop(bar) {
  const { ending } = bar.means.view();
  if (!ending || !bar.isStopping || bar.isLateStopSaid) return;
  bar.isLateStopSaid = true;
  const by = stopperOf(ending.reason);
  // Where nobody signs in, it cannot be told whose stop it was.
  if (ending.outcome === 'cancelled' && (by === null || by === readerName())) return;
  const words = ending.outcome === 'cancelled' ? `${visible(by ?? '')} stopped this run before you; your stop was not needed.`
    : `This run had ${outcomeWords(ending.outcome)} before you stopped it; your stop was not used.`;
  announce(words);
  bar.means.onLateStop(words);
}

/** @param {Bar} bar */
async function rename(bar) {
  let words = bar.title ?? currentTitle(bar);
  let problem = '';
  for (;;) {
    const wanted = await askedFor('Rename this conversation', words, { longest: LONGEST_TITLE, problem });
    if (!wanted) return;
    try {
      bar.title = (await renameRun(bar.run, wanted)).title;
      draw(bar);
      bar.means.onChanged();
      return;
    } catch (error) {
      // What was written comes back, with what is wrong with it.
      words = wanted;
      problem = wordsOf(error);
    }
  }
}

/** @param {Bar} bar */
async function markdown(bar) {
  const { toMarkdown } = await import('./export.js');
  return toMarkdown(bar.means.view(), currentTitle(bar), readerName());
}

/** @param {Bar} bar @param {string} text @param {string} type @param {string} ending */
function download(bar, text, type, ending) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const name = currentTitle(bar).replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '').slice(0, 60) || 'conversation';
  const link = h('a', { href: url, download: `${name}.${ending}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** The title from the server, or the first answer until the server has told; without the marks of Markdown. @param {Bar} bar */
function currentTitle({ means, title }) {
  const { items, workflow } = means.view();
  const answered = items.find((item) => item.kind === 'question' && item.question !== 'approval' && item.answer?.text && saysSomething(item.answer.text) && !item.answer.onTimeout && item.answer.refused === null);
  const first = answered?.kind === 'question' ? answered.answer?.text ?? null : null;
  return plainLine(title ?? first ?? '', LONGEST_TITLE) || (workflow ? titleOf(workflow) : 'Conversation');
}

/** @param {Bar} bar */
function draw(bar) {
  const { chip, isStopping, removing, renaming, stopButton, titleLine, under, withChanges } = bar;
  const view = bar.means.view();
  const phase = phaseOf(view);
  const state = view.ending ? view.ending.outcome : phase;
  const words = isStopping && !view.ending ? 'stopping' : stateWords({ state: phase, outcome: view.ending?.outcome ?? null }, waitedFor(view, otherThan(view.user, readerName())));
  const name = currentTitle(bar);
  if (titleLine.textContent !== name) titleLine.textContent = name;
  titleLine.title = name;
  const workflow = view.workflow ? titleOf(view.workflow) : '';
  const about = [workflow === name ? '' : workflow, ownerWords(view.user)].filter(Boolean).join(' · ');
  if (under.textContent !== about) under.textContent = about;
  under.hidden = about === '';
  chip.hidden = view.createdAt === null;
  withChanges.hidden = !view.params || Object.keys(view.params).length === 0;
  if (chip.textContent !== words) chip.textContent = words;
  chip.dataset.state = state;
  const may = (/** @type {'cancel' | 'rename' | 'remove'} */ right) => bar.may?.includes(right) ?? true;
  stopButton.hidden = view.ending !== null || !may('cancel');
  renaming.hidden = !may('rename');
  removing.hidden = !may('remove');
  stopButton.disabled = isStopping;
  drawFaces(bar.faces, view);
  sayLateStop(bar);
}

/** Whose run it is; nothing where nobody signs in. @param {string | null} owner */
function ownerWords(owner) {
  if (owner === null) return '';
  return `started by ${owner === readerName() ? 'you' : visible(owner)}`;
}

/** @param {HTMLElement} faces @param {RunView} view */
function drawFaces(faces, { hues }) {
  const agents = Object.keys(hues);
  if (faces.dataset.agents === agents.join('\n')) return;
  faces.dataset.agents = agents.join('\n');
  faces.title = agents.join(', ');
  faces.replaceChildren(...agents.slice(0, FACES_SHOWN).map((agent) => face(agent, hues)),
    agents.length > FACES_SHOWN ? h('span', { class: 'face more', 'aria-hidden': 'true' }, `+${agents.length - FACES_SHOWN}`) : '',
    h('span', { class: 'visually-hidden' }, `Taking part: ${agents.join(', ')}`));
}

/** Where a key goes among the entries of a menu; null for a key that goes nowhere. @param {HTMLElement[]} entries @param {string} key */
function nextOf(entries, key) {
  const at = entries.findIndex((entry) => entry === document.activeElement);
  switch (key) {
    case 'ArrowDown': return entries[(at + 1) % entries.length];
    case 'ArrowUp': return entries.at(at < 0 ? -1 : at - 1) ?? null;
    case 'Home': return entries[0];
    case 'End': return entries.at(-1) ?? null;
    default: return null;
  }
}
