// @ts-check
/**
 * The page below a path of its server (`/agents/`), before the real tiers and behind a real nginx that removes the path or leaves it:
 * everything that people and programs do there, and what the page says where it cannot load its files.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { becomes } from './becomes.mjs';
import { answerOpenQuestion, launchBrowser, whatIsMissing } from './browser.mjs';
import { freePort, startRealHouse, until, whatRealNeeds } from './real-house.mjs';
import { BROWSERS } from './web-drivers.mjs';

const NGINX = process.env.NGINX ?? '/usr/sbin/nginx';
const missing = await whatIsMissing() ?? whatRealNeeds() ?? (existsSync(NGINX) ? null : `${NGINX} is not there (apt-get install nginx-light)`);
if (missing) console.log(`skipped: the page below a path, because ${missing}`);

const WORKFLOWS = {
  journey: `version: 1
name: journey
agents: { Writer: { system_message: You write. } }
tools:
  pay_back:
    description: Pays money back
    params: { type: object, required: [amount], properties: { amount: { type: number, title: Amount } } }
    approve: always
    do: [ { return: "{{ args.amount }}" } ]
steps:
  - { id: text, agent: { agent: Writer, message: Write. } }
  - { id: name, text_input: { prompt: Who are you? } }
  - { id: paid, call: { tool: pay_back, args: { amount: 49.5 } } }
  - message: "Paid {{ steps.paid }} to {{ steps.name }}."
  - return: done
`,
  asks: `version: 1
name: asks
steps:
  - { id: color, text_input: { prompt: Which colour? } }
  - return: "{{ steps.color }}"
`,
};

/** @typedef {Awaited<ReturnType<typeof startRealHouse>>} House */
/** @typedef {import('playwright-core').Page} Page */

describe('the page below a path', { skip: missing ?? false, timeout: 120_000 }, () => {
  /** @type {House} nobody signs in, and the proxy removes the path: the page knows nothing of it */ let open;
  /** @type {House} people sign in, the proxy leaves the path, and `ui.public_url` has it */ let closed;
  /** @type {Awaited<ReturnType<typeof startNginx>>} */ let nginx;
  /** @type {import('playwright-core').Browser} */ let browser;
  /** @type {import('node:http').Server} */ let site;
  let sitePort = 0;
  let siteBody = '';
  const ports = { open: 0, closed: 0, removed: 0, lost: 0 };

  before(async () => {
    for (const name of /** @type {(keyof typeof ports)[]} */ (Object.keys(ports))) ports[name] = await freePort();
    site = createServer((_, response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end(`<!doctype html><title>A shop</title>${siteBody}`));
    site.listen(0, '127.0.0.1');
    await once(site, 'listening');
    sitePort = /** @type {import('node:net').AddressInfo} */ (site.address()).port;
    [open, closed, browser] = await Promise.all([
      startRealHouse(WORKFLOWS, '  embed_in: ["http://localhost:*"]\n'),
      startRealHouse(WORKFLOWS, `  public_url: http://127.0.0.1:${ports.closed}/agents\n  embed_in: ["http://127.0.0.1:*"]\n`, { ann: 'open sesame' },
        'auth: { mode: basic, file: access.yaml, admins: { users: [ann] } }\n'),
      /** @type {Promise<import('playwright-core').Browser>} */ (launchBrowser()),
    ]);
    nginx = await startNginx(`
      server { listen 127.0.0.1:${ports.open}; location /agents/ { proxy_pass ${open.url}/; } }
      server { listen 127.0.0.1:${ports.closed}; location /agents { proxy_pass ${closed.url}; } }
      server { listen 127.0.0.1:${ports.removed}; location /agents/ { proxy_pass ${closed.url}/; } }
      server {
        listen 127.0.0.1:${ports.lost};
        location = /agents { proxy_pass ${open.url}/; }
        location = /other/ { proxy_pass ${open.url}/; }
        location /other/assets/ { default_type text/html; return 200 "<p>Another server</p>"; }
        location = /part/admin { proxy_pass ${open.url}/admin; }
        location = /part/runs/1 { proxy_pass ${open.url}/runs/1; }
      }`);
    await open.knows('journey');
    // Every address of nginx is up when one is: it binds them all before it serves.
    await until('nginx', () => fetch(`http://127.0.0.1:${ports.open}/agents/readyz`).then((answer) => answer.ok, () => false));
  });
  after(async () => {
    site?.closeAllConnections();
    site?.close();
    await Promise.all([browser?.close(), nginx?.close(), open?.close(), closed?.close()]);
  });

  /** A page of its own browser; what it complains of, and what it asks for outside `home`, fails the test that looks. @param {string} home */
  async function visitor(home) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', permissions: ['clipboard-read', 'clipboard-write'] });
    context.setDefaultTimeout(20_000);
    const page = await context.newPage();
    /** @type {string[]} */
    const complaints = [];
    context.on('request', (request) => {
      const { protocol, href, port } = new URL(request.url());
      if (protocol === 'http:' && Number(port) !== sitePort && href !== home && !href.startsWith(`${home}/`)) complaints.push(`outside the path: ${href}`);
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (message) => {
      // Before somebody signs in, and the inbox where nobody does.
      const isRefusal = /40[13]/.test(message.text()) && /[/]api[/](runs|questions|workflows)[?]?/.test(message.location().url);
      if (message.type() === 'error' && !isRefusal) complaints.push(`${message.text()} ${message.location().url}`);
    });
    return { context, page, complaints };
  }

  /** @param {Page} page */
  async function signIn(page) {
    await page.getByLabel('User').fill('ann');
    await page.getByLabel('Password', { exact: true }).fill('open sesame');
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.locator('.account-name', { hasText: 'ann' }).waitFor();
  }

  /** What a person does from the start of a run to its end. @param {Page} page @param {House} house @param {string} home */
  async function journey(page, house, home) {
    await page.locator('[data-workflow=journey]').click();
    await page.waitForURL((url) => url.href.startsWith(`${home}/runs/`));
    const run = page.url();
    await becomes(() => house.model.isAsked(), true);
    house.model.write('Half of ');
    await page.locator('.writing', { hasText: 'Half of' }).waitFor();
    house.model.write('a text.');
    house.model.finish();
    await page.locator('.is-text .prose', { hasText: 'Half of a text.' }).waitFor();
    await page.reload();
    assert.equal(page.url(), run);
    await answerOpenQuestion(page, 'Ann');
    await page.locator('.is-open [data-decision=once]').waitFor();
    await becomes(() => page.locator('#runs a.run').first().getAttribute('href'), new URL(run).pathname);
    // The way to the start and back, and what waits.
    await page.locator('#app-title').click();
    await page.locator('[data-workflow=asks]').waitFor();
    assert.equal(page.url(), `${home}/`);
    if (house === closed) {
      await page.locator('.inbox-link').click();
      assert.equal(page.url(), `${home}/inbox`);
      await page.reload();
      await page.locator('.inbox a.run', { hasText: 'pay_back' }).click();
    } else {
      // Where nobody signs in there is no inbox, but its address.
      await page.goto(`${home}/inbox`);
      await page.getByRole('heading', { name: 'Inbox' }).waitFor();
      await page.locator('#runs a.run').first().click();
    }
    await page.waitForURL(run);
    await page.locator('#new').click();
    await page.locator('[data-workflow=asks]').waitFor();
    await page.goBack();
    await page.locator('.is-open [data-decision=once]').click();
    await page.locator('.ending').waitFor();
    await becomes(() => page.locator('.ending').getAttribute('data-outcome'), 'completed');
    await page.locator('.is-text .prose', { hasText: 'Paid 49.5 to Ann.' }).waitFor();
    await page.locator('.menu summary').click();
    await page.getByRole('button', { name: 'Copy the link' }).click();
    await becomes(() => page.evaluate(() => navigator.clipboard.readText()), run);
    await page.locator('#theme').click();
    const theme = (await page.context().cookies()).find((cookie) => cookie.name === 'fastagency_theme');
    assert.equal(theme?.path, '/agents/', 'another page of this host has its own theme');
    await page.reload();
    await becomes(() => page.locator('html').getAttribute('data-theme'), 'light');
  }

  /** The operator's page. @param {Page} page @param {string} home @param {string} address */
  async function administer(page, home, address) {
    await page.goto(address);
    await page.locator('#live[data-live=yes]').waitFor();
    await page.locator('#runs [data-run]').first().waitFor();
    await page.locator('#filter-q').fill('nothing of this name');
    await becomes(() => page.locator('#export-csv').evaluate((link) => /** @type {HTMLAnchorElement} */ (link).href), new RegExp(`^${home}/api/audit/export\\?`));
    const [download] = await Promise.all([page.waitForEvent('download'), page.locator('#export-csv').click()]);
    assert.equal(await download.failure(), null);
    await page.getByRole('link', { name: 'Conversations' }).click();
    await page.locator('[data-workflow=asks]').waitFor();
    assert.equal(page.url(), `${home}/`);
  }

  /** The page on a site of another origin. @param {Page} page @param {string} home @param {string} siteName */
  async function embed(page, home, siteName) {
    siteBody = `<script src="${home}/assets/embed.js"></script><fastagency-chat workflow="asks"></fastagency-chat>`;
    const events = page.waitForEvent('console', (message) => message.text().startsWith('ended'));
    await page.addInitScript(() => addEventListener('run-ended', (event) => console.log(`ended ${/** @type {CustomEvent} */ (event).detail.outcome}`)));
    await page.goto(`http://${siteName}:${sitePort}/`);
    const frame = page.frameLocator('iframe');
    await frame.getByRole('button', { name: 'Start', exact: true }).click();
    await frame.locator('.is-open').waitFor();
    await page.reload();
    await frame.locator('.composer textarea').fill('blue');
    await frame.locator('.is-open button[type=submit]').click();
    assert.equal((await events).text(), 'ended completed');
    assert.deepEqual(await page.evaluate(() => Object.keys(sessionStorage)), [`fastagency-chat ${home} asks`]);
  }

  /** What a program does. @param {string} home @param {Record<string, string>} headers */
  async function call(home, headers) {
    const get = async (/** @type {string} */ path) => {
      const answer = await fetch(home + path, { headers });
      assert.equal(answer.status, 200, path);
      return answer;
    };
    assert.deepEqual((await (await get('/fastagency/discovery')).json()).map((/** @type {{name: string}} */ each) => each.name).sort(), ['asks', 'journey']);
    assert.match(await (await get('/docs')).text(), /href="openapi\.json"/);
    await get('/openapi.json');
    const started = await fetch(`${home}/api/runs`, { method: 'POST', headers: { ...headers, 'Content-Type': 'application/json' }, body: JSON.stringify({ workflow: 'asks' }) });
    const { id } = await started.json();
    const socket = new WebSocket(`${home.replace('http', 'ws')}/fastagency/ws`, { headers });
    /** @type {any[]} */
    const heard = [];
    socket.on('message', (data) => heard.push(JSON.parse(String(data))));
    await once(socket, 'open');
    socket.send(JSON.stringify({ name: 'asks', workflow_uuid: crypto.randomUUID().replaceAll('-', ''), params: {} }));
    await becomes(() => heard.at(-1)?.type, 'text_input');
    socket.send('red');
    await becomes(() => heard.at(-1)?.type, 'workflow_completed');
    socket.close();
    // Events come while the run is under way: nothing on the way keeps them.
    const reader = /** @type {ReadableStream<Uint8Array>} */ ((await get(`/api/runs/${id}/events`)).body).pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ''; !text.includes('Which colour?');) text += (await reader.read()).value;
    await reader.cancel();
  }

  test('a proxy that removes the path: a page that knows nothing of it works', async () => {
    const home = `http://127.0.0.1:${ports.open}/agents`;
    const { context, page, complaints } = await visitor(home);
    await page.goto(`${home}/`);
    await journey(page, open, home);
    await call(home, {});
    await administer(page, home, `${home}/admin${new URL(await open.adminLink()).hash}`);
    assert.deepEqual(await page.evaluate(() => Object.keys(localStorage).filter((key) => key.includes('admin'))), ['fastagency.admin-token/agents']);
    await embed(page, home, 'localhost');
    assert.deepEqual(complaints, []);
    await context.close();
  });

  test('a proxy that leaves the path: with ui.public_url everything works, signing in and out as well', async () => {
    const home = `http://127.0.0.1:${ports.closed}/agents`;
    const { context, page, complaints } = await visitor(home);
    await page.goto(home);
    assert.equal(page.url(), `${home}/`, 'the slash is added');
    await signIn(page);
    const [session] = await context.cookies();
    assert.match(`${session.name} ${session.path}`, /^fastagency-[0-9a-f]{8} \/agents\/$/);
    await page.locator('[data-workflow=journey]').waitFor();
    await journey(page, closed, home);
    await call(home, { Authorization: `Basic ${btoa('ann:open sesame')}` });
    await administer(page, home, `${home}/admin`);
    await embed(page, home, '127.0.0.1');
    await page.goto(`${home}/inbox`);
    await page.locator('#sign-out').click();
    await page.locator('dialog h1', { hasText: 'Sign in to' }).waitFor();
    assert.equal(page.url(), `${home}/`);
    assert.deepEqual((await context.cookies()).map((cookie) => cookie.name), ['fastagency_theme']);
    assert.deepEqual(complaints, []);
    await context.close();
  });

  test('the same ui.public_url behind a proxy that removes the path', async () => {
    const home = `http://127.0.0.1:${ports.removed}/agents`;
    const { context, page, complaints } = await visitor(home);
    await page.goto(`${home}/`);
    await signIn(page);
    await page.locator('[data-workflow=asks]').click();
    await page.waitForURL((url) => url.href.startsWith(`${home}/runs/`));
    await page.reload();
    await answerOpenQuestion(page, 'green');
    await page.locator('.ending').waitFor();
    await page.locator('#sign-out').click();
    await page.locator('dialog h1', { hasText: 'Sign in to' }).waitFor();
    assert.deepEqual(complaints, []);
    await context.close();
  });

  /** Where the files of the page do not come, and which one it misses. */
  const LOST = /** @type {const} */ ({ '/agents': '/assets/', '/other/': '/other/assets/', '/part/admin': '/part/assets/', '/part/runs/1': '/part/assets/' });
  const sentence = (/** @type {string} */ files) => new RegExp(
    `^This page cannot start: its file http://127\\.0\\.0\\.1:${ports.lost}${files}[0-9a-f]{16}/(main|admin)\\.js did not load\\. .* ends with a slash, like http://127\\.0\\.0\\.1:${ports.lost}/agents/\\. .*ui\\.public_url`);

  test('a page whose files do not come says so, in a frame as well', async () => {
    const page = await browser.newPage();
    for (const [path, files] of Object.entries(LOST)) {
      await page.goto(`http://127.0.0.1:${ports.lost}${path}`);
      await becomes(() => page.getByRole('alert').innerText(), sentence(files), path);
      assert.equal(await page.locator('body > *').count(), 1, 'nothing else is there');
    }
    siteBody = `<iframe src="http://127.0.0.1:${ports.lost}/agents"></iframe>`;
    await page.goto(`http://localhost:${sitePort}/`);
    await becomes(() => page.frameLocator('iframe').getByRole('alert').innerText(), sentence('/assets/'));
    await page.close();
  });

  const firefox = BROWSERS['Firefox ESR'];
  const away = firefox.missing();
  if (away) console.log(`skipped: a page whose files do not come in Firefox, because ${away}`);
  test('a page whose files do not come says so in Firefox', { skip: away ?? false }, async () => {
    const person = await firefox.launch();
    try {
      for (const [path, files] of Object.entries(LOST)) {
        await person.goTo(`http://127.0.0.1:${ports.lost}${path}`);
        await person.sees('[role=alert]');
        assert.match(String(await person.text('[role=alert]')), sentence(files), path);
      }
    } finally {
      await person.close();
    }
  });
});

/** A real nginx with these servers. @param {string} servers */
async function startNginx(servers) {
  const folder = await mkdtemp(join(tmpdir(), 'fastagency-nginx-'));
  const places = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${join(folder, name)};`).join(' ');
  await writeFile(join(folder, 'nginx.conf'), `daemon off; master_process off; pid ${join(folder, 'nginx.pid')}; error_log stderr;
    events {}
    http {
      access_log off; ${places}
      map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_buffering off;
      ${servers}
    }`);
  const child = spawn(NGINX, ['-p', folder, '-c', join(folder, 'nginx.conf')], { stdio: ['ignore', 'ignore', process.env.VERBOSE ? 'inherit' : 'ignore'] });
  return {
    close: async () => {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
