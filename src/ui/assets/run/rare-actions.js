// @ts-check
/** What is rarely done with a run: it is deleted, or its records are taken away. Loaded when it is done. */

import { ApiError, cancelRun, deleteRun, eventsUrl, refusalOf, request } from '../gateway/api.js';
import { exactParse, exactText } from '../gateway/exact-json.js';
import { announce, confirmed } from '../elements/dialogs.js';
import { forgetDrafts } from '../form/drafts.js';

/** @typedef {import('./run-bar.js').Bar} Bar */

/** So often, and so many times, a run that was stopped is asked to go: it first finishes what cannot be broken off. */
const DELETE_EVERY_MS = 400;
const DELETE_ATTEMPTS = 75;

/** @param {Bar} bar @param {() => void} draw */
export async function remove(bar, draw) {
  const { onDeleted, view } = bar.means;
  const yes = await confirmed(view().ending
    ? { title: 'Delete this conversation?', text: 'It is deleted for good, for everybody.', yes: 'Delete it', no: 'Keep it', danger: true }
    : { title: 'Stop and delete this conversation?', text: 'It is still going on. It is stopped, and then deleted for good, for everybody.', yes: 'Stop and delete', no: 'Keep it', danger: true });
  if (!yes) return;
  try {
    bar.isLateStopSaid = true;
    if (!view().ending) await stopForGood(bar, draw);
    if (!await isDeleted(bar.run)) {
      announce('This conversation has not stopped yet. Try again in a moment.');
      return;
    }
  } finally {
    bar.isStopping = false;
    draw();
  }
  forgetDrafts(bar.run);
  onDeleted();
  announce('Deleted.');
}

/** @param {Bar} bar @param {() => void} draw */
async function stopForGood(bar, draw) {
  bar.isStopping = true;
  draw();
  try {
    await cancelRun(bar.run);
  } catch (error) {
    if (!(error instanceof ApiError && error.code === 'run_ended')) throw error;
  }
}

/**
 * Deletes the run once it has ended; false if it does not end. What the server lists learns of an end a moment after its log.
 * @param {string} run
 */
async function isDeleted(run) {
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

/** The records exactly as the log has them, as JSON. @param {Bar} bar @param {string} title */
export async function records({ run, means }, title) {
  const response = await request(eventsUrl(run, { follow: false }), () => ({}));
  if (!response.ok) throw await refusalOf(response);
  const found = (await response.text()).split(/\r?\n\r?\n/)
    .filter((block) => /^event: ?record$/m.test(block))
    .map((block) => exactParse(block.split(/\r?\n/).filter((line) => line.startsWith('data:')).map((line) => line.slice(5)).join('\n')));
  return exactText({ run, title, workflow: means.view().workflow, records: found }, 2);
}
