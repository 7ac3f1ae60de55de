// @ts-check
/** Where a conversation begins: the workflows as cards, and the form for the parameters of one. */

import { ApiError, isNotLetIn, listWorkflows, startRun, randomKey, wordsOf } from '../gateway/api.js';
import { keepDraft, readDraft } from '../form/drafts.js';
import { h } from '../elements/dom.js';
import { hueFor } from '../elements/agents.js';
import { face } from '../elements/faces.js';
import { isFramed } from './framed.js';
import { whoIsHere } from '../session/session.js';
import { icon } from '../elements/icons.js';
import { fromLink } from '../form/links.js';
import { schemaForm } from '../form/schema-form.js';
import { fieldsOf, hasFields } from '../form/schema.js';
import { sentenceOf, workflowTitle } from '../text/words.js';
import { learnTitles } from '../gateway/workflow-titles.js';

/** @typedef {import('../gateway/api.js').Workflow} Workflow */

const RETRY_MS = 4000;
/** What stands for the run in the name of a draft, where there is none yet. */
const START = 'start';

/**
 * @typedef {object} StartActions
 * @property {(run: import('../gateway/api.js').Run, replace: boolean) => void} onStarted
 * @property {(path: string) => void} onNavigate
 *
 * @typedef {object} Start
 * @property {HTMLElement} column
 * @property {URLSearchParams} query
 * @property {string | null} wanted   the workflow that the address names
 * @property {boolean} mayStart
 * @property {StartActions} actions
 * @property {boolean} isClosed
 * @property {ReturnType<typeof setTimeout> | undefined} timer   until the workflows are asked for again
 */

/**
 * Draws the start into `place`. An address `/?workflow=name&key=value` opens that workflow with a filled form, and starts it at once
 * if it may (`mayStart`, framed.js) and brings all that the workflow needs.
 * @param {HTMLElement} place @param {URLSearchParams} query @param {boolean} mayStart @param {StartActions} actions
 */
export function openStart(place, query, mayStart, actions) {
  const wanted = query.get('workflow');
  const loading = h('p', { class: 'muted', role: 'status' }, 'Loading the workflows…');
  // As index.html has it: what the browser shows first is not taken away again.
  const column = h('div', { class: 'start' }, ...(wanted === null ? [...greeting(true), cardsToCome()] : []), loading);
  loading.classList.toggle('visually-hidden', wanted === null);
  place.replaceChildren(h('div', { class: 'scroller' }, column));
  /** @type {Start} */
  const start = { column, query, wanted, mayStart, actions, isClosed: false, timer: undefined };
  load(start);
  return { close: () => { start.isClosed = true; clearTimeout(start.timer); } };
}

/** @param {Start} start */
async function load(start) {
  const { column, mayStart, wanted } = start;
  try {
    const workflows = await listWorkflows();
    const mayStartNow = mayStart && !(isFramed && await somebodySignsIn());
    if (start.isClosed) return;
    learnTitles(workflows);
    if (wanted === null) drawCards(start, workflows);
    else {
      const workflow = workflows.find((each) => each.name === wanted);
      if (workflow) drawOne(start, workflow, mayStartNow);
      else drawCards(start, workflows, `There is no workflow named “${wanted}”. These are there:`);
    }
  } catch (error) {
    if (start.isClosed) return;
    column.replaceChildren(h('div', { class: 'notice is-problem', role: 'alert' }, icon('warning'),
      h('div', null, h('p', null, wordsOf(error)),
        h('button', { type: 'button', class: 'secondary-button', onclick: () => load(start) }, 'Try again'))));
    if (!isNotLetIn(error)) start.timer = setTimeout(() => load(start), RETRY_MS);
  }
}

/** @param {Start} start @param {Workflow[]} workflows @param {string} [problem] */
function drawCards(start, workflows, problem) {
  const refusal = h('p', { class: 'problem', role: 'alert' }, problem);
  /** @type {Record<string, number>} */
  const hues = {};
  for (const workflow of workflows) hues[workflowTitle(workflow)] = hueFor(workflowTitle(workflow), Object.values(hues));
  start.column.replaceChildren(
    ...greeting(workflows.length > 0),
    refusal,
    h('ul', { class: 'cards' }, ...workflows.map((workflow) => h('li', null, card(start, workflow, hues, refusal)))));
  if (workflows.length === 0) start.timer = setTimeout(() => load(start), RETRY_MS);
}

/** @param {Start} start @param {Workflow} workflow @param {import('../elements/faces.js').Hues} hues @param {HTMLElement} refusal */
function card(start, workflow, hues, refusal) {
  const button = h('button', { type: 'button', class: 'card', 'data-workflow': workflow.name, onclick: async () => {
    if (hasFields(workflow.params)) {
      start.actions.onNavigate(`/?workflow=${encodeURIComponent(workflow.name)}`);
      return;
    }
    button.disabled = true;
    await begin(start, workflow, {}, false, (error) => { refusal.textContent = wordsOf(error); });
    button.disabled = false;
  } },
  h('span', { class: 'card-head' }, face(workflowTitle(workflow), hues), icon('arrow')),
  h('span', { class: 'card-title', dir: 'auto' }, workflowTitle(workflow)),
  workflow.description ? h('span', { class: 'card-words', dir: 'auto' }, workflow.description) : null,
  needs(workflow),
  unavailable(workflow));
  return button;
}

/** @param {Start} start @param {Workflow} workflow @param {boolean} mayStartNow */
function drawOne(start, workflow, mayStartNow) {
  const { actions, column, query } = start;
  const schema = workflow.params ?? {};
  const fields = fieldsOf(schema);
  const { value, given, misfits, unknown, complete } = fromLink(fields, query);
  const brought = Object.fromEntries(Object.entries(misfits).map(([name, { written }]) => [name, written]));
  const startsAtOnce = mayStartNow && complete;
  const draft = startsAtOnce ? null : readDraft(START, draftName(start));
  const form = schemaForm(schema, draft ?? { ...given, ...brought });
  const refusal = h('p', { class: 'problem', role: 'alert', tabindex: -1 });
  const say = (/** @type {string} */ words) => { refusal.textContent = words; };
  form.element.addEventListener('input', () => {
    say('');
    keepDraft(START, draftName(start), form.written());
  });
  /** @param {unknown} error */
  const onRefused = (error) => {
    const rest = error instanceof ApiError && error.code === 'invalid_params' ? form.refuse(error.message) : null;
    say(rest === null ? wordsOf(error) : rest && sentenceOf(rest));
    if (rest !== null) return;
    refusal.focus({ preventScroll: true });
    refusal.scrollIntoView({ block: 'nearest' });
  };
  const submit = h('button', { type: 'submit', class: 'primary-button' }, 'Start');
  const element = h('form', { class: 'start-form', novalidate: true, 'data-workflow-form': workflow.name },
    form.element, refusal, h('div', { class: 'form-actions' }, submit,
      isFramed ? null : h('button', { type: 'button', class: 'secondary-button', onclick: () => actions.onNavigate('/') }, 'Back')));
  element.addEventListener('submit', async (event) => {
    event.preventDefault();
    const read = form.read();
    if (!read.valid) return;
    say('');
    submit.disabled = true;
    await begin(start, workflow, read.value, false, onRefused);
    submit.disabled = false;
  });
  column.replaceChildren(h('h1', { dir: 'auto' }, workflowTitle(workflow)),
    workflow.description ? h('p', { class: 'lead', dir: 'auto' }, workflow.description) : '', unavailable(workflow) ?? '', element);
  // What stands inside a group, only its fields can tell.
  if (startsAtOnce && form.check().valid) {
    // A tab that is doubled or restored starts nothing again.
    history.replaceState({ ...history.state, began: true }, '');
    begin(start, workflow, value, true, onRefused);
  } else if (startsAtOnce) form.read();
  else {
    if (unknown.length > 0) unknownInWords(unknown, fields).then(say);
    if (!draft) for (const field of fields) if (misfits[field.name]) form.sayAt(field.name, misfitWords(field, misfits[field.name], form.written()[field.name]));
    if (!form.focusProblem()) form.focus();
  }
}

/** Which parameters of a link the workflow does not have. @param {string[]} unknown @param {readonly import('../form/schema.js').Field[]} fields */
async function unknownInWords(unknown, fields) {
  const module = await import('../form/near-names.js').catch(() => null);
  return `The link has parameters that this workflow does not: ${module?.meantNames(unknown, fields) ?? unknown.join(', ')}.`;
}

/** A form belongs to its address: a link that brings something has a draft of its own. @param {Start} start */
const draftName = ({ query }) => query.toString();

/** @param {Start} start @param {Workflow} workflow @param {unknown} params @param {boolean} replace @param {(error: unknown) => void} onRefused */
async function begin(start, workflow, params, replace, onRefused) {
  try {
    const run = await startRun(workflow.name, params, randomKey());
    keepDraft(START, draftName(start), null);
    if (!start.isClosed) start.actions.onStarted(run, replace);
  } catch (error) {
    onRefused(error);
  }
}

/** @param {boolean} hasWorkflows */
function greeting(hasWorkflows) {
  const lead = hasWorkflows ? 'Choose a workflow.' : 'There are no workflows yet. They appear here once a worker serves one.';
  return [h('h1', null, 'Start a conversation'), h('p', { class: 'lead' }, lead)];
}

function cardsToCome() {
  return h('ul', { class: 'cards', 'aria-hidden': 'true' }, ...Array.from({ length: 3 }, () => h('li', { class: 'card-to-come' })));
}

/** What a workflow asks for before it starts. @param {Workflow} workflow */
function needs(workflow) {
  const labels = fieldsOf(workflow.params ?? {}).map((field) => field.label);
  return labels.length > 0 ? h('span', { class: 'card-needs' }, `Asks for: ${labels.join(', ')}`) : null;
}

/**
 * What is wrong with what a link brings; it is named where its field could not take it.
 * @param {import('../form/schema.js').Field} field @param {import('../form/links.js').Misfit} misfit @param {unknown} shown
 */
function misfitWords(field, { written, problem }, shown) {
  return shown === written || field.format === 'password' ? problem : `The link brings “${written}” here, which does not fit. ${problem}`;
}

/** @param {Workflow} workflow */
function unavailable(workflow) {
  return workflow.available ? null : h('span', { class: 'card-note' }, icon('clock'),
    'No worker serves this now; once started, it waits for one.');
}

/** Whether what starts here would start in the name of a person: then a site around the page does not start it. */
async function somebodySignsIn() {
  const me = await whoIsHere().catch(() => null);
  return me === null || me.user !== null || me.login !== null;
}
