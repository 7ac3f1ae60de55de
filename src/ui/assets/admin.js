// @ts-check
/**
 * The operator's page: the runs of all users as they are now, their workers, open questions and costs. Users who may read the
 * audit may open it (docs/how-to/operate.md). It asks again when the audit's live tail says that something has happened, and every
 * few seconds in any case; nothing is kept here.
 *
 * @typedef {import('./gateway/api.js').AuditRun} Run
 * @typedef {import('./gateway/api.js').AuditEvent} Event
 * @typedef {import('./gateway/api.js').Overview} Overview
 * @typedef {import('./gateway/api.js').Worker} Worker
 */

import { ApiError, getConfig, refusalOf, request, setAdminToken, wordsOf } from './gateway/api.js';
import { exactParse, exactText, isEmptyObject } from './gateway/exact-json.js';
import { byId, h, legible } from './elements/dom.js';
import { beginSession, whoIsHere } from './session/session.js';
import { openEvents } from './gateway/event-stream.js';
import { at, base } from './page/base.js';
import { themeButton } from './page/theme.js';

/** Runs in one page of the list. */
const PAGE = 50;
/** What happens is shown so soon; what happens at once is shown at once. */
const SOON_MS = 400;
/** Asked again even if nothing seems to happen: leases end without a word. */
const EVERY_MS = 5000;
const TRY_AGAIN_MS = 3000;
/** Where the token of the admin link is kept: for this very page, while the gateway lives that gave it. */
const ADMIN_TOKEN = `fastagency.admin-token${base}`;

const filters = byId('filters', HTMLFormElement);
const trouble = byId('trouble', HTMLElement);
const live = byId('live', HTMLElement);
const more = byId('more', HTMLButtonElement);
const rows = byId('runs', HTMLElement);
const dialog = byId('timeline', HTMLDialogElement);
const cancelButton = byId('cancel-run', HTMLButtonElement);

let pages = 1;
/** @type {string | null} the run whose timeline is open */
let opened = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let soon;
let asking = false;
/** Whether this page needs the admin link, and does not have it. */
let isClosed = false;
let again = false;

/** @param {string} path @param {RequestInit} [init] */
async function call(path, init = {}) {
  const response = await request(path, () => init);
  if (!response.ok) throw await refusalOf(response);
  return response.status === 204 ? null : exactParse(await response.text());
}

/** What the filters say, as a query; what is empty says nothing. */
function query() {
  const found = new URLSearchParams();
  for (const [name, value] of new FormData(filters)) if (typeof value === 'string' && value.trim()) found.set(name, value.trim());
  return found;
}

/** The runs that are meant, as many pages as are shown. */
async function fetchRuns() {
  const asked = query();
  asked.set('limit', String(PAGE));
  /** @type {Run[]} */
  let runs = [];
  let next = null;
  for (let page = 0; page < pages; page += 1) {
    if (next) asked.set('cursor', next);
    const answer = await call(`/api/audit/runs?${asked}`);
    runs = runs.concat(answer.runs);
    next = answer.next;
    if (!next) break;
  }
  return { runs, next };
}

/** @returns {Promise<Overview>} */
const fetchOverview = () => call('/api/overview');

/** @returns {Promise<Worker[]>} */
const fetchWorkers = async () => (await call('/api/workers')).workers;

/** Shows everything as it is now. One refresh at a time: a call during a refresh starts one more after it. */
async function refresh() {
  if (isClosed) return;
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const [{ runs, next }, overview, workers] = await Promise.all([fetchRuns(), fetchOverview(), fetchWorkers()]);
    trouble.textContent = overview.warnings.join(' ');
    drawMetrics(overview, workers);
    drawRuns(runs, next);
    drawQuestions(overview.questions);
    drawWorkers(workers);
    drawQueue(overview.queue);
    const { by_workflow: workflows, by_user: users } = overview.costs;
    drawCosts(byId('cost-by-workflow', HTMLElement), 'Workflow', workflows.map((cost) => ({ ...cost, name: cost.workflow })));
    drawCosts(byId('cost-by-user', HTMLElement), 'User', users.map((cost) => ({ ...cost, name: cost.user })));
    suggest(overview);
    if (opened) await drawTimeline(opened);
  } catch (error) {
    if (error instanceof ApiError && error.code === 'admin_link_required') explain(error);
    else trouble.textContent = wordsOf(error);
  } finally {
    asking = false;
    if (again) {
      again = false;
      refreshSoon();
    }
  }
}

function refreshSoon() {
  soon ??= setTimeout(() => { soon = undefined; refresh(); }, SOON_MS);
}

/** Replaces children only where something has changed, so that focus and scrolling stay. @param {HTMLElement} parent @param {Node[]} children */
function put(parent, children) {
  const same = parent.children.length === children.length && children.every((child, index) => child.isEqualNode(parent.children[index]));
  if (same) return;
  const held = document.activeElement instanceof HTMLElement && parent.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  parent.replaceChildren(...children);
  if (held) /** @type {HTMLElement | null} */ (parent.querySelector(`[data-key="${CSS.escape(held)}"]`))?.focus();
}

/** @param {Overview} overview @param {Worker[]} workers */
function drawMetrics({ runs, outcomes, queue, questions, costs }, workers) {
  const waiting = queue.reduce((sum, line) => sum + line.waiting, 0);
  const spent = costs.by_workflow.reduce((sum, line) => sum + line.cost_usd, 0);
  /** @type {[string, string | number, boolean?][]} */
  const metrics = [
    ['running', runs.running], ['queued', runs.queued], ['open questions', questions.open], ['jobs waiting', waiting],
    ['workers', workers.length, workers.length === 0], ['completed', outcomes.completed], ['failed', outcomes.failed, outcomes.failed > 0],
    ['spent', (costs.by_workflow.some((line) => line.estimated) ? '≈ ' : '') + dollars(spent)],
  ];
  put(byId('metrics', HTMLElement), metrics.map(([name, value, isBad]) => h('div', isBad ? { class: 'is-bad' } : null, h('dt', null, name), h('dd', null, value))));
}

/** @param {Run[]} runs @param {string | null} next */
function drawRuns(runs, next) {
  put(rows, runs.map((run) => h('tr', null,
    h('td', null, stateOf(run)),
    h('td', null, h('button', { type: 'button', class: 'run-link', dir: 'auto', 'data-key': run.id, 'data-run': run.id }, run.title ?? run.question?.prompt ?? short(run.id))),
    h('td', null, run.workflow),
    h('td', { class: 'quiet' }, run.user ?? '—'),
    h('td', { class: 'quiet', title: run.worker }, run.worker ? short(run.worker) : '—'),
    h('td', { class: 'quiet' }, when(run.updated_at)))));
  byId('no-runs', HTMLElement).hidden = runs.length > 0;
  more.hidden = !next;
  const exported = query();
  for (const format of ['jsonl', 'csv']) {
    exported.set('format', format);
    byId(`export-${format}`, HTMLAnchorElement).href = at(`/api/audit/export?${exported}`);
  }
}

/** @param {Overview['questions']} questions */
function drawQuestions({ open, oldest }) {
  const lines = oldest.map((question) => h('li', null,
    h('button', { type: 'button', class: 'run-link', dir: 'auto', 'data-key': `question-${question.run}`, 'data-run': question.run }, question.prompt || 'A question'),
    h('div', { class: 'muted' }, `${question.workflow} · ${question.user ?? 'anonymous'} · since ${when(question.asked_at)}`)));
  if (open > oldest.length) lines.push(h('li', { class: 'muted' }, `and ${open - oldest.length} more`));
  put(byId('questions', HTMLElement), lines.length ? lines : [h('li', { class: 'muted' }, 'Nothing waits for anybody.')]);
}

/** @param {Worker[]} workers */
function drawWorkers(workers) {
  const lines = workers.map((worker) => h('li', null,
    h('strong', { title: worker.id }, short(worker.id)), ` ${worker.runs} of ${worker.max_runs} runs`,
    h('meter', { min: 0, max: Math.max(worker.max_runs, 1), value: worker.runs, 'aria-label': `Load of ${short(worker.id)}` }),
    h('div', { class: 'muted' }, `version ${worker.version}, up since ${when(worker.started_at)}: ${worker.workflows.join(', ')}`)));
  put(byId('workers', HTMLElement), lines.length ? lines : [h('li', { class: 'problem' }, 'No worker is up: runs wait in the queue.')]);
  const select = filters.querySelector('select[name=worker]');
  if (select instanceof HTMLSelectElement && document.activeElement !== select) {
    const chosen = select.value;
    const known = new Set(workers.map((worker) => worker.id));
    // Runs of a worker that is gone are still found by it.
    if (chosen) known.add(chosen);
    put(select, [h('option', { value: '' }, 'any'), ...[...known].map((id) => h('option', { value: id }, short(id)))]);
    select.value = chosen;
  }
}

/** @param {Overview['queue']} queue */
function drawQueue(queue) {
  const busy = queue.filter((line) => line.waiting || line.taken);
  const lines = busy.map((line) => h('li', null, `${line.workflow}: ${line.waiting} waiting, ${line.taken} with workers`));
  put(byId('queue', HTMLElement), lines.length ? lines : [h('li', { class: 'muted' }, 'It is empty.')]);
}

/** @param {HTMLElement} place @param {string} of @param {{name: string | null, runs: number, tokens: number, cost_usd: number, estimated?: boolean}[]} costs */
function drawCosts(place, of, costs) {
  const lines = costs.map((cost) => h('tr', null,
    h('td', null, cost.name ?? '—'), h('td', { class: 'number' }, cost.runs), h('td', { class: 'number' }, cost.tokens.toLocaleString('en')),
    h('td', { class: 'number' }, (cost.estimated ? '≈ ' : '') + dollars(cost.cost_usd))));
  const head = h('thead', null, h('tr', null, h('th', { scope: 'col' }, of), ...['Runs', 'Tokens', 'Cost'].map((name) => h('th', { scope: 'col', class: 'number' }, name))));
  put(place, [h('table', { class: 'admin-table' }, head, h('tbody', null, ...lines))]);
}

/** What the filters can be filled with. @param {Overview} overview */
function suggest({ costs }) {
  const lists = { workflows: costs.by_workflow.map((line) => line.workflow), users: costs.by_user.map((line) => line.user) };
  for (const [list, names] of Object.entries(lists)) {
    put(byId(list, HTMLElement), names.filter((name) => name !== null).map((name) => h('option', { value: name })));
  }
}

/** @param {Run} run */
function stateOf(run) {
  const state = run.removed ? 'removed' : run.outcome ?? run.state;
  return h('span', { class: 'state', 'data-state': state }, state);
}

/** @param {string} run */
async function openTimeline(run) {
  opened = run;
  byId('timeline-trouble', HTMLElement).textContent = '';
  byId('timeline-title', HTMLElement).textContent = short(run);
  put(byId('timeline-events', HTMLElement), []);
  put(byId('timeline-facts', HTMLElement), []);
  cancelButton.hidden = true;
  dialog.showModal();
  try {
    await drawTimeline(run);
  } catch (error) {
    byId('timeline-trouble', HTMLElement).textContent = wordsOf(error);
  }
}

/** @param {string} id */
async function drawTimeline(id) {
  /** @type {{run: Run, events: Event[]}} */
  const { run, events } = await call(`/api/audit/runs/${encodeURIComponent(id)}`);
  if (opened !== id) return;
  byId('timeline-title', HTMLElement).textContent = legible(run.title ?? run.workflow ?? short(run.id));
  cancelButton.hidden = run.state === 'ended';
  /** @type {[string, string | Node][]} */
  const facts = [['State', stateOf(run)], ['Workflow', run.workflow ?? '—'], ['User', run.user ?? '—'], ['Worker', run.worker ?? '—'], ['Began', when(run.created_at)], ['Run', run.id]];
  put(byId('timeline-facts', HTMLElement), facts.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))));
  put(byId('timeline-events', HTMLElement), events.map((event) => {
    const words = wordsOfEvent(event);
    return h('li', null, h('time', { datetime: event.at }, clock(event.at)), h('span', { class: 'kind' }, event.kind), ` ${words.said}`, words.more ? h('pre', { tabindex: 0, dir: 'auto' }, words.more) : null);
  }));
}

/** An event in a line, and what stands below it. @param {Event} event @returns {{said: string, more?: string}} */
function wordsOfEvent(event) {
  const { content = {}, sender, recipient } = event.message ?? {};
  const between = sender ? `${sender} to ${recipient ?? 'everybody'}` : '';
  const text = content.body ?? content.prompt ?? content.content ?? '';
  switch (event.kind) {
    case 'created': return { said: `by ${event.user ?? 'anonymous'}`, more: shown(event.params) };
    case 'claimed': return { said: `by worker ${short(event.worker ?? '')}${(event.epoch ?? 1) > 1 ? `, for the ${event.epoch}. time` : ''}` };
    case 'asked': return { said: between, more: text || shown(content) };
    case 'said': return { said: between, more: text || shown(content) };
    case 'answered': return { said: `${event.by ? `by ${event.by}` : ''}${event.on_timeout ? ' (nobody in time)' : ''}${event.secret ? ' a password' : ''}`, more: event.text ?? undefined };
    case 'replied': return { said: `${event.model}, ${event.usage?.prompt_tokens ?? 0} tokens read and ${event.usage?.completion_tokens ?? 0} written${event.usage?.cost_usd && event.usage.cost_usd > 0 ? `, ${dollars(event.usage.cost_usd)}` : ''}${event.usage && 'estimated' in event.usage ? ', estimated' : ''}${/^(stop|tool_calls)?$/.test(event.finish_reason ?? '') ? '' : `, ended by ${event.finish_reason}`}`, more: event.content || shown(event.tool_calls) };
    case 'failed': return { said: event.error ?? '', more: event.reason };
    case 'ended': return { said: event.outcome ?? '', more: event.reason ?? shown(event.result) };
    case 'removed': return wordsOfRemoval(event);
    case 'renamed': return { said: [event.by && `by ${event.by}`, event.dropped && `${event.dropped} later ones are not kept`].filter(Boolean).join('; '), more: event.to ?? 'its first answer is its title again' };
    case 'redacted': return { said: 'what is not to be kept was taken out of the log' };
    case 'parked': return { said: event.until ? `until ${when(event.until)}` : 'until somebody answers' };
    default: return { said: event.key ?? '' };
  }
}

/** Who removed or erased a run, when and why, and what it was. @param {Event} event @returns {{said: string, more?: string}} */
function wordsOfRemoval(event) {
  const { erased } = event;
  const who = event.rule ? `by the rule ${event.rule}` : event.by ? `by ${event.by}` : '';
  const lines = [
    event.reason ? `Reason: ${event.reason}` : '',
    erased ? `Erased${erased.by ? ` by ${erased.by}` : ''}, ${when(erased.at)}: ${erased.reason}` : '',
    event.workflow ? `${event.workflow} of ${event.user ?? 'anonymous'}, begun ${when(event.created_at ?? event.at)}, ${event.outcome ?? 'ended'}` : '',
    event.usage && 'llm_calls' in event.usage ? `${event.usage.llm_calls} requests to models, ${dollars(event.usage.cost_usd ?? 0)}` : '',
  ];
  return { said: who, more: lines.filter(Boolean).join('\n') || undefined };
}

/** @param {unknown} value */
function shown(value) {
  if (value == null || isEmptyObject(value)) return undefined;
  return typeof value === 'string' ? value : exactText(value, 2);
}

/** @param {string} id */
const short = (id) => id.slice(0, 8);
/** @param {number} amount */
const dollars = (amount) => `$${amount.toFixed(amount > 0 && amount < 1 ? 4 : 2)}`;
/** @param {string} at */
const clock = (at) => new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });
/** @param {string} at */
function when(at) {
  const moment = new Date(at);
  return moment.toDateString() === new Date().toDateString() ? clock(at) : moment.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
}

cancelButton.addEventListener('click', async () => {
  const run = opened;
  if (!run) return;
  if (!cancelButton.classList.contains('dangerous')) {
    // A run that is ended cannot be begun again where it was: asked for once more.
    cancelButton.classList.add('dangerous');
    cancelButton.textContent = 'Really cancel it';
    return;
  }
  cancelButton.disabled = true;
  try {
    await call(`/api/runs/${encodeURIComponent(run)}/cancel`, { method: 'POST' });
    await drawTimeline(run);
  } catch (error) {
    byId('timeline-trouble', HTMLElement).textContent = wordsOf(error);
  }
  calmDown();
  refreshSoon();
});

function calmDown() {
  cancelButton.disabled = false;
  cancelButton.classList.remove('dangerous');
  cancelButton.textContent = 'Cancel the run';
}

document.addEventListener('click', (event) => {
  const button = event.target instanceof Element ? event.target.closest('[data-run]') : null;
  if (button instanceof HTMLElement && button.dataset.run) openTimeline(button.dataset.run);
});
byId('close-timeline', HTMLButtonElement).addEventListener('click', () => dialog.close());
dialog.addEventListener('close', () => { opened = null; calmDown(); });
filters.addEventListener('submit', (event) => { event.preventDefault(); pages = 1; refresh(); });
filters.addEventListener('input', () => { pages = 1; refreshSoon(); });
filters.addEventListener('reset', () => { pages = 1; refreshSoon(); });
more.addEventListener('click', () => { pages += 1; refresh(); });

/** Hears that something has happened; what it was is asked for. Never gives up. */
async function listen() {
  for (;;) {
    try {
      const line = new AbortController();
      const { response, over } = await openEvents(null, () => 0, line.signal, (name) => { if (name === 'goodbye') line.abort(); else refreshSoon(); }, () => {});
      if (!response.ok) throw await refusalOf(response);
      live.dataset.live = 'yes';
      live.textContent = 'live';
      refreshSoon();
      await over();
    } catch (error) {
      if (isClosed) return;
      if (error instanceof ApiError && error.status === 403) {
        if (error.code === 'admin_link_required') return explain(error);
        live.textContent = 'not allowed';
        trouble.textContent = wordsOf(error);
        return;
      }
    }
    live.dataset.live = 'no';
    live.textContent = 'connecting again';
    await new Promise((resolve) => setTimeout(resolve, TRY_AGAIN_MS));
  }
}

byId('theme-place', HTMLElement).append(themeButton());
const configured = getConfig().then((config) => {
  byId('app-title', HTMLElement).textContent = config.title;
  document.title = `${config.title}: operation`;
  if (config.logo) byId('logo', HTMLElement).replaceChildren(h('img', { src: at(config.logo), alt: '' }));
}).catch((error) => { trouble.textContent = wordsOf(error); });
beginSession({
  onMe: () => {},
  show: (signingIn) => {
    const drawn = Promise.all([import('./session/sign-in.js'), configured]).then(([{ showSignIn }]) => showSignIn(signingIn));
    return () => { drawn.then((takeAway) => takeAway()); };
  },
});
open();

/** Begins; where nobody signs in, with what the admin link is exchanged for. */
async function open() {
  const me = await whoIsHere().catch(() => null);
  try {
    if (me?.mode === 'none') await useAdminLink();
  } catch (error) {
    if (error instanceof ApiError && error.status === 403) return explain(error);
  }
  refresh();
  listen();
  setInterval(() => { if (document.visibilityState === 'visible') refresh(); }, EVERY_MS);
}

async function useAdminLink() {
  const code = new URLSearchParams(location.hash.slice(1)).get('link');
  setAdminToken(localStorage.getItem(ADMIN_TOKEN));
  if (!code) return;
  const { token } = await call('/api/admin-link', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ code }) });
  // It counts once, so it need not stay in the address.
  history.replaceState(history.state, '', location.pathname + location.search);
  localStorage.setItem(ADMIN_TOKEN, token);
  setAdminToken(token);
}

/** Says how an operator gets in. @param {ApiError} error */
function explain(error) {
  isClosed = true;
  localStorage.removeItem(ADMIN_TOKEN);
  setAdminToken(null);
  if (dialog.open) dialog.close();
  live.textContent = 'not allowed';
  const isUsed = error.code === 'admin_link_used';
  byId('admin', HTMLElement).replaceChildren(h('section', { class: 'closed', role: 'alert' },
    h('h2', null, isUsed ? 'This link was used' : 'This page needs the admin link'),
    isUsed ? h('p', null, 'It was opened before, or the program that printed it has ended. Start the program again for a new link.') : null,
    h('p', null, 'No one signs in here (', h('code', null, 'auth.mode: none'), '), so the program prints a link for its operator when it starts:'),
    h('pre', { tabindex: 0 }, `admin: ${location.origin}${at('/admin')}#link=…`),
    h('p', null, 'It opens once, in one browser, and counts until that program ends. On its data folder, ', h('code', null, 'fastagency audit'), ' shows the same runs.')));
}

/** A download where nobody signs in: a plain link could not show the token. @param {HTMLAnchorElement} link */
async function download(link) {
  const response = await request(`/api/audit/export${link.search}`, () => ({}));
  if (!response.ok) throw await refusalOf(response);
  const url = URL.createObjectURL(await response.blob());
  h('a', { href: url, download: `audit.${new URLSearchParams(link.search).get('format')}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

for (const format of ['jsonl', 'csv']) {
  byId(`export-${format}`, HTMLAnchorElement).addEventListener('click', (event) => {
    if (!localStorage.getItem(ADMIN_TOKEN) || !(event.currentTarget instanceof HTMLAnchorElement)) return;
    event.preventDefault();
    download(event.currentTarget).catch((error) => { trouble.textContent = wordsOf(error); });
  });
}
