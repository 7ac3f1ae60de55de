// @ts-check
/** The operator's page before the real tiers: live, filtered, by keyboard, and a run cancelled from it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { becomes } from './becomes.mjs';
import { launchBrowser, whatIsMissing } from './browser.mjs';
import { startRealHouse, until, whatRealNeeds } from './real-house.mjs';

const missing = await whatIsMissing() ?? whatRealNeeds();
if (missing) console.log(`skipped: the operator's page, because ${missing}`);

/** @param {string} name @param {string} prompt */
const asking = (name, prompt) => `version: 1
name: ${name}
steps:
  - id: said
    text_input: { prompt: "${prompt}" }
  - message: "You said {{ steps.said }}"
  - return: "{{ steps.said }}"
`;

describe("the operator's page", { skip: missing ?? false, timeout: 120_000 }, () => {
  /** @type {Awaited<ReturnType<typeof startRealHouse>>} */ let house;
  /** @type {import('playwright-core').Browser} */ let browser;
  /** @type {import('playwright-core').Page} */ let page;
  /** @type {string[]} */ const complaints = [];

  /** @param {string} workflow @returns {Promise<string>} */
  const start = async (workflow) => {
    const answer = await fetch(`${house.url}/api/runs`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ workflow }) });
    assert.equal(answer.status, 201);
    return (await answer.json()).id;
  };
  /** @param {string} run @returns {Promise<any>} */
  const look = async (run) => (await fetch(`${house.url}/api/runs/${run}`)).json();

  before(async () => {
    house = await startRealHouse({ letter: asking('letter', 'What shall the letter say?'), order: asking('order', 'How many?') });
    await Promise.all([house.knows('letter'), house.knows('order')]);
    browser = /** @type {import('playwright-core').Browser} */ (await launchBrowser());
    page = await browser.newPage({ viewport: { width: 1400, height: 950 } });
    page.setDefaultTimeout(20_000);
    page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()); });
    page.on('pageerror', (error) => complaints.push(String(error)));
    await start('order');
    await page.goto(await house.adminLink());
    await page.locator('#runs tr').first().waitFor();
  });
  after(async () => {
    await browser?.close();
    await house?.close();
    assert.deepEqual(complaints, []);
  });

  test('a run that begins, is answered and ends is seen at once', async () => {
    await page.locator('#live[data-live=yes]').waitFor();
    const run = await start('letter');
    const row = page.locator(`#runs tr:has([data-run="${run}"])`);
    await row.locator('[data-state=waiting]').waitFor();
    await becomes(() => row.innerText(), /What shall the letter say/);
    await page.locator('#questions', { hasText: 'What shall the letter say?' }).waitFor();
    const { question } = await look(run);
    await fetch(`${house.url}/api/runs/${run}/answers/${question.id}`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ value: 'Dear all' }) });
    await row.locator('[data-state=completed]').waitFor();
    await becomes(() => row.innerText(), /Dear all/);
    await page.locator('#workers li', { hasText: 'letter, order' }).waitFor();
  });

  test('the list is filtered, and what is exported is what is seen', async () => {
    await page.getByLabel('Workflow', { exact: true }).fill('order');
    await until('only orders', async () => !(await page.locator('#runs').innerText()).includes('letter'));
    await page.locator('#runs tr').first().waitFor();
    const href = String(await page.locator('#export-csv').getAttribute('href'));
    assert.equal(new URL(href, house.url).searchParams.get('workflow'), 'order');
    const [download] = await Promise.all([page.waitForEvent('download'), page.locator('#export-csv').click()]);
    const csv = readFileSync(await download.path(), 'utf8');
    assert.ok(csv.includes('order') && !csv.includes('letter'), csv);
    await page.getByLabel('State').selectOption('completed');
    await page.locator('#no-runs:not([hidden])').waitFor();
    await page.getByRole('button', { name: 'Clear' }).click();
    await page.locator('#runs tr', { hasText: 'letter' }).first().waitFor();
  });

  test('a run is opened and cancelled by keyboard alone', async () => {
    const run = await start('letter');
    const link = page.locator(`#runs [data-run="${run}"]`);
    await link.waitFor();
    await link.focus();
    await page.keyboard.press('Enter');
    const dialog = page.locator('#timeline');
    await dialog.locator('.events li', { hasText: 'asked' }).waitFor();
    await becomes(() => dialog.innerText(), /What shall the letter say\?/);
    await page.locator('#cancel-run').focus();
    await page.keyboard.press('Enter');
    assert.equal((await look(run)).state, 'waiting', 'it is asked once more');
    await page.keyboard.press('Enter');
    await dialog.locator('.events li', { hasText: 'cancelled' }).waitFor();
    await becomes(async () => (await look(run)).outcome, 'cancelled');
    await becomes(() => page.locator('#cancel-run').isHidden(), true);
    await page.keyboard.press('Escape');
    await page.locator(`#runs tr:has([data-run="${run}"]) [data-state=cancelled]`).waitFor();
  });

  for (const scheme of /** @type {const} */ (['light', 'dark'])) {
    test(`axe finds nothing in ${scheme}`, async () => {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
      await page.evaluate(readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
      const check = async () => {
        const { violations } = await page.evaluate(() => /** @type {any} */ (window).axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
        assert.deepEqual(violations.map((each) => `${each.id}: ${each.nodes.map((node) => `${node.html.slice(0, 140)} ${node.failureSummary}`).join('\n')}`), []);
      };
      await check();
      if (process.env.PICTURES) await page.screenshot({ path: join(process.env.PICTURES, `admin-${scheme}.png`) });
      await page.locator('#runs .run-link').first().click();
      await page.locator('#timeline .events li').first().waitFor();
      await check();
      if (process.env.PICTURES) await page.screenshot({ path: join(process.env.PICTURES, `admin-timeline-${scheme}.png`) });
      await page.keyboard.press('Escape');
    });
  }

  test('a phone shows it without scrolling sideways', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(wide, 0);
    if (process.env.PICTURES) await page.screenshot({ path: join(process.env.PICTURES, 'admin-phone.png'), fullPage: true });
    await page.setViewportSize({ width: 1400, height: 950 });
  });
});

describe("the operator's page where people sign in", { skip: missing ?? false, timeout: 120_000 }, () => {
  /** @type {Awaited<ReturnType<typeof startRealHouse>>} */ let house;
  /** @type {import('playwright-core').Browser} */ let browser;

  before(async () => {
    const thinking = 'version: 1\nname: think\nagents: { a: { system_message: You think. } }\nsteps:\n  - agent: { agent: a, message: Think. }\n';
    const auth = 'auth: { mode: basic, file: access.yaml, admins: { users: [root] } }\nprices: { played: { input: 1000, output: 1000 } }\nworker: { max_runs: 1, park_after: 1h }\n';
    house = await startRealHouse({ letter: asking('letter', 'What?'), think: thinking }, '', { alice: "alice's password", root: "root's password" }, auth);
    browser = /** @type {import('playwright-core').Browser} */ (await launchBrowser());
  });
  after(async () => {
    await browser?.close();
    await house?.close();
  });

  test('it says who works, what waits in the queue, and what it costs by workflow and user', async () => {
    const headers = { 'Content-Type': 'application/json', Authorization: `Basic ${btoa("alice:alice's password")}` };
    /** @param {string} workflow */
    const start = async (workflow) => {
      let id = '';
      await until(`a run of ${workflow}`, async () => {
        const answer = await fetch(`${house.url}/api/runs`, { method: 'POST', headers, body: JSON.stringify({ workflow }) });
        if (answer.status === 201) id = (await answer.json()).id;
        return answer.status === 201;
      });
      return id;
    };
    const thought = await start('think');
    await until('a question to the model', async () => house.model.isAsked());
    house.model.write('Thought.');
    house.model.finish({ prompt_tokens: 1500, completion_tokens: 500 });
    // There is one place for each workflow: the first letter is with the worker, the second waits.
    await start('letter');
    await start('letter');

    const context = await browser.newContext({ viewport: { width: 1400, height: 950 } });
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    const forAlice = await fetch(`${house.url}/api/overview`, { headers });
    assert.equal(forAlice.status, 403, 'what operators see is not for everybody');
    const signedIn = await page.request.post(`${house.url}/auth/login`, { data: { user: 'root', password: "root's password" }, headers: { origin: house.url } });
    assert.equal(signedIn.status(), 204);
    await page.goto(`${house.url}/admin`);
    // What the page shows may be a moment late.
    /** @param {string} list @param {string} name @param {RegExp} words */
    const shows = (list, name, words) =>
      until(`${name} in ${list}`, async () => words.test(await page.locator(`${list} tr`, { hasText: name }).innerText()));
    await shows('#cost-by-workflow', 'think', /think\s+1\s+2,000\s+\$2\.00/);
    await shows('#cost-by-user', 'alice', /alice\s+3\s+2,000\s+\$2\.00/);
    await page.locator('#workers li', { hasText: '1 of 2 runs' }).waitFor();
    await page.locator('#queue li', { hasText: /letter: 1 waiting/ }).waitFor();
    await page.locator('#metrics div', { hasText: 'jobs waiting' }).locator('dd', { hasText: '1' }).waitFor();
    await page.locator('#questions li', { hasText: 'letter · alice' }).waitFor();
    await page.getByLabel('User', { exact: true }).fill('root');
    await page.locator('#no-runs:not([hidden])').waitFor();
    await page.getByLabel('User', { exact: true }).fill('alice');
    await until('three runs', async () => await page.locator('#runs tr').count() === 3);
    // What it cost stands at its end, too.
    await page.goto(`${house.url}/runs/${thought}`);
    await becomes(() => page.locator('.totals').innerText(), /1 model call · 2,000 tokens \(1,500 read, 500 written\) · \$2\.00 · /);
    await context.close();
  });
});
