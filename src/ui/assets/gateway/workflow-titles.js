// @ts-check
/** The titles of workflows, learned from the gateway's list: a run's log has only the name. */

import { listWorkflows } from './api.js';
import { workflowTitle } from '../text/words.js';

/** @type {Map<string, string>} */
const titles = new Map();
/** @type {Set<() => void>} */
const listeners = new Set();

/**
 * The title, or the name made readable while no title is known; empty where it cannot be read which workflow it is.
 * @param {string | null} name
 */
export function titleOf(name) {
  if (name === null) return '';
  return titles.get(name) ?? workflowTitle({ name });
}

/** @param {import('./api.js').Workflow[]} workflows */
export function learnTitles(workflows) {
  for (const workflow of workflows) if (workflow.title) titles.set(workflow.name, workflow.title);
  for (const place of document.querySelectorAll('[data-title-of]')) {
    place.textContent = titleOf(place.getAttribute('data-title-of') ?? '');
  }
  for (const listener of listeners) listener();
}

/** Calls `listener` whenever titles become known. @param {() => void} listener */
export function onTitles(listener) {
  listeners.add(listener);
}

/** For a page that opens on a run and has not seen the list. Without it the names do. */
export function fetchTitles() {
  listWorkflows().then(learnTitles, () => {});
}
