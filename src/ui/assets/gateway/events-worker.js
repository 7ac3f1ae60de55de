// @ts-check
/**
 * A SharedWorker: one connection to the gateway for all pages of one person in this browser. It is made anew whenever a page wants
 * another run: the gateway keeps nothing of it, and goes on after the last record that each page has. Whether a page may see a run,
 * and what is done when it may not, is no business of this file: it passes on what the gateway says.
 */

import { eventParser } from './event-parser.js';

/**
 * @typedef {{port: MessagePort, unanswered: number, channels: Map<number, Channel>}} Page
 * @typedef {{to: number, run: string, after: number}} Channel   `run`: its id, or `audit`
 */

/** Pages open and close in bunches: a navigation does both. */
const TOGETHER_MS = 20;
/** Every page answers; one that has not four times is gone, or its browser has put it to sleep. */
const ALIVE_EVERY_MS = 15_000;
const MOST_UNANSWERED = 4;
/** The gateway sends a comment every 15 s; three missing ones mean a dead line. */
const SILENCE_MS = 45_000;
/** So many runs may go on coming that no page wants any more, before a connection is made without them. */
const MOST_UNWANTED = 8;
/** As many runs as the gateway follows in one stream. */
const MOST_FOLLOWED = 150;

/** @type {Set<Page>} */
const pages = new Set();
let current = new AbortController();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let soon;
/** What comes through the connection there is: runs, and `audit`. @type {Set<string>} */
let coming = new Set();
let url = '';
/** @type {Record<string, string>} */
let headers = {};

self.addEventListener('connect', (event) => {
  /** @type {Page} */
  const page = { port: /** @type {MessageEvent} */ (event).ports[0], unanswered: 0, channels: new Map() };
  pages.add(page);
  page.port.onmessage = ({ data }) => hear(page, data);
  page.port.postMessage({ isAlive: true });
});

setInterval(() => {
  for (const page of pages) {
    page.unanswered += 1;
    if (page.unanswered > MOST_UNANSWERED) drop(page);
    else page.port.postMessage({ isAlive: true });
  }
}, ALIVE_EVERY_MS);

/** @param {Page} page @param {any} said */
function hear(page, said) {
  page.unanswered = 0;
  if (said.open) {
    // A page that was away for long is one of ours again.
    pages.add(page);
    ({ url, headers } = said);
    page.channels.set(said.open, { to: said.open, run: said.run ?? 'audit', after: said.after });
    changeSoon();
  } else if (said.close) {
    page.channels.delete(said.close);
    changeIfUnwanted();
  } else if (said.gone) drop(page);
}

/** @param {Page} page */
function drop(page) {
  pages.delete(page);
  // One that only slept asks again.
  for (const to of page.channels.keys()) page.port.postMessage({ to, over: true });
  page.channels.clear();
  changeIfUnwanted();
}

/** What ends elsewhere is no reason to disturb the others. */
function changeIfUnwanted() {
  const wanted = new Set(open().map(([, { run }]) => run));
  if (wanted.size === 0 || [...coming].filter((run) => !wanted.has(run)).length > MOST_UNWANTED) changeSoon();
}

function changeSoon() {
  clearTimeout(soon);
  soon = setTimeout(() => {
    current.abort();
    current = new AbortController();
    /** What is wanted, and after which record at least. @type {Map<string, number>} */
    const wanted = new Map();
    for (const [, { run, after }] of open()) wanted.set(run, Math.min(after, wanted.get(run) ?? after));
    coming = new Set(wanted.keys());
    const served = new Set(open().map(([, channel]) => channel));
    const audit = wanted.delete('audit');
    const runs = [...wanted];
    for (let from = 0; from < runs.length || (audit && from === 0); from += MOST_FOLLOWED) {
      read(new Map(runs.slice(from, from + MOST_FOLLOWED)), audit && from === 0, served, current.signal);
    }
  }, TOGETHER_MS);
}

/** @returns {[Page, Channel][]} every page's channels */
const open = () => [...pages].flatMap((page) => [...page.channels.values()].map((channel) => /** @type {[Page, Channel]} */ ([page, channel])));

/**
 * Reads one connection, for the channels that were open when it was made: one that was opened since may lack what came before.
 * @param {Map<string, number>} runs @param {boolean} audit @param {Set<Channel>} served @param {AbortSignal} signal
 */
async function read(runs, audit, served, signal) {
  const mine = () => open().filter(([, channel]) => served.has(channel) && (runs.has(channel.run) || (audit && channel.run === 'audit')));
  const line = new AbortController();
  const giveUp = () => line.abort();
  signal.addEventListener('abort', giveUp);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let silence;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(giveUp, SILENCE_MS);
  };
  let refusal = { status: 0, text: '' };
  try {
    heard();
    const query = new URLSearchParams();
    if (runs.size) query.set('runs', [...runs].map(([run, after]) => (after > 0 ? `${run}:${after}` : run)).join(','));
    if (audit) query.set('audit', 'true');
    const response = await fetch(`${url}?${query}`, { cache: 'no-store', headers: { Accept: 'text/event-stream', ...headers }, signal: line.signal });
    if (response.ok && response.body) {
      for (const [page, { to }] of mine()) page.port.postMessage({ to, status: 200 });
      const feed = eventParser((name, text, id) => pass(mine(), name, text, id));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await reader.read(); !piece.done && !signal.aborted; piece = await reader.read()) {
        heard();
        feed(piece.value);
      }
    } else refusal = { status: response.status, text: await response.text() };
  } catch {
    // A broken line; the pages come back by themselves.
  }
  clearTimeout(silence);
  giveUp();
  if (signal.aborted) return;
  for (const [page, { to }] of mine()) {
    page.channels.delete(to);
    if (refusal.status) page.port.postMessage({ to, ...refusal });
    page.port.postMessage({ to, over: true });
  }
}

/** @param {[Page, Channel][]} channels @param {string} event @param {string} text @param {string} id whose it is, and where it stands in its log */
function pass(channels, event, text, id) {
  const [run, seq] = id.split(':');
  for (const [page, channel] of channels) {
    // Without an id it is for all: the page's tier says goodbye.
    if (run && run !== channel.run) continue;
    if (seq && Number(seq) <= channel.after) continue;
    if (seq) channel.after = Number(seq);
    page.port.postMessage({ to: channel.to, event, text });
    // After these two the gateway says no more of it.
    if (event === 'goodbye' || event === 'error') page.channels.delete(channel.to);
  }
}
