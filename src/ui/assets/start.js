// @ts-check
/** Where a conversation begins: the workflows as cards, and the form for the parameters of one. */

import { isNotLetIn, listWorkflows, startRun, randomKey, wordsOf } from './api.js';
import { h } from './dom.js';
import { hueFor } from './agents.js';
import { face } from './faces.js';
import { isFramed } from './framed.js';
import { icon } from './icons.js';
import { schemaForm } from './schema-form.js';
import { fieldsOf, fromLink, hasFields } from './schema.js';
import { workflowTitle } from './words.js';
import { learnTitles } from './workflow-titles.js';

/** @typedef {import('./api.js').Workflow} Workflow */

const RETRY_MS = 4000;

/**
 * @typedef {object} StartActions
 * @property {(run: import('./api.js').Run, replace: boolean) => void} onStarted
 * @property {(path: string) => void} onNavigate
 */

/**
 * Draws the start into `place`. A link `/?workflow=name&key=value` opens that workflow, and starts it at once if the link
 * brings all that it needs; `isLink` tells such an arrival from a click on a card.
 * @param {HTMLElement} place @param {URLSearchParams} query @param {boolean} isLink @param {StartActions} actions
 */
export function openStart(place, query, isLink, actions) {
  let closed = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const wanted = query.get('workflow');
  const loading = h('p', { class: 'muted', role: 'status' }, 'Loading the workflows…');
  // As index.html has it: what the browser shows first is not taken away again.
  const column = h('div', { class: 'start' }, ...(wanted === null ? [...greeting(true), cardsToCome()] : []), loading);
  loading.classList.toggle('visually-hidden', wanted === null);
  place.replaceChildren(h('div', { class: 'scroller' }, column));

  const load = async () => {
    try {
      const workflows = await listWorkflows();
      if (closed) return;
      learnTitles(workflows);
      if (wanted === null) drawCards(workflows);
      else {
        const workflow = workflows.find((each) => each.name === wanted);
        if (workflow) drawOne(workflow);
        else drawCards(workflows, `There is no workflow named “${wanted}”. These are there:`);
      }
    } catch (error) {
      if (closed) return;
      column.replaceChildren(h('div', { class: 'notice is-problem', role: 'alert' }, icon('warning'),
        h('div', null, h('p', null, wordsOf(error)),
          h('button', { type: 'button', class: 'secondary-button', onclick: () => load() }, 'Try again'))));
      if (!isNotLetIn(error)) timer = setTimeout(load, RETRY_MS);
    }
  };

  /** @param {Workflow[]} workflows @param {string} [problem] */
  const drawCards = (workflows, problem) => {
    const refusal = h('p', { class: 'problem', role: 'alert' }, problem);
    /** @type {Record<string, number>} */
    const hues = {};
    for (const workflow of workflows) hues[workflowTitle(workflow)] = hueFor(workflowTitle(workflow), Object.values(hues));
    column.replaceChildren(
      ...greeting(workflows.length > 0),
      refusal,
      h('ul', { class: 'cards' }, ...workflows.map((workflow) => h('li', null, card(workflow, hues, refusal)))));
    if (workflows.length === 0) timer = setTimeout(load, RETRY_MS);
  };

  /** @param {Workflow} workflow @param {import('./faces.js').Hues} hues @param {HTMLElement} refusal */
  const card = (workflow, hues, refusal) => {
    const button = h('button', { type: 'button', class: 'card', 'data-workflow': workflow.name, onclick: async () => {
      if (hasFields(workflow.params)) {
        actions.onNavigate(`/?workflow=${encodeURIComponent(workflow.name)}`);
        return;
      }
      button.disabled = true;
      await start(workflow, {}, randomKey(), refusal, false);
      button.disabled = false;
    } },
    h('span', { class: 'card-head' }, face(workflowTitle(workflow), hues), icon('arrow')),
    h('span', { class: 'card-title' }, workflowTitle(workflow)),
    workflow.description ? h('span', { class: 'card-words' }, workflow.description) : null,
    needs(workflow),
    unavailable(workflow));
    return button;
  };

  /** @param {Workflow} workflow */
  const drawOne = (workflow) => {
    const schema = workflow.params ?? {};
    const { value, complete } = fromLink(fieldsOf(schema), query);
    const form = schemaForm(schema, value);
    const refusal = h('p', { class: 'problem', role: 'alert' });
    const key = keyOfThisVisit();
    const submit = h('button', { type: 'submit', class: 'primary-button' }, 'Start');
    const element = h('form', { class: 'start-form', novalidate: true, 'data-workflow-form': workflow.name },
      form.element, refusal, h('div', { class: 'form-actions' }, submit,
        isFramed ? null : h('button', { type: 'button', class: 'secondary-button', onclick: () => actions.onNavigate('/') }, 'Back')));
    element.addEventListener('submit', async (event) => {
      event.preventDefault();
      const read = form.read();
      if (!read.valid) return;
      submit.disabled = true;
      await start(workflow, read.value, randomKey(), refusal, false);
      submit.disabled = false;
    });
    column.replaceChildren(h('h1', null, workflowTitle(workflow)),
      workflow.description ? h('p', { class: 'lead' }, workflow.description) : '', unavailable(workflow) ?? '', element);
    if (isLink && complete) start(workflow, value, key, refusal, true);
    else form.focus();
  };

  /** @param {Workflow} workflow @param {unknown} params @param {string} key @param {HTMLElement} refusal @param {boolean} replace */
  const start = async (workflow, params, key, refusal, replace) => {
    refusal.textContent = '';
    try {
      const run = await startRun(workflow.name, params, key);
      if (!closed) actions.onStarted(run, replace);
    } catch (error) {
      refusal.textContent = wordsOf(error);
    }
  };

  load();
  return { close: () => { closed = true; clearTimeout(timer); } };
}

/** @param {boolean} hasWorkflows */
function greeting(hasWorkflows) {
  const lead = hasWorkflows ? 'Choose what you want to work on.' : 'There are no workflows yet. They appear here as soon as a worker serves one.';
  return [h('h1', null, 'What shall we do?'), h('p', { class: 'lead' }, lead)];
}

function cardsToCome() {
  return h('ul', { class: 'cards', 'aria-hidden': 'true' }, ...Array.from({ length: 3 }, () => h('li', { class: 'card-to-come' })));
}

/** What a workflow asks for before it starts. @param {Workflow} workflow */
function needs(workflow) {
  const labels = fieldsOf(workflow.params ?? {}).map((field) => field.label);
  return labels.length > 0 ? h('span', { class: 'card-needs' }, `Asks for: ${labels.join(', ')}`) : null;
}

/** @param {Workflow} workflow */
function unavailable(workflow) {
  return workflow.available ? null : h('span', { class: 'card-note' }, icon('clock'),
    'No worker serves this now. You can start it; it will wait for one.');
}

/** A reload of the same link, before the first start was answered, must not start a second run. */
function keyOfThisVisit() {
  const key = history.state?.startKey ?? randomKey();
  history.replaceState({ ...history.state, startKey: key }, '');
  return key;
}
