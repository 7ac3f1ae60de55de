// @ts-check
/**
 * A page's part of the one connection that all pages of a person in this browser share (events-worker.js has the other part). A
 * browser opens six connections to one server at most (HTTP/1.1): with one for each page the seventh would wait for ever. HTTP/2 has
 * no such limit, but needs TLS in front, which a closed network may not have.
 *
 * Pages of other persons, and of another sign-in of the same person, never share: each has a worker of its own name. Frames on other
 * sites do not either: the browser parts them.
 */

/**
 * @typedef {object} Asked
 * @property {string} path                       of the stream that all share
 * @property {string} person                     who asks
 * @property {Record<string, string>} headers    what proves it
 * @property {string | null} run                 null: the audit
 * @property {number} after                      the last record that is known
 * @property {AbortSignal} signal
 * @property {(name: string, text: string) => void} onEvent
 * @property {() => void} onHeard                at every sign of life
 */

/** How long the worker may take to begin; a browser that does not run it may say nothing. */
const BEGINS_WITHIN_MS = 4000;

let isPossible = typeof SharedWorker === 'function';
/** @type {MessagePort | null} */
let port = null;
let portName = '';
/** Whether the worker has said anything. */
let isHeard = false;
let opened = 0;
/** What the worker says, by the number of who asked. @type {Map<number, (said: any) => void>} */
const asking = new Map();

/** Whether the events of a run (null: of the audit) come through the shared connection. @param {string | null} run */
export const canShare = (run) => isPossible && (run === null || /^[0-9a-f]{32}$/.test(run));

/** From now on every page of this document's has a connection of its own. */
export function shareNoMore() {
  isPossible = false;
  letGo();
}

/** @param {Asked} asked @returns {{response: Promise<Response>, over: Promise<void>}} */
export function sharedEvents({ path, person, headers, run, after, signal, onEvent, onHeard }) {
  const number = opened += 1;
  /** @type {(response: Response) => void} */
  let answer = () => {};
  let end = () => {};
  /** @type {Promise<Response>} */
  const response = new Promise((resolve) => { answer = resolve; });
  /** @type {Promise<void>} */
  const over = new Promise((resolve) => { end = () => resolve(); });
  const worker = connect(person, headers);
  const isAlone = setTimeout(() => { if (worker === port && !isHeard) shareNoMore(); }, BEGINS_WITHIN_MS);
  const close = () => {
    if (!asking.delete(number)) return;
    clearTimeout(isAlone);
    worker?.postMessage({ close: number });
    // No answer any more: a request that waits for one learns that the line broke.
    answer(Response.error());
    end();
  };
  asking.set(number, (said) => {
    onHeard();
    if (said.event) onEvent(said.event, said.text);
    else if (said.status === 200) answer(new Response());
    else if (said.status) answer(new Response(said.text, { status: said.status }));
    else if (said.over) close();
  });
  signal.addEventListener('abort', close);
  if (!worker || signal.aborted) close();
  else worker.postMessage({ open: number, url: new URL(path, location.href).href, headers, run, after });
  return { response, over };
}

/** @param {string} person @param {Record<string, string>} headers @returns {MessagePort | null} */
function connect(person, headers) {
  // So much of the token is enough to tell sign-ins apart.
  const name = ['fastagency events', person, (headers['X-CSRF-Token'] ?? '').slice(0, 16), headers.Authorization ? 'operator' : ''].join(' ');
  if (port && portName === name) return port;
  letGo();
  try {
    const worker = new SharedWorker(new URL('./events-worker.js', import.meta.url), { type: 'module', name });
    worker.addEventListener('error', () => { if (port === worker.port) shareNoMore(); });
    port = worker.port;
    portName = name;
    isHeard = false;
    // A page that comes back as the browser kept it begins with a new port.
    window.addEventListener('pagehide', letGo);
  } catch {
    shareNoMore();
    return null;
  }
  const own = port;
  own.onmessage = ({ data }) => {
    isHeard = true;
    if (data.isAlive) {
      // The worker hears in this way that the page still is.
      own.postMessage({ here: true });
      for (const hear of asking.values()) hear({});
    } else asking.get(data.to)?.(data);
  };
  return own;
}

/** Whatever was asked is over; it may be asked again. */
function letGo() {
  const last = port;
  port = null;
  for (const hear of [...asking.values()]) hear({ over: true });
  last?.postMessage({ gone: true });
  last?.close();
}
