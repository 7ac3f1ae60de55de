// @ts-check
/**
 * How fast and how heavy the page is, measured before the real binary (`fastagency all`) in a real browser, on this machine alone:
 *
 *   FASTAGENCY_BIN=target/release/fastagency npm run figures
 *
 * First paint and weight: each visit in a browser context of its own, so with an empty cache; the median of them, from the start of
 * the navigation. Beside it what the same browser needs for a line of text from the same server. Then a run of
 * 2 000 messages and one of 200 kB: keys and wheel come from the browser's own input, frames and long tasks (50 ms and more,
 * as the browser counts them) from its performance API; beside it the same wheel over the same words on a page that is nothing
 * but paragraphs.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launchBrowser } from './browser.mjs';
import { freePort, until } from './real-house.mjs';

const VISITS = 15;
const MESSAGES = 2000;
const LONG_TEXT = 200_000;
const KEYS = 100;
const TURNS_OF_THE_WHEEL = 200;

const program = process.env.FASTAGENCY_BIN ?? new URL('../../target/release/fastagency', import.meta.url).pathname;
const browser = await launchBrowser();
if (!browser) process.exit(1);
const folder = await mkdtemp(join(tmpdir(), 'fastagency-figures-'));
const ports = { gateway: await freePort(), ui: await freePort() };
await mkdir(join(folder, 'workflows'));
const paragraph = 'A **sentence** with `code`, a [link](https://example.org/) and words enough to fill more than one line of the column.\\n\\n';
await writeFile(join(folder, 'workflows', 'long.yaml'), `version: 1
name: long
title: A long conversation
steps:
  - foreach:
      in: "{{ range(${MESSAGES}) }}"
      do:
        - message: { body: "Message {{ loop.index }}: ${paragraph}", sender: "{{ 'Ann' if loop.index % 2 else 'Ben' }}", recipient: "{{ 'Ben' if loop.index % 2 else 'Ann' }}" }
  - message: { body: "${paragraph.repeat(Math.ceil(LONG_TEXT / (paragraph.length - 2)))}", sender: Ann, recipient: Ben }
  - text_input: { prompt: And now? }
  - return: done
`);
await writeFile(join(folder, 'fastagency.yaml'), `version: 1
name: figures
workflows: workflows
llms: { default: { provider: openai, model: none } }
gateway: { port: ${ports.gateway} }
ui: { port: ${ports.ui} }
auth: { mode: none }
`);
const all = spawn(program, ['all', '--mock-llm'], { cwd: folder, stdio: ['ignore', 'ignore', process.env.VERBOSE ? 'inherit' : 'ignore'] });
const url = `http://127.0.0.1:${ports.ui}`;
try {
  await until('the page', () => fetch(`${url}/readyz`).then((response) => response.ok, () => false));
  await until('the workflow', async () => (await (await fetch(`${url}/api/workflows`)).json()).workflows.some((each) => each.available));
  await visits();
  await longRun();
} finally {
  await browser.close();
  all.kill('SIGKILL');
  await once(all, 'exit');
  await rm(folder, { recursive: true, force: true });
}

async function visits() {
  /** @type {{first: number, content: number, ready: number, again: number, least: number}[]} */
  const seen = [];
  let bytes = 0;
  let weight = { start: 0, all: 0 };
  for (let visit = 0; visit < VISITS; visit += 1) {
    const context = await /** @type {any} */ (browser).newContext({ viewport: { width: 1280, height: 860 } });
    const page = await context.newPage();
    const session = await context.newCDPSession(page);
    await session.send('Network.enable');
    bytes = 0;
    session.on('Network.loadingFinished', (event) => { bytes += event.encodedDataLength; });
    const cold = await paint(page, () => page.goto(url, { waitUntil: 'commit' }));
    await page.locator('[data-workflow]').first().waitFor();
    const ready = await page.evaluate(() => performance.now());
    const start = bytes;
    await page.waitForLoadState('networkidle');
    weight = { start, all: bytes };
    const again = (await paint(page, () => page.reload({ waitUntil: 'commit' }))).content;
    await context.close();
    const other = await /** @type {any} */ (browser).newContext({ viewport: { width: 1280, height: 860 } });
    const line = await other.newPage();
    seen.push({ ...cold, ready, again, least: (await paint(line, () => line.goto(`${url}/healthz`, { waitUntil: 'commit' }))).content });
    await other.close();
  }
  console.log(`first visit, empty cache, ${VISITS} times:`);
  console.log(`  first paint             ${spread(seen.map((each) => each.first))} ms`);
  console.log(`  first contentful paint  ${spread(seen.map((each) => each.content))} ms`);
  console.log(`  the workflows are there ${spread(seen.map((each) => each.ready))} ms`);
  console.log(`  over the wire           ${(weight.start / 1000).toFixed(1)} kB until then, ${(weight.all / 1000).toFixed(1)} kB with what conversations need; headers and data included`);
  console.log(`a line of text from the same server: first contentful paint ${spread(seen.map((each) => each.least))} ms`);
  console.log(`second visit: first contentful paint ${spread(seen.map((each) => each.again))} ms`);
}

/**
 * When a visit is painted, in its own time. Until then nothing is asked of the page: to look into it, the driver runs a script of
 * its own there, which takes longer than the page's.
 * @param {import('playwright-core').Page} page @param {() => Promise<unknown>} visit
 */
async function paint(page, visit) {
  const session = await page.context().newCDPSession(page);
  await session.send('Page.enable');
  await session.send('Page.setLifecycleEventsEnabled', { enabled: true });
  const painted = new Promise((resolve) => {
    session.on('Page.lifecycleEvent', ({ name }) => { if (name === 'firstContentfulPaint') resolve(undefined); });
  });
  await visit();
  await painted;
  await session.detach();
  return page.evaluate(() => ({
    first: performance.getEntriesByName('first-paint')[0].startTime, content: performance.getEntriesByName('first-contentful-paint')[0].startTime,
  }));
}

async function longRun() {
  const response = await fetch(`${url}/api/runs`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ workflow: 'long', params: {} }) });
  const { id } = await response.json();
  await until('the question', async () => (await (await fetch(`${url}/api/runs/${id}`)).json()).state === 'waiting');
  const page = await /** @type {any} */ (browser).newPage({ viewport: { width: 1280, height: 860 } });
  page.setDefaultTimeout(60_000);
  await page.addInitScript(() => {
    const all = /** @type {any} */ (window);
    all.longTasks = [];
    new PerformanceObserver((list) => { for (const entry of list.getEntries()) all.longTasks.push(entry.duration); }).observe({ type: 'longtask', buffered: true });
    all.watchFrames = () => {
      all.frames = [];
      all.longTasks = [];
      let last = performance.now();
      const frame = () => {
        const now = performance.now();
        all.frames.push(now - last);
        last = now;
        all.frameRequest = requestAnimationFrame(frame);
      };
      all.frameRequest = requestAnimationFrame(frame);
    };
  });
  await page.goto(`${url}/runs/${id}`);
  await page.locator('.composer textarea').waitFor();
  const opened = await page.evaluate(() => ({ took: performance.now(), tasks: /** @type {any} */ (window).longTasks }));
  console.log(`a run of ${MESSAGES.toLocaleString('en')} messages and one of ${LONG_TEXT / 1000} kB:`);
  console.log(`  its end is in sight after ${opened.took.toFixed(0)} ms (longest task ${Math.max(0, ...opened.tasks).toFixed(0)} ms)`);
  await page.locator('.composer textarea').click();
  await measured(page, `  typing ${KEYS} keys  `, async () => { for (let key = 0; key < KEYS; key += 1) await page.keyboard.press('x'); });
  await page.mouse.move(700, 300);
  await measured(page, '  scrolling at once', () => scroll(page));
  await page.reload();
  // While nobody does anything, the messages get their sizes.
  await page.waitForFunction(() => document.querySelector('.log > .settled') && !document.querySelector('.log > .stretch:not(.settled)'));
  await page.mouse.move(700, 300);
  await measured(page, '  scrolling later  ', () => scroll(page));
  await page.evaluate(() => {
    const words = /** @type {string[]} */ ([...document.querySelectorAll('.log p')].map((each) => each.textContent));
    document.body.replaceChildren(document.createElement('div'));
    Object.assign(/** @type {HTMLElement} */ (document.body.firstElementChild).style, { height: '100vh', overflowY: 'auto' });
    document.body.firstElementChild?.append(...words.map((text) => Object.assign(document.createElement('p'), { textContent: text })));
    document.body.firstElementChild?.scrollTo(0, 1e9);
  });
  await measured(page, '  paragraphs alone ', () => scroll(page));
}

/** @param {import('playwright-core').Page} page */
async function scroll(page) {
  for (let turn = 0; turn < TURNS_OF_THE_WHEEL; turn += 1) await page.mouse.wheel(0, -400);
}

/** @param {import('playwright-core').Page} page @param {string} what @param {() => Promise<void>} act */
async function measured(page, what, act) {
  await page.evaluate(() => /** @type {any} */ (window).watchFrames());
  await act();
  const { frames, longTasks } = await page.evaluate(() => {
    const all = /** @type {any} */ (window);
    cancelAnimationFrame(all.frameRequest);
    return { frames: /** @type {number[]} */ (all.frames), longTasks: /** @type {number[]} */ (all.longTasks) };
  });
  frames.sort((one, other) => one - other);
  const at = (share) => frames[Math.min(frames.length - 1, Math.floor(frames.length * share))].toFixed(1);
  console.log(`${what} frames: median ${at(0.5)} ms, 95 % ${at(0.95)} ms, worst ${at(1)} ms; long tasks: ${longTasks.length}, longest ${Math.max(0, ...longTasks).toFixed(0)} ms`);
}

/** @param {number[]} values */
function spread(values) {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2;
  return `${middle.toFixed(0)} (${sorted[0].toFixed(0)} to ${sorted[sorted.length - 1].toFixed(0)})`;
}
