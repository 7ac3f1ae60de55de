// @ts-check
/**
 * The page inside another one (embed.js): only the conversation is shown, and the way back leads to the embedded workflow. The page
 * sends its events to the site around it, without any content of the conversation.
 */

/** Whether another page shows this one. */
export const isFramed = globalThis.parent !== globalThis.self;

const first = new URLSearchParams(globalThis.location?.search);
const own = isFramed ? `?${new URLSearchParams([...first].filter(([name]) => name !== 'autostart'))}` : '';

/** Where a new conversation begins. */
export const homePath = own.length > 1 ? `/${own}` : '/';

/** A run's address; in a frame it keeps what the frame was opened with. @param {string} run */
export const runPath = (run) => `/runs/${encodeURIComponent(run)}${own.length > 1 ? own : ''}`;

/** What an own address has in a text that somebody else wrote: it opens the form, however it is opened. */
export const FORM_ONLY = '#form';

/**
 * Whether the address may start by itself what it says. Anybody can write a link, so the server decides: it has marked the page if the
 * browser says that a page of this very origin led here (src/ui/page.rs). Coming back and loading again lead nowhere new. In a frame
 * a site that may show the page says so (`autostart`); where somebody is signed in, start.js asks them.
 * @param {URLSearchParams} query
 */
export function mayStartAtOnce(query) {
  const [visit] = performance.getEntriesByType('navigation');
  if ((visit instanceof PerformanceNavigationTiming && visit.type !== 'navigate') || history.state?.began) return false;
  if (isFramed) return query.has('autostart');
  return document.documentElement.dataset.link === 'own' && location.hash !== FORM_ONLY && !Reflect.get(document, 'prerendering');
}

/**
 * Only the sites that the ui allows can be around this page, and the message holds nothing that they could not ask for.
 * @param {'started' | 'waiting' | 'running' | 'ended' | 'left'} event @param {string | null} [run] @param {string | null} [outcome]
 */
export function tellSite(event, run = null, outcome = null) {
  if (isFramed) window.parent.postMessage({ from: 'fastagency', event, run, outcome }, '*');
}
