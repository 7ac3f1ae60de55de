// @ts-check
/** One run as a page of its own: its bar above, its conversation below. Loaded when a run is opened; the start needs none of it. */

import { getRun } from '../gateway/api.js';
import { openConversation } from './conversation.js';
import { tellSite } from '../page/framed.js';
import { runBar } from './run-bar.js';
import { openQuestions, phaseOf } from './state.js';

/**
 * @typedef {object} RunListeners
 * @property {(connection: import('../gateway/event-stream.js').Connection) => void} onConnection
 * @property {() => void} onDrawn      something of it is otherwise now, its title perhaps
 * @property {(standing: import('../list/runs-list.js').Standing) => void} onStanding   how it stands, as its log has it
 * @property {() => void} onChanged    the list of the conversations tells the same story a moment later
 * @property {() => void} onMissing    there is nothing to show
 * @property {() => void} onHome
 * @property {(run: import('../gateway/api.js').Run) => void} onStarted   another run was started from here
 * @property {(path: string) => void} onNavigate
 *
 * @typedef {ReturnType<typeof openRun>} RunPage
 */

/** @param {{main: HTMLElement, bar: HTMLElement}} places @param {string} run @param {RunListeners} listeners */
export function openRun({ main, bar }, run, listeners) {
  let phase = '';
  /** @type {ReturnType<typeof runBar> | null} null once there is no such run */
  let ownBar = null;
  const conversation = openConversation(main, run, {
    onConnection: listeners.onConnection,
    onNew: listeners.onHome,
    onMissing: () => {
      ownBar = null;
      listeners.onMissing();
    },
    onStarted: listeners.onStarted,
    onView: (view) => {
      ownBar?.draw();
      const questions = view.items.filter((item) => item.kind === 'question');
      const now = [view.claimed, view.ending !== null, questions.length, questions.filter((item) => item.open).length].join();
      if (now !== phase && view.caughtUp) {
        listeners.onChanged();
        const stage = phaseOf(view);
        const open = openQuestions(view);
        const asked = open.find(({ content }) => !content.waits_for) ?? open[0];
        listeners.onStanding({ id: run, state: stage, outcome: view.ending?.outcome ?? null,
          question: asked ? { id: asked.key, prompt: asked.content.in_short?.prompt ?? asked.content.prompt ?? '', waits_for: asked.content.waits_for } : null });
        if (stage !== 'queued') tellSite(stage, run, view.ending?.outcome ?? null);
      }
      phase = now;
      listeners.onDrawn();
    },
  });
  ownBar = runBar(bar, run, {
    view: conversation.view,
    column: conversation.column,
    onLateStop: conversation.sayLateStop,
    onChanged: listeners.onChanged,
    onDeleted: () => {
      listeners.onChanged();
      // It may have taken a while, and the reader may read something else by now.
      if (ownBar) listeners.onHome();
    },
    onStarted: listeners.onStarted,
    onNavigate: listeners.onNavigate,
  });
  /** @param {string} title as the server has it */
  const setTitle = (title) => {
    ownBar?.setTitle(title);
    listeners.onDrawn();
  };
  // Only for the title, and what may be done; if it fails, the events tell why.
  getRun(run).then((known) => {
    ownBar?.setRights(known.may);
    if (known.title) setTitle(known.title);
  }, () => {});

  return {
    setTitle,
    /** @returns {string | null} */
    title: () => ownBar?.title() ?? null,
    /** What stands elsewhere than in its log may have changed: the titles of the workflows. */
    redraw: () => { ownBar?.draw(); },
    stop: () => { ownBar?.stop(); },
    closeMenu: () => ownBar?.closeMenu() ?? false,
    focusQuestion: conversation.focusQuestion,
    choose: conversation.choose,
    close: () => {
      ownBar = null;
      conversation.close();
    },
  };
}
