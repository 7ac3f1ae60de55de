// @ts-check
/**
 * Follows the events of one run and never gives up: server-sent events read from fetch, resumed after the last record that
 * was applied. The browser's own EventSource is not used: it stops for ever after one 502.
 *
 * All pages of one person share one connection (shared-events.js); where that cannot be, a page has one of its own.
 */

import { eventsUrl, mayBeTriedAgain, refusalOf, request, ApiError } from './api.js';
import { exactParse } from './exact-json.js';

/**
 * @typedef {'connecting' | 'connected' | 'reconnecting' | 'offline' | 'paused' | 'closed'} Connection
 *
 * @typedef {object} Following
 * @property {() => void} close
 *
 * @typedef {object} FollowOptions
 * @property {() => number} after                           the last `seq` applied; asked at every connection
 * @property {(name: string, data: any) => void} onEvent
 * @property {(connection: Connection) => void} onConnection
 * @property {(error: ApiError) => void} onRefusal          the run cannot be followed at all (no such run, not allowed)
 */

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 15_000;
/** The gateway sends a comment every 15 s; three missing ones mean a dead line that nobody told us about (a sleeping laptop). */
const SILENCE_MS = 45_000;
/** A browser allows six connections to one HTTP/1.1 server: tabs that nobody looks at give theirs back, if it is their own. */
const HIDDEN_MS = 60_000;

/** What shares the connection; loaded when the first run is followed, as the start does not need it. @type {typeof import('./shared-events.js') | null} */
let shared = null;
/** What stands in for it where it could not be loaded. @type {Pick<typeof import('./shared-events.js'), 'canShare' | 'shareNoMore' | 'sharedEvents'>} */
const ALONE = { canShare: () => false, shareNoMore: () => {}, sharedEvents: () => ({ response: Promise.reject(), over: Promise.resolve() }) };

/** @param {string} run @param {FollowOptions} options @returns {Following} */
export function followRun(run, options) {
  let closed = false;
  let paused = false;
  let failures = 0;
  /** @type {AbortController | null} */
  let connection = null;
  /** @type {(() => void) | null} */
  let wake = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let hiddenTimer;

  const onVisibility = () => {
    clearTimeout(hiddenTimer);
    if (document.visibilityState === 'hidden') {
      hiddenTimer = setTimeout(() => { if (!shared?.canShare(run)) { paused = true; connection?.abort(); } }, HIDDEN_MS);
    } else if (paused) {
      paused = false;
      wake?.();
    } else {
      wake?.();
    }
  };
  const onOnline = () => { failures = 0; wake?.(); };
  const onOffline = () => { connection?.abort(); };
  document.addEventListener('visibilitychange', onVisibility);
  window.addEventListener('online', onOnline);
  window.addEventListener('offline', onOffline);

  const close = () => {
    closed = true;
    clearTimeout(hiddenTimer);
    document.removeEventListener('visibilitychange', onVisibility);
    window.removeEventListener('online', onOnline);
    window.removeEventListener('offline', onOffline);
    connection?.abort();
    wake?.();
  };

  /** Waits until the time is over or something says that now is better. @param {number | null} milliseconds */
  const rest = (milliseconds) => new Promise((resolve) => {
    const timer = milliseconds === null ? undefined : setTimeout(resolve, milliseconds);
    wake = () => { clearTimeout(timer); resolve(undefined); };
  });

  const follow = async () => {
    options.onConnection('connecting');
    while (!closed) {
      if (paused) {
        options.onConnection('paused');
        await rest(null);
        continue;
      }
      connection = new AbortController();
      const outcome = await readOnce(run, connection, options, () => { failures = 0; });
      if (closed) break;
      if (outcome.kind === 'ended') break;
      if (outcome.kind === 'refused') {
        options.onRefusal(outcome.error);
        break;
      }
      if (paused) continue;
      options.onConnection(navigator.onLine ? 'reconnecting' : 'offline');
      // A gateway that says goodbye is replaced by another one: no reason to wait, unless the next one fails too.
      if (outcome.kind === 'goodbye' && failures === 0) {
        failures = 1;
        continue;
      }
      await rest(navigator.onLine ? waitBefore(failures) : LONGEST_WAIT_MS);
      failures += 1;
    }
    if (!closed) close();
    options.onConnection('closed');
  };
  follow();
  return { close };
}

/** Longer after each failure, and never the same: a thousand pages must not come back in the same instant. @param {number} failures */
export function waitBefore(failures) {
  const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures);
  return longest / 4 + Math.random() * longest * 0.75;
}

/**
 * @typedef {{kind: 'ended'} | {kind: 'goodbye'} | {kind: 'broken'} | {kind: 'refused', error: ApiError}} Outcome
 * @param {string} run @param {AbortController} connection @param {FollowOptions} options @param {() => void} onAlive
 * @returns {Promise<Outcome>}
 */
async function readOnce(run, connection, options, onAlive) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let silence;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => connection.abort(), SILENCE_MS);
  };
  /** @type {Outcome} */
  let outcome = { kind: 'broken' };
  /** @param {string} name @param {string} text */
  const take = (name, text) => {
    if (connection.signal.aborted) return;
    // One that goes again at once is no sign of life.
    if (name !== 'goodbye') onAlive();
    const data = eventData(text);
    if (data === undefined) return;
    if (name === 'goodbye') outcome = { kind: 'goodbye' };
    else if (name === 'error') outcome = { kind: 'refused', error: ApiError.from(data, 0) };
    else options.onEvent(name, data);
    if (name === 'record' && data.kind === 'ended') outcome = { kind: 'ended' };
    if (outcome.kind !== 'broken') connection.abort();
  };
  try {
    heard();
    const { response, over } = await openEvents(run, options.after, connection.signal, take, heard);
    if (!response.ok) {
      const error = await refusalOf(response);
      return mayBeTriedAgain(error) || error.status >= 500 || error.status === 429 ? outcome : { kind: 'refused', error };
    }
    options.onConnection('connected');
    await over();
  } catch {
    // A broken line; the loop above is there for it.
  } finally {
    clearTimeout(silence);
    connection.abort();
  }
  return outcome;
}

/**
 * Opens the events of a run (null: of the audit), and reads them once `over` is called, which resolves when there are no more.
 * @param {string | null} run @param {() => number} after @param {AbortSignal} signal
 * @param {(name: string, text: string) => void} onEvent @param {() => void} onHeard at every sign of life
 * @returns {Promise<{response: Response, over: () => Promise<void>}>}
 */
export async function openEvents(run, after, signal, onEvent, onHeard) {
  shared ??= await import('./shared-events.js').catch(() => null);
  const { canShare, shareNoMore, sharedEvents } = shared ?? ALONE;
  if (canShare(run)) {
    /** @type {Promise<void>} */
    let ended = Promise.resolve();
    const response = await request('/api/events', () => ({ signal }), (path, person, headers) => {
      const events = sharedEvents({ path, person, headers, run, after: after(), signal, onEvent, onHeard });
      ended = events.over;
      return events.response;
    });
    if (response.status !== 404) return { response, over: () => ended };
    // A gateway from before an upgrade has no such path; no page of it can be shared.
    shareNoMore();
  }
  const path = run === null ? '/api/audit/events' : eventsUrl(run, { after: after() });
  const response = await request(path, () => ({ headers: { Accept: 'text/event-stream' }, signal }));
  const over = async () => {
    const { eventParser } = await import('./event-parser.js');
    const feed = eventParser(onEvent);
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader?.read(); piece && !piece.done && !signal.aborted; piece = await reader?.read()) {
      onHeard();
      feed(piece.value);
    }
  };
  return { response, over };
}

/** An event that cannot be read is a fault to be seen, but the ones after it are worth having. @param {string} text @returns {any} */
function eventData(text) {
  try {
    return exactParse(text);
  } catch (error) {
    console.error('an event of the run could not be read', error);
    return undefined;
  }
}
