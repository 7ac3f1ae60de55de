// @ts-check
/**
 * What other people's pages can do with ours, in a real browser before the real program: links, frames, the way back after signing
 * out, and the operator's page without and with the admin link.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { becomes } from './becomes.mjs';
import { followOwnLink, launchBrowser, whatIsMissing } from './browser.mjs';
import { freePort, until } from './real-house.mjs';

const missing = await whatIsMissing() ?? (process.env.FASTAGENCY_BIN ? null : 'FASTAGENCY_BIN names no program');
if (missing) console.log(`skipped: links and frames, because ${missing}`);

const PAY = `version: 1
name: pay
params:
  type: object
  required: [to]
  properties: { to: { type: string } }
steps:
  - text_input: { prompt: "Pay {{ params.to }}?" }
  - return: paid
`;

/**
 * `fastagency all` with its own broker, and a site of another origin whose body a test sets.
 * @param {string} config more lines of the configuration @param {Record<string, string>} [people] passwords by name
 */
async function startAll(config, people = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'fastagency-links-'));
  const ports = { gateway: await freePort(), ui: await freePort(), site: await freePort() };
  const url = `http://127.0.0.1:${ports.ui}`;
  // Another name of the same machine is another site.
  const siteUrl = `http://localhost:${ports.site}`;
  const message = `version: 1
name: letter
steps:
  - message: "A letter: [look here](${url}/?workflow=pay&to=mallory), and [https://bank.example](https://evil.example/login)."
  - text_input: { prompt: "Read?" }
  - return: done
`;
  await mkdir(join(folder, 'workflows'));
  await writeFile(join(folder, 'workflows/pay.yaml'), PAY);
  await writeFile(join(folder, 'workflows/letter.yaml'), message);
  await writeFile(join(folder, 'fastagency.yaml'), `version: 1
name: links
gateway: { port: ${ports.gateway} }
ui: { port: ${ports.ui}, gateway_url: "http://127.0.0.1:${ports.gateway}", embed_in: ["${siteUrl}"] }
${config}`);
  const program = /** @type {string} */ (process.env.FASTAGENCY_BIN);
  for (const [name, password] of Object.entries(people)) {
    const adding = spawn(program, ['user', 'add', name], { cwd: folder, stdio: ['pipe', 'ignore', 'inherit'] });
    adding.stdin.end(`${password}\n`);
    await once(adding, 'exit');
  }
  let said = '';
  /** @type {import('node:child_process').ChildProcess} */
  let child;
  const start = async () => {
    said = '';
    child = spawn(program, ['all', '--mock-llm'], { cwd: folder, stdio: ['ignore', 'pipe', process.env.VERBOSE ? 'inherit' : 'ignore'] });
    child.stdout?.on('data', (piece) => { said += piece; });
    await until('the page', async () => said.includes('page: ') && said.endsWith('\n') && (await fetch(`${url}/readyz`)).ok);
  };
  const stop = async () => {
    child.kill('SIGTERM');
    await once(child, 'exit');
  };
  await start();
  const site = { url: siteUrl, body: '' };
  const server = createServer((_, response) => response.writeHead(200, { 'Content-Type': 'text/html' })
    .end(`<!doctype html><title>Elsewhere</title>${site.body}`));
  server.listen(ports.site, '127.0.0.1');
  await once(server, 'listening');
  return {
    url, site, start, stop,
    adminLink: () => /^admin: (\S+)$/m.exec(said)?.[1] ?? null,
    close: async () => {
      await stop();
      server.closeAllConnections();
      server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

describe('links and frames of others', { skip: missing ?? false, timeout: 240_000 }, () => {
  /** @type {Awaited<ReturnType<typeof startAll>>} */ let house;
  /** @type {import('playwright-core').Browser} */ let browser;
  before(async () => {
    house = await startAll('');
    browser = /** @type {import('playwright-core').Browser} */ (await launchBrowser());
    await until('the workflows', async () => (await (await fetch(`${house.url}/api/workflows`)).json()).workflows.filter((each) => each.available).length === 2);
  });
  after(async () => {
    await browser?.close();
    await house?.close();
  });
  /** What the pages of a test have asked the server to start. @type {string[]} */
  const starts = [];
  const newPage = async () => {
    const context = await browser.newContext({ reducedMotion: 'reduce', viewport: { width: 1280, height: 860 } });
    context.setDefaultTimeout(20_000);
    starts.length = 0;
    context.on('request', (request) => { if (request.method() === 'POST' && request.url().endsWith('/api/runs')) starts.push(request.url()); });
    return context.newPage();
  };
  /** How many runs of `pay` there are. */
  const paid = async () => (await (await fetch(`${house.url}/api/runs?limit=500`)).json()).runs.filter((run) => run.workflow === 'pay').length;
  const link = () => `${house.url}/?workflow=pay&to=mallory`;
  /** The form with what the link brings, and nothing begun. @param {import('playwright-core').Page} page @param {number} before */
  const showsForm = async (page, before) => {
    await page.getByRole('button', { name: 'Start', exact: true }).waitFor();
    await becomes(() => page.locator('[data-field=to] input').inputValue(), 'mallory');
    // What starts at once starts with the form; whatever was asked for before this is here has arrived, too.
    await page.evaluate(() => fetch('/api/runs').then((answer) => answer.text()));
    assert.deepEqual([starts, await paid()], [[], before]);
  };

  test('a link on a page of another origin opens the form, also after every kind of reload, and a click starts it', async () => {
    const page = await newPage();
    const before = await paid();
    house.site.body = `<a href="${link()}">A prize</a>`;
    await page.goto(house.site.url);
    await page.getByText('A prize').click();
    await showsForm(page, before);
    if (process.env.PICTURES) await page.screenshot({ path: join(process.env.PICTURES, 'start-by-link.png') });
    await page.reload();
    await showsForm(page, before);
    await Promise.all([page.waitForNavigation(), page.evaluate(() => location.reload())]);
    await showsForm(page, before);
    await Promise.all([page.waitForNavigation(), page.evaluate(() => history.go(0))]);
    await showsForm(page, before);
    await page.goBack();
    await page.goForward();
    await showsForm(page, before);
    await page.getByRole('button', { name: 'Start', exact: true }).click();
    await page.getByText('Pay mallory?').first().waitFor();
    await becomes(paid, before + 1);
    await page.context().close();
  });

  test('a window that another page has opened and sends on starts nothing, and is out of its hands', async () => {
    const page = await newPage();
    const before = await paid();
    house.site.body = `<button onclick="w = window.open('${link()}')">Open</button>`;
    await page.goto(house.site.url);
    const [opened] = await Promise.all([page.waitForEvent('popup'), page.getByText('Open').click()]);
    await showsForm(opened, before);
    await becomes(() => page.evaluate(() => /** @type {any} */ (window).w.closed), true);
    await page.evaluate((to) => { /** @type {any} */ (window).w.location = to; }, `${link()}2`);
    await showsForm(opened, before);
    await page.context().close();
  });

  test('a typed address opens the form; a link of the page itself starts once, and neither reload nor Back starts again', async () => {
    const page = await newPage();
    const before = await paid();
    await page.goto(link());
    await showsForm(page, before);
    await followOwnLink(page, link());
    await page.getByText('Pay mallory?').first().waitFor();
    await becomes(paid, before + 1);
    await page.reload();
    await page.getByText('Pay mallory?').first().waitFor();
    await page.goto(house.site.url);
    await page.goBack();
    await page.getByText('Pay mallory?').first().waitFor();
    await becomes(paid, before + 1);
    await page.context().close();
  });

  test('a link in a message starts nothing, however it is opened, and words that are another address do not hide the target', async () => {
    const page = await newPage();
    const before = await paid();
    await page.goto(house.url);
    await page.locator('[data-workflow=letter]').click();
    await page.getByText('Read?').first().waitFor();
    starts.length = 0;
    const hostile = page.getByRole('link', { name: 'look here' });
    for (const modifiers of /** @type {const} */ ([[], ['Control']])) {
      const [opened] = await Promise.all([page.context().waitForEvent('page'), hostile.click({ modifiers: [...modifiers] })]);
      await showsForm(opened, before);
      await opened.close();
    }
    await becomes(async () => (await page.locator('.log').innerText()).includes('https://bank.example (→ https://evil.example/login)'), true);
    await page.context().close();
  });

  test('a frame of a named site starts nothing unless the site says so; a site cannot frame the operator’s page', async () => {
    const page = await newPage();
    const before = await paid();
    house.site.body = `<iframe src="${link()}" width=900 height=700></iframe><iframe src="${house.url}/admin" id="admin"></iframe>`;
    await page.goto(house.site.url);
    await page.frameLocator('iframe >> nth=0').getByRole('button', { name: 'Start', exact: true }).waitFor();
    await until('the refused frame', async () => page.frames().some((frame) => frame.url().startsWith('chrome-error:')));
    assert.equal(await page.frameLocator('#admin').locator('#runs').count(), 0);
    assert.equal(await paid(), before);
    await page.context().close();
  });

  test('the operator’s page says what it needs, opens by the printed link, once, and until the program ends', async () => {
    const page = await newPage();
    await page.goto(`${house.url}/admin`);
    await page.getByRole('heading', { name: 'This page needs the admin link' }).waitFor();
    if (process.env.PICTURES) await page.screenshot({ path: join(process.env.PICTURES, 'admin-without-link.png') });
    const adminLink = house.adminLink();
    assert.ok(adminLink);
    await page.goto('about:blank');
    await page.goto(adminLink);
    await page.locator('#runs tr').first().waitFor();
    await page.locator('#live[data-live=yes]').waitFor();
    assert.equal(page.url(), `${house.url}/admin`, 'the code is out of the address');
    if (process.env.PICTURES) await page.screenshot({ path: join(process.env.PICTURES, 'admin-with-link.png') });
    await page.reload();
    await page.locator('#runs tr').first().waitFor();
    const [download] = await Promise.all([page.waitForEvent('download'), page.locator('#export-csv').click()]);
    assert.equal(download.suggestedFilename(), 'audit.csv');
    const thief = await newPage();
    await thief.goto(adminLink);
    await thief.getByRole('heading', { name: 'This link was used' }).waitFor();
    await thief.context().close();
    await house.stop();
    await house.start();
    await page.getByRole('heading', { name: 'This page needs the admin link' }).waitFor();
    await page.context().close();
  });
});

describe('a session and the pages of others', { skip: missing ?? false, timeout: 240_000 }, () => {
  /** @type {Awaited<ReturnType<typeof startAll>>} */ let house;
  /** @type {import('playwright-core').Browser} */ let browser;
  before(async () => {
    house = await startAll('auth: { mode: basic, file: access.yaml, admins: { users: [ann] } }\n', { ann: 'open sesame' });
    browser = /** @type {import('playwright-core').Browser} */ (await launchBrowser());
  });
  after(async () => {
    await browser?.close();
    await house?.close();
  });
  /** @param {import('playwright-core').Page} page */
  const signIn = async (page, user = 'ann', password = 'open sesame') => {
    await page.getByLabel('User').fill(user);
    await page.getByLabel('Password', { exact: true }).fill(password);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await becomes(() => page.locator('.account-name').innerText(), user);
  };
  const newPage = async () => {
    const context = await browser.newContext({ reducedMotion: 'reduce' });
    context.setDefaultTimeout(20_000);
    return context.newPage();
  };

  test('signing in does not start what the address says', async () => {
    const page = await newPage();
    house.site.body = `<a href="${house.url}/?workflow=pay&to=mallory">A prize</a>`;
    await page.goto(house.site.url);
    await page.getByText('A prize').click();
    await signIn(page);
    await page.getByRole('button', { name: 'Start', exact: true }).waitFor();
    const { runs } = await page.evaluate(() => fetch('/api/runs').then((answer) => answer.json()));
    assert.deepEqual(runs, []);
    await page.context().close();
  });

  test('nothing is done with a session alone; a page that was given another token fetches its own, once', async () => {
    const page = await newPage();
    await page.goto(house.url);
    await signIn(page);
    const bare = await page.evaluate(async () => {
      const answer = await fetch('/api/runs', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ workflow: 'letter' }) });
      return [answer.status, (await answer.json()).error.code];
    });
    assert.deepEqual(bare, [403, 'csrf_token']);
    /** @type {string[]} */
    const sent = [];
    await page.route('**/api/runs', (route) => {
      const headers = route.request().headers();
      if (route.request().method() !== 'POST') return route.fallback();
      sent.push(headers['x-csrf-token']);
      return sent.length === 1 ? route.continue({ headers: { ...headers, 'x-csrf-token': '0'.repeat(64) } }) : route.continue();
    });
    await page.locator('[data-workflow=letter]').click();
    await page.getByText('Read?').first().waitFor();
    assert.equal(sent.length, 2);
    await becomes(() => page.locator('.run').count(), 1);
    // Another login in this browser, in another tab: this one asks again, for the same person.
    const { cookies } = await page.context().storageState();
    await page.context().clearCookies();
    const other = await page.context().newPage();
    await other.goto(house.url);
    await signIn(other);
    assert.notDeepEqual((await page.context().storageState()).cookies[0].value, cookies[0].value);
    await page.locator('.composer textarea').fill('yes');
    await page.locator('form.asking').evaluate((form) => /** @type {HTMLFormElement} */ (form).requestSubmit());
    await page.locator('.ending').waitFor();
    await page.context().close();
  });

  test('after signing out, Back shows nothing of it', async () => {
    const page = await newPage();
    await page.goto(house.url);
    await signIn(page);
    await page.locator('[data-workflow=letter]').click();
    await page.getByText('A letter').first().waitFor();
    await page.goto(`${house.url}/admin`);
    await page.locator('#runs tr').first().waitFor();
    await page.goto(house.url);
    await page.locator('.run').first().waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: /^Sign in to/ }).waitFor();
    for (let steps = 0; steps < 4; steps += 1) {
      await page.goBack().catch(() => null);
      if (!page.url().startsWith(house.url)) break;
      await page.getByRole('heading', { name: /^Sign in to/ }).waitFor();
      const seen = await page.evaluate(() => document.body.innerText);
      assert.ok(!/A letter|Read\?|ann/.test(seen.replace(/Sign in[^\n]*/g, '')), seen);
    }
    await page.context().close();
  });

  test('in a frame of a named site nobody is asked for a password', async () => {
    const page = await newPage();
    house.site.body = `<iframe src="${house.url}/?workflow=letter" width=900 height=700></iframe>`;
    await page.goto(house.site.url);
    const frame = page.frameLocator('iframe');
    await frame.getByText('Signing in opens in a window of its own.').waitFor();
    assert.equal(await frame.locator('input[type=password]').count(), 0);
    const [opened] = await Promise.all([page.context().waitForEvent('page'), frame.getByRole('button', { name: 'Sign in', exact: true }).click()]);
    await opened.getByLabel('Password', { exact: true }).waitFor();
    await page.context().close();
  });
});
