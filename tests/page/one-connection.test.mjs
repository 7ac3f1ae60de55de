// @ts-check
/** Any number of pages and frames of one person in a browser: one connection for all of them, and never one with somebody else. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { createServer, request as ask } from 'node:http';
import { once } from 'node:events';
import { becomes } from './becomes.mjs';
import { PARTED_BY_SITE, launchBrowser, whatIsMissing } from './browser.mjs';
import { startRealHouse, until, whatRealNeeds } from './real-house.mjs';

const WORKFLOWS = {
  talk: `version: 1
name: talk
title: A talk
steps:
  - { id: first, text_input: { prompt: "Who is there?" } }
  - message: "{{ steps.first }} it is."
  - { id: second, text_input: { prompt: "What now?" } }
  - message: "So we {{ steps.second }}."
`,
};
const PAGES = 8;
const missing = whatRealNeeds() ?? await whatIsMissing();
if (missing) console.log(`skipped: one connection for all pages, because ${missing}`);

/** A proxy before the page's tier, which knows what is open. @param {string} target */
async function countingProxy(target) {
  /** @type {Set<import('node:http').IncomingMessage>} */
  const open = new Set();
  /** @type {import('node:http').IncomingMessage[]} */
  const all = [];
  const server = createServer((incoming, outgoing) => {
    const path = incoming.url ?? '';
    const isEvents = /^\/api\/(events|audit\/events|runs\/[^/]+\/events)/.test(path);
    if (isEvents) {
      open.add(incoming);
      all.push(incoming);
    }
    const onward = ask(target + path, { method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
      outgoing.flushHeaders();
      answer.pipe(outgoing);
      answer.on('error', () => outgoing.destroy());
    });
    onward.on('error', () => outgoing.destroy());
    incoming.pipe(onward);
    outgoing.on('close', () => {
      open.delete(incoming);
      onward.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${port}`, port,
    all,
    /** The paths of the streams of events that are open, without what follows. */
    open: () => [...open].map((each) => (each.url ?? '').replace(/\?.*/, '')).sort(),
    /** What the open streams are asked for. */
    wanted: () => [...open].map((each) => new URL(each.url ?? '', target).searchParams),
    close: () => { server.closeAllConnections(); server.close(); },
  };
}

describe('one connection for all pages', { skip: missing ?? false, timeout: 180_000 }, () => {
  /** @type {import('playwright-core').Browser} */
  let browser;
  before(async () => { browser = /** @type {any} */ (await launchBrowser(PARTED_BY_SITE)); });
  afterEach(async () => { for (const context of browser.contexts()) await context.close(); });
  after(() => browser?.close());

  describe('where nobody signs in', () => {
    /** @type {Awaited<ReturnType<typeof startRealHouse>>} */
    let house;
    /** @type {Awaited<ReturnType<typeof countingProxy>>} */
    let proxy;
    /** @type {import('node:http').Server} */
    let site;
    before(async () => {
      site = createServer((_, response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end(`<!doctype html><title>A shop</title>
<script src="${proxy.url}/assets/embed.js"></script>${'<fastagency-chat workflow="talk" style="height: 20rem" autostart></fastagency-chat>'.repeat(3)}`));
      site.listen(0, '127.0.0.1');
      await once(site, 'listening');
      house = await startRealHouse(WORKFLOWS, `  embed_in: ["http://localhost:${/** @type {import('node:net').AddressInfo} */ (site.address()).port}"]\n`);
      proxy = await countingProxy(house.url);
      await house.knows('talk');
    });
    after(async () => {
      site?.closeAllConnections();
      site?.close();
      proxy?.close();
      await house?.close();
    });

    /** @returns {Promise<string>} */
    const start = async () => {
      const response = await fetch(`${house.url}/api/runs`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ workflow: 'talk' }) });
      return (await response.json()).id;
    };
    /** @param {import('playwright-core').Page | import('playwright-core').FrameLocator} page @param {string} text */
    const answer = async (page, text) => {
      await page.locator('.is-open textarea').fill(text);
      await page.locator('.is-open .send-button').click();
    };
    /** @param {import('playwright-core').Page | import('playwright-core').FrameLocator} page */
    const texts = (page) => page.locator('.log .is-text .prose').allInnerTexts();

    test('more pages than a browser has connections, each with a conversation of its own, and one that two look at', async () => {
      const context = await browser.newContext();
      const runs = await Promise.all(Array.from({ length: PAGES }, start));
      const pages = [];
      for (const run of [...runs, runs[0]]) {
        const page = await context.newPage();
        page.setDefaultTimeout(15_000);
        await page.goto(`${proxy.url}/runs/${run}`);
        await page.locator('.is-open textarea').waitFor();
        pages.push(page);
      }
      await becomes(() => proxy.open(), ['/api/events']);
      assert.deepEqual(new Set(proxy.wanted()[0].get('runs')?.split(',').map((each) => each.split(':')[0])), new Set(runs));
      assert.ok(proxy.all.every((each) => each.url?.startsWith('/api/events?')), 'no page had a stream of its own');

      const asked = proxy.all.length;
      await Promise.all(pages.slice(0, PAGES).map((page, number) => answer(page, `Number ${number}`)));
      for (const [number, page] of pages.slice(0, PAGES).entries()) await becomes(() => texts(page), [`Number ${number} it is.`]);
      await becomes(() => texts(pages[PAGES]), ['Number 0 it is.'], 'the other page of the first run');
      await Promise.all(pages.slice(0, PAGES).map((page) => answer(page, 'go')));
      for (const [number, page] of pages.slice(0, PAGES).entries()) {
        await page.locator('.ending').waitFor();
        assert.deepEqual(await texts(page), [`Number ${number} it is.`, 'So we go.']);
      }
      await becomes(() => texts(pages[PAGES]), ['Number 0 it is.', 'So we go.']);
      assert.ok(proxy.all.length <= asked + 2, `what ends in one page disturbs no other: ${proxy.all.length - asked} new connections`);
      await becomes(() => proxy.open(), [], 'nothing is followed any more');
    });

    test('a gateway that dies, and comes back: every page goes on, nothing is missed or doubled', async () => {
      const context = await browser.newContext();
      const runs = await Promise.all(Array.from({ length: 4 }, start));
      const pages = await Promise.all(runs.map(async (run) => {
        const page = await context.newPage();
        page.setDefaultTimeout(30_000);
        await page.goto(`${proxy.url}/runs/${run}`);
        await answer(page, 'A friend');
        await page.locator('.is-open', { hasText: 'What now?' }).waitFor();
        return page;
      }));
      await house.killGateway();
      await pages[0].getByText(/The connection is lost/).waitFor();
      await house.startGateway();
      for (const page of pages) {
        await answer(page, 'eat');
        await page.locator('.ending').waitFor();
        assert.deepEqual(await texts(page), ['A friend it is.', 'So we eat.']);
      }
    });

    test('pages that close give back what they followed; one that opens another conversation is followed there', async () => {
      const context = await browser.newContext();
      const [kept, left, next] = await Promise.all([start(), start(), start()]);
      const [one, other] = [await context.newPage(), await context.newPage()];
      await one.goto(`${proxy.url}/runs/${kept}`);
      await other.goto(`${proxy.url}/runs/${left}`);
      await other.locator('.is-open textarea').waitFor();
      await other.evaluate((path) => { history.pushState(null, '', path); dispatchEvent(new PopStateEvent('popstate')); }, `/runs/${next}`);
      await becomes(() => proxy.wanted().map((each) => each.get('runs')?.includes(next)), [true]);
      await answer(other, 'Number 3');
      await becomes(() => texts(other), ['Number 3 it is.']);
      await other.close();
      await one.close();
      await becomes(() => proxy.open(), []);
    });

    test('three frames on another site, and the pages of the operator', async () => {
      const context = await browser.newContext();
      const shop = await context.newPage();
      shop.setDefaultTimeout(15_000);
      await shop.goto(`http://localhost:${/** @type {import('node:net').AddressInfo} */ (site.address()).port}`);
      for (let number = 0; number < 3; number += 1) await shop.frameLocator('iframe').nth(number).locator('.is-open textarea').waitFor();
      await becomes(() => proxy.open(), ['/api/events']);
      await answer(shop.frameLocator('iframe').nth(2), 'Number 2');
      await becomes(() => texts(shop.frameLocator('iframe').nth(2)), ['Number 2 it is.']);
      await becomes(() => texts(shop.frameLocator('iframe').nth(0)), []);

      const link = new URL(await house.adminLink());
      const desks = [];
      for (let number = 0; number < 7; number += 1) {
        const desk = await context.newPage();
        desk.setDefaultTimeout(15_000);
        await desk.goto(`${proxy.url}/admin${number ? '' : link.hash}`);
        await desk.locator('#live[data-live=yes]').waitFor();
        desks.push(desk);
      }
      // The operator proves who he is by a token that the frames of visitors do not have.
      await becomes(() => proxy.open(), ['/api/events', '/api/events']);
      await becomes(() => proxy.wanted().map((each) => each.get('audit')).sort(), [null, 'true']);
      const run = await start();
      await desks[6].locator(`#runs [data-run="${run}"]`).waitFor();
    });

    test('a browser without shared workers has a connection for each page', async () => {
      const context = await browser.newContext();
      await context.addInitScript(() => { Object.assign(globalThis, { SharedWorker: undefined }); });
      const pages = await Promise.all([start(), start()].map(async (run) => {
        const page = await context.newPage();
        await page.goto(`${proxy.url}/runs/${await run}`);
        await answer(page, 'A friend');
        await becomes(() => texts(page), ['A friend it is.']);
        return page;
      }));
      assert.equal(pages.length, 2);
      assert.equal(proxy.open().filter((path) => /^\/api\/runs\/[0-9a-f]+\/events$/.test(path)).length, 2);
    });
  });

  describe('where people sign in', () => {
    /** @type {Awaited<ReturnType<typeof startRealHouse>>} */
    let house;
    /** @type {Awaited<ReturnType<typeof countingProxy>>} */
    let proxy;
    before(async () => {
      house = await startRealHouse(WORKFLOWS, '', { 'ann/operators': 'open sesame', 'ben/teachers': 'simsim open' },
        'auth: { mode: basic, file: access.yaml, admins: { groups: [operators] } }\n');
      proxy = await countingProxy(house.url);
    });
    after(async () => {
      proxy?.close();
      await house?.close();
    });

    /** @param {import('playwright-core').Page} page @param {string} name @param {string} password */
    async function signIn(page, name, password) {
      await page.getByLabel('User').fill(name);
      await page.getByLabel('Password', { exact: true }).fill(password);
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    }

    test('an operator has one connection for conversations and for the page of operation', async () => {
      const context = await browser.newContext();
      const page = await context.newPage();
      await page.goto(proxy.url);
      await signIn(page, 'ann', 'open sesame');
      await page.locator('[data-workflow=talk]').click();
      await page.locator('.is-open textarea').waitFor();
      const desk = await context.newPage();
      await desk.goto(`${proxy.url}/admin`);
      await desk.locator('#live[data-live=yes]').waitFor();
      await becomes(() => proxy.open(), ['/api/events']);
      await becomes(() => proxy.wanted().map((each) => [each.get('audit'), each.get('runs')?.length]), [['true', page.url().split('/').pop()?.length]].map(([audit, length]) => [audit, proxy.wanted()[0]?.get('runs')?.length ?? length]));
    });

    test('who follows another person at the same browser never shares a connection, nor reads by what the other began', async () => {
      const context = await browser.newContext();
      const page = await context.newPage();
      page.setDefaultTimeout(15_000);
      await page.goto(proxy.url);
      await signIn(page, 'ann', 'open sesame');
      await page.locator('[data-workflow=talk]').click();
      await page.locator('.is-open textarea').waitFor();
      const anns = page.url();
      const annsToken = proxy.all.at(-1)?.headers['x-csrf-token'];
      assert.match(String(annsToken), /^[0-9a-f]{64}$/);
      // A page of hers that heard of nothing: another tab's news do not reach it.
      const forgotten = await context.newPage();
      await forgotten.addInitScript(() => { Object.assign(globalThis, { BroadcastChannel: class { addEventListener() {} postMessage() {} } }); });
      await forgotten.goto(anns);
      await forgotten.locator('.is-open textarea').waitFor();

      await page.goto(proxy.url);
      await page.getByRole('button', { name: 'Sign out' }).click();
      await signIn(page, 'ben', 'simsim open');
      await page.locator('.account-name', { hasText: 'ben' }).waitFor();
      const before = proxy.all.length;
      await page.locator('[data-workflow=talk]').click();
      await page.locator('.is-open textarea').waitFor();
      const bens = proxy.all.slice(before).find((each) => each.headers['x-csrf-token'] !== annsToken);
      assert.match(String(bens?.headers['x-csrf-token']), /^[0-9a-f]{64}$/, 'ben reads with his own proof');
      const annsRun = new URL(anns).pathname.split('/').pop() ?? '';
      assert.ok(!bens?.url?.includes(annsRun), 'and only what is his');

      // With her proof and his cookie nothing is read.
      const cookie = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ');
      const withHers = await fetch(`${proxy.url}/api/events?runs=${annsRun}`, { headers: { cookie, 'x-csrf-token': String(annsToken) } });
      assert.equal(withHers.status, 403);
      assert.equal((await withHers.json()).error.code, 'csrf_token');
    });
  });
});
