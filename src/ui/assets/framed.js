// @ts-check
/**
 * The page inside another one (embed.js): only the conversation is shown, the way back leads to the workflow that was embedded,
 * and the site around it is told what happens, without a word of what was said.
 */

/** Whether another page shows this one. */
export const isFramed = window.parent !== window;

const first = new URLSearchParams(location.search);
const own = isFramed ? `?${new URLSearchParams([...first].filter(([name]) => name !== 'autostart'))}` : '';

/** Where a new conversation begins. */
export const homePath = own.length > 1 ? `/${own}` : '/';

/** A run's address; in a frame it keeps what the frame was opened with. @param {string} run */
export const runPath = (run) => `/runs/${encodeURIComponent(run)}${own.length > 1 ? own : ''}`;

/** Whether a link that brings all that a workflow needs starts it. In a frame every visit of a site would. @param {URLSearchParams} query */
export const mayStartAtOnce = (query) => !isFramed || query.has('autostart');

/**
 * Only the sites that the ui allows can be around this page, and the message holds nothing that they could not ask for.
 * @param {'started' | 'waiting' | 'running' | 'ended' | 'left'} event @param {string | null} [run] @param {string | null} [outcome]
 */
export function tellSite(event, run = null, outcome = null) {
  if (isFramed) window.parent.postMessage({ from: 'fastagency', event, run, outcome }, '*');
}
