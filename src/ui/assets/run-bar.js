// @ts-check
/** The bar above a conversation: what it is, who takes part, how it stands, and what can be done with it. */

import { cancelRun, deleteRun, eventsUrl, refusalOf, renameRun, request, startRun, wordsOf } from './api.js';
import { copyText } from './copying.js';
import { announce, askedFor, confirmed } from './dialogs.js';
import { h } from './dom.js';
import { forgetDrafts } from './drafts.js';
import { face } from './faces.js';
import { icon } from './icons.js';
import { toLink } from './links.js';
import { phaseOf } from './state.js';
import { stateWords } from './words.js';
import { titleOf } from './workflow-titles.js';

/** @typedef {import('./state.js').RunView} RunView */

const FACES_SHOWN = 5;

/**
 * @param {HTMLElement} place @param {string} run
 * @param {{view: () => RunView, column: () => HTMLElement, onChanged: () => void, onDeleted: () => void,
 *   onStarted: (run: import('./api.js').Run) => void, onNavigate: (path: string) => void}} means
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
    const details = h('details', { class: 'menu' }, h('summary', { 'aria-label': 'More' }, icon('more')));
    /** @param {string} words @param {() => void | Promise<void>} act */
    const entry = (words, act) => h('button', { type: 'button', onclick: async () => {
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
        download(toHtml(column(), currentTitle()), 'text/html', 'html');
      }),
      entry('Download JSON', downloadJson),
      entry('Delete…', remove)));
    details.addEventListener('focusout', (event) => {
      if (event.relatedTarget instanceof Node && !details.contains(event.relatedTarget)) details.open = false;
    });
    document.addEventListener('pointerdown', (event) => {
      if (event.target instanceof Node && !details.contains(event.target)) details.open = false;
    });
    return details;
  }

  async function rename() {
    const wanted = await askedFor('Rename this conversation', currentTitle());
    if (!wanted) return;
    title = (await renameRun(run, wanted)).title;
    draw(view());
    onChanged();
  }

  async function remove() {
    if (!view().ending) {
      announce('This run is still going on. Stop it first, then delete it.');
      return;
    }
    const yes = await confirmed({
      title: 'Delete this conversation?', text: 'It is deleted for good, for everybody.', yes: 'Delete it', no: 'Keep it', danger: true,
    });
    if (!yes) return;
    await deleteRun(run);
    forgetDrafts(run);
    onDeleted();
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

  /** The title from the server, or the first answer until the server has told. */
  function currentTitle() {
    const answered = view().items.find((item) => item.kind === 'question' && item.question !== 'approval' && item.answer?.text && !item.answer.onTimeout && item.answer.refused === null);
    const first = answered?.kind === 'question' ? answered.answer?.text ?? null : null;
    const workflow = view().workflow;
    return (title ?? first) || (workflow ? titleOf(workflow) : 'Conversation');
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
    closeMenu: () => { const was = menu.open; menu.open = false; return was; },
  };
}
