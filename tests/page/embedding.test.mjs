// @ts-check
/** The page as a team's own: its brand, and <fastagency-chat> on a site of another origin. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { becomes } from './becomes.mjs';
import { answerOpenQuestion } from './browser.mjs';
import { describePage, until } from './house.mjs';
import { createMockGateway } from './mock-gateway.mjs';

await describePage('the page on other sites', (onNew) => {
  /** @type {import('./house.mjs').House} */
  let house;
  /** @type {import('node:http').Server} */
  let server;
  let site = '';
  let siteBody = '';
  onNew((made) => { house = made; });
  before(() => new Promise((resolve) => {
    // A site with a policy of its own that allows what embedding needs, and nothing inline.
    server = createServer((request, response) => {
      if (request.url === '/site.js') return response.writeHead(200, { 'Content-Type': 'text/javascript' }).end(
        `window.heard = []; for (const name of ['run-started', 'run-waiting', 'run-running', 'run-ended']) addEventListener(name, (event) => heard.push([name, event.detail.run, event.detail.outcome]));`);
      return response.writeHead(200, { 'Content-Type': 'text/html', 'Content-Security-Policy': "default-src 'self'; script-src 'self' http://127.0.0.1:*; frame-src http://127.0.0.1:*" })
        .end(`<!doctype html><title>A shop</title><script src="/site.js"></script>${siteBody}`);
    });
    server.listen(0, '127.0.0.1', () => {
      // Another name of the same machine is another origin, and another site.
      site = `http://localhost:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
      resolve(undefined);
    });
  }));
  after(() => { server.closeAllConnections(); server.close(); });

  /** @param {string} element @param {string[]} embedIn @param {(gateway: import('./house.mjs').Gateway) => Promise<void>} act */
  async function onSite(element, embedIn, act) {
    const gateway = createMockGateway({ embedIn });
    await gateway.listen();
    siteBody = `<script src="${gateway.url}/assets/embed.js"></script>${element}`;
    try {
      await house.page.goto(site);
      await act(gateway);
    } finally {
      await gateway.close();
    }
  }
  const heard = () => house.page.evaluate(() => /** @type {any} */ (window).heard);

  test('a conversation on a site of another origin, from its start to its end, and again', async () => {
    const { page } = house;
    await onSite('<fastagency-chat workflow="simple_learning" theme="dark" label="Ask us"></fastagency-chat>', [site], async (gateway) => {
      const frame = page.frameLocator('iframe[title="Ask us"]');
      await frame.getByRole('heading', { name: 'Simple learning' }).waitFor();
      assert.equal(gateway.runs.size, 0, 'a visit alone starts nothing');
      await becomes(() => frame.locator('.sidebar').isVisible(), false);
      await becomes(() => frame.locator('html').getAttribute('data-theme'), 'dark');
      await frame.getByRole('button', { name: 'Start', exact: true }).click();
      await frame.getByRole('button', { name: 'triangles' }).click();
      await frame.locator('.choices').waitFor();
      const [run] = gateway.runs.keys();
      await until(async () => (await heard()).length >= 3);
      await becomes(async () => (await heard()).filter(([name]) => name === 'run-started'), [['run-started', run, null]]);
      await becomes(async () => (await heard()).some(([name]) => name === 'run-waiting'), true);
      // The site's next page finds the conversation again.
      await page.reload();
      await frame.locator('.choices').waitFor();
      assert.equal(gateway.runs.size, 1);
      await frame.locator('.choice').last().click();
      await frame.getByRole('button', { name: 'Send' }).click();
      await frame.locator('.ending').waitFor();
      await until(async () => (await heard()).some(([name]) => name === 'run-ended'));
      await becomes(async () => (await heard()).at(-1), ['run-ended', run, 'completed']);
      await frame.getByRole('button', { name: 'New conversation' }).click();
      await frame.getByRole('button', { name: 'Start', exact: true }).waitFor();
      await page.reload();
      await frame.getByRole('button', { name: 'Start', exact: true }).waitFor();
      assert.ok(!gateway.requests.some((request) => request.startsWith('GET /api/runs?')), 'nobody sees the list, so nobody asks for it');
    });
  });

  test('a bubble opens and closes, and starts with what the site gives it', async () => {
    const { page } = house;
    await onSite(`<fastagency-chat bubble autostart workflow="weather_report" params='{"city": "Split", "days": 2}'></fastagency-chat>`, [site], async (gateway) => {
      await becomes(() => page.locator('iframe').isVisible(), false);
      assert.equal(gateway.requests.filter((request) => !request.includes('embed.js')).length, 0, 'a closed bubble loads nothing');
      await page.getByRole('button', { name: 'Chat' }).click();
      await page.frameLocator('iframe').locator('.ending').waitFor();
      assert.deepEqual([...gateway.runs.values()].map((run) => run.params), [{ city: 'Split', days: 2, units: 'metric' }]);
      await page.getByRole('button', { name: 'Chat' }).click();
      await page.locator('iframe').waitFor({ state: 'hidden' });
    });
  });

  test('numbers of a site reach the workflow digit for digit', async () => {
    const params = '{"city": "Split 1.0", "days": 2512292042121000001, "rates": [1.0, {"by": 12345678901234567890.10}], "none": null}';
    await onSite(`<fastagency-chat workflow="weather_report" params='${params}'></fastagency-chat>`, [site], async () => {
      const address = await house.page.locator('iframe').getAttribute('src');
      const said = Object.fromEntries(new URL(String(address)).searchParams);
      assert.deepEqual(said, { workflow: 'weather_report', city: 'Split 1.0', days: '2512292042121000001', rates: '[1.0,{"by":12345678901234567890.10}]' });
    });
  });

  for (const [who, embedIn] of /** @type {const} */ ([['nobody', []], ['only another', ['https://elsewhere.example']]])) {
    test(`a site that is not named frames nothing (${who} is)`, async () => {
      house.expectComplaint(/frame-ancestors/);
      await onSite('<fastagency-chat workflow="simple_learning"></fastagency-chat>', [...embedIn], async () => {
        await until(() => house.page.frames().some((frame) => frame.url().startsWith('chrome-error:')));
        await becomes(() => house.page.frameLocator('iframe').locator('#conversation').count(), 0);
      });
    });
  }

  test('the brand: title, logo, colours, footer and links', async () => {
    const { page } = house;
    const gateway = createMockGateway({
      brand: { title: 'Lamps & Co', logo: '/assets/favicon.svg?own', footer: 'Answers may be wrong.', links: [{ title: 'Imprint', url: 'https://lamps.example/imprint' }] },
      css: ':root { --accent: light-dark(#0b6b3a, #7fe0ab); }',
    });
    await gateway.listen();
    await page.goto(gateway.url);
    await page.locator('#app-title', { hasText: 'Lamps & Co' }).waitFor();
    await becomes(() => page.locator('#logo img').getAttribute('src'), '/assets/favicon.svg?own');
    await becomes(() => page.getByRole('link', { name: 'Imprint' }).getAttribute('href'), 'https://lamps.example/imprint');
    await page.getByText('Answers may be wrong.').waitFor();
    await page.goto(`${gateway.url}/?workflow=weather_report`);
    await becomes(() => page.getByRole('button', { name: 'Start' }).evaluate((node) => getComputedStyle(node).backgroundColor), 'rgb(11, 107, 58)');
    await gateway.close();
  });
});
