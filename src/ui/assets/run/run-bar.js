// @ts-check
/** The bar above a conversation: what it is, who takes part, how it stands, and what can be done with it. */

import { ApiError, cancelRun, deleteRun, eventsUrl, refusalOf, renameRun, request, startRun, wordsOf } from '../gateway/api.js';
import { copyText } from '../text/copying.js';
import { announce, askedFor, confirmed } from '../elements/dialogs.js';
import { h } from '../elements/dom.js';
import { forgetDrafts } from '../form/drafts.js';
import { face } from '../elements/faces.js';
import { icon } from '../elements/icons.js';
import { toLink } from '../form/links.js';
import { phaseOf } from './state.js';
import { plainLine, saysSomething, stateWords } from '../text/words.js';
import { titleOf } from '../gateway/workflow-titles.js';

/** @typedef {import('./state.js').RunView} RunView */

const FACES_SHOWN = 5;
/** As the server has it. */
const LONGEST_TITLE = 120;
/** So often, and so many times, a run that was stopped is asked to go: it first finishes what cannot be broken off. */
const DELETE_EVERY_MS = 400;
const DELETE_ATTEMPTS = 75;

/**
 * @param {HTMLElement} place @param {string} run
 * @param {{view: () => RunView, column: () => HTMLElement, onChanged: () => void, onDeleted: () => void,
 *   onStarted: (run: import('../gateway/api.js').Run) => void, onNavigate: (path: string) => void}} means
 */
export function runBar(place, run, { view, column, onChanged, onDeleted, onStarted, onNavigate }) {
  /** @type {string | null} */
  let title = null;
  let stopping = false;
  const titleLine = h('h1', { class: 'bar-title' });
  const under = h('p', { class: 'bar-under' });
  const faces = h('div', { class: 'faces' });
  const chip = h('span', { class: 'state-chip', role: 'status' });
  // There from the first moment: a run exists, so it can be stopped.
  const stopButton = h('button', { type: 'button', class: 'stop-button', id: 'stop', onclick: () => stop() }, icon('stop'), h('span', null, 'Stop'));
  /** @type {HTMLButtonElement} */
  let withChanges;
  const menu = menuOf();
  place.replaceChildren(h('div', { class: 'bar-words' }, titleLine, under), faces, chip, stopButton, menu);
  draw(view());

  async function stop() {
    if (view().ending || stopping) return;
    const yes = await confirmed({
      title: 'Stop this run?', text: 'What was said stays here. The run itself cannot be continued afterwards.',
      yes: 'Stop it', no: 'Let it run', danger: true,
    });
    if (!yes || view().ending) return;
    stopping = true;
    draw(view());
    try {
      await cancelRun(run);
    } catch (error) {
      stopping = false;
      announce(wordsOf(error));
      draw(view());
    }
  }

  function menuOf() {
    const summary = h('summary', { 'aria-label': 'More' }, icon('more'));
    const details = h('details', { class: 'menu' }, summary);
    /** @param {string} words @param {() => void | Promise<void>} act */
    const entry = (words, act) => h('button', { type: 'button', onclick: async () => {
      // What is folded away cannot keep the focus; a dialog gives it back to where it was.
      summary.focus();
      details.open = false;
      try {
        await act();
      } catch (error) {
        announce(wordsOf(error));
      }
    } }, words);
    withChanges = entry('Start another with changes…', async () => onNavigate(toLink(view().workflow ?? '', view().params)));
    details.append(h('div', { class: 'menu-entries' },
      entry('Rename…', rename),
      entry('Start another like it', async () => onStarted(await startRun(view().workflow ?? '', view().params))),
      withChanges,
      entry('Copy the link', async () => { await copyText(new URL(`/runs/${encodeURIComponent(run)}`, location.href).href); announce('The link was copied.'); }),
      entry('Copy as Markdown', async () => { await copyText(await markdown()); announce('The conversation was copied.'); }),
      entry('Download Markdown', async () => download(await markdown(), 'text/markdown', 'md')),
      entry('Download HTML', async () => {
        const { toHtml } = await import('./export-page.js');
        download(toHtml(column(), { title: currentTitle(), workflow: titleOf(view().workflow ?? ''), startedAt: view().createdAt }), 'text/html', 'html');
      }),
      entry('Download JSON', downloadJson),
      entry('Delete…', remove)));
    details.addEventListener('keydown', (event) => {
      const entries = [...details.querySelectorAll('button')].filter((button) => !button.hidden);
      const next = details.open || event.key.startsWith('Arrow') ? nextOf(entries, event.key) : null;
      if (!next) return;
      event.preventDefault();
      details.open = true;
      next.focus();
    });
    details.addEventListener('focusout', (event) => {
      if (event.relatedTarget instanceof Node && !details.contains(event.relatedTarget)) details.open = false;
    });
    document.addEventListener('pointerdown', (event) => {
      if (event.target instanceof Node && !details.contains(event.target)) details.open = false;
    });
    return details;
  }

  async function rename() {
    let words = title ?? currentTitle();
    let problem = '';
    for (;;) {
      const wanted = await askedFor('Rename this conversation', words, { longest: LONGEST_TITLE, problem });
      if (!wanted) return;
      try {
        title = (await renameRun(run, wanted)).title;
        draw(view());
        onChanged();
        return;
      } catch (error) {
        // What was written comes back, with what is wrong with it.
        words = wanted;
        problem = wordsOf(error);
      }
    }
  }

  async function remove() {
    const yes = await confirmed(view().ending
      ? { title: 'Delete this conversation?', text: 'It is deleted for good, for everybody.', yes: 'Delete it', no: 'Keep it', danger: true }
      : { title: 'Stop and delete this conversation?', text: 'It is still going on. It is stopped, and then deleted for good, for everybody.', yes: 'Stop and delete', no: 'Keep it', danger: true });
    if (!yes) return;
    try {
      if (!view().ending) await stopForGood();
      if (!await isDeleted()) {
        announce('This conversation has not stopped yet, so it is still there. Try again in a moment.');
        return;
      }
    } finally {
      stopping = false;
      draw(view());
    }
    forgetDrafts(run);
    onDeleted();
    announce('Deleted.');
  }

  async function stopForGood() {
    stopping = true;
    draw(view());
    try {
      await cancelRun(run);
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 'run_ended')) throw error;
    }
  }

  /** Deletes the run once it has ended; false if it does not end. What the server lists learns of an end a moment after its log. */
  async function isDeleted() {
    for (let attempt = 1; attempt <= DELETE_ATTEMPTS; attempt += 1) {
      try {
        await deleteRun(run);
        return true;
      } catch (error) {
        if (!(error instanceof ApiError && error.code === 'run_not_ended')) throw error;
        await new Promise((resolve) => setTimeout(resolve, DELETE_EVERY_MS));
      }
    }
    return false;
  }

  async function markdown() {
    const { toMarkdown } = await import('./export.js');
    return toMarkdown(view(), currentTitle());
  }

  /** The records exactly as the log has them. */
  async function downloadJson() {
    const response = await request(eventsUrl(run, { follow: false }), () => ({}));
    if (!response.ok) throw await refusalOf(response);
    const records = (await response.text()).split(/\r?\n\r?\n/)
      .filter((block) => /^event: ?record$/m.test(block))
      .map((block) => JSON.parse(block.split(/\r?\n/).filter((line) => line.startsWith('data:')).map((line) => line.slice(5)).join('\n')));
    download(JSON.stringify({ run, title: currentTitle(), workflow: view().workflow, records }, null, 2), 'application/json', 'json');
  }

  /** @param {string} text @param {string} type @param {string} ending */
  function download(text, type, ending) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const name = currentTitle().replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '').slice(0, 60) || 'conversation';
    const link = h('a', { href: url, download: `${name}.${ending}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  /** The title from the server, or the first answer until the server has told; without the marks of Markdown. */
  function currentTitle() {
    const answered = view().items.find((item) => item.kind === 'question' && item.question !== 'approval' && item.answer?.text && saysSomething(item.answer.text) && !item.answer.onTimeout && item.answer.refused === null);
    const first = answered?.kind === 'question' ? answered.answer?.text ?? null : null;
    const workflow = view().workflow;
    return plainLine(title ?? first ?? '', LONGEST_TITLE) || (workflow ? titleOf(workflow) : 'Conversation');
  }

  /** @param {RunView} now */
  function draw(now) {
    const phase = phaseOf(now);
    const state = now.ending ? now.ending.outcome : phase;
    const words = stopping && !now.ending ? 'stopping' : stateWords({ state: phase, outcome: now.ending?.outcome ?? null });
    const name = currentTitle();
    if (titleLine.textContent !== name) titleLine.textContent = name;
    titleLine.title = name;
    under.textContent = now.workflow ? titleOf(now.workflow) : '';
    under.hidden = under.textContent === name;
    chip.hidden = now.createdAt === null;
    withChanges.hidden = !now.params || Object.keys(now.params).length === 0;
    if (chip.textContent !== words) chip.textContent = words;
    chip.dataset.state = state;
    stopButton.hidden = now.ending !== null;
    stopButton.disabled = stopping;
    const agents = Object.keys(now.hues);
    if (faces.dataset.agents === agents.join('\n')) return;
    faces.dataset.agents = agents.join('\n');
    faces.title = agents.join(', ');
    faces.replaceChildren(...agents.slice(0, FACES_SHOWN).map((agent) => face(agent, now.hues)),
      agents.length > FACES_SHOWN ? h('span', { class: 'face more', 'aria-hidden': 'true' }, `+${agents.length - FACES_SHOWN}`) : '',
      h('span', { class: 'visually-hidden' }, `Taking part: ${agents.join(', ')}`));
  }

  return {
    draw, stop, title: currentTitle,
    /** @param {string | null} fromServer */
    setTitle: (fromServer) => { title = fromServer; draw(view()); },
    closeMenu: () => {
      const was = menu.open;
      if (menu.contains(document.activeElement)) menu.querySelector('summary')?.focus();
      menu.open = false;
      return was;
    },
  };
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
