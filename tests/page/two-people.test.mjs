// @ts-check
/** Two people in one run: who "You" is, whose run it is, and what becomes of an answer that came too late. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { becomes } from './becomes.mjs';
import { launchBrowser, whatIsMissing } from './browser.mjs';
import { describePage, until } from './house.mjs';
import { startRealHouse, whatRealNeeds } from './real-house.mjs';

/** @typedef {import('./house.mjs').Page} Page */

await describePage('two people in one run', (onNew) => {
  /** @type {import('./house.mjs').House} */
  let house;
  onNew((made) => { house = made; });

  /** A page of somebody who has signed in, at a run. @param {'ann' | 'ben'} name @param {any} run */
  async function pageOf(name, run) {
    const context = await house.browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', acceptDownloads: true });
    context.setDefaultTimeout(15_000);
    const page = await context.newPage();
    page.on('close', () => context.close());
    await page.goto(`${house.gateway.url}/runs/${run.id}`);
    await page.getByLabel('User').fill(name);
    await page.getByLabel('Password', { exact: true }).fill({ ann: 'sesame', ben: 'simsim' }[name]);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.locator('.opening').waitFor();
    return page;
  }
  /** The question that is open now. @param {any} run */
  const openOf = (run) => [...run.questions].find(([, each]) => !each.answered)?.[0];
  /** Answers as somebody, once that is asked. @param {any} run @param {string} prompt @param {unknown} value @param {string} by */
  async function answer(run, prompt, value, by) {
    await until(() => run.questions.get(openOf(run))?.content.prompt === prompt);
    assert.equal(house.gateway.answer(run, openOf(run), value, by).status, 202);
  }
  const metas = (/** @type {Page} */ page) => page.locator('.answer-meta bdi').allInnerTexts();
  /** What stands at the question with these words. @param {Page} page @param {string} prompt */
  const at = (page, prompt) => page.locator('.is-question', { hasText: prompt });

  test('"You" is the reader, on each page, after a reload, and in what is taken away', async () => {
    const { gateway } = house;
    const run = gateway.start('desk', {}, 'ann');
    const [ann, ben] = await Promise.all([pageOf('ann', run), pageOf('ben', run)]);
    await answer(run, 'What is it about?', 'a lamp', 'ann');
    await answer(run, 'Which room?', 'small', 'ben');
    for (const round of ['live', 'after a reload']) {
      await becomes(() => metas(ann), ['You', 'ben'], round);
      await becomes(() => metas(ben), ['ann', 'You'], round);
      await becomes(() => ann.locator('.bar-under').innerText(), 'A desk · started by you');
      await becomes(() => ben.locator('.bar-under').innerText(), 'A desk · started by ann');
      await becomes(() => ben.locator('.state-chip').innerText(), 'waiting for ann');
      await becomes(() => ann.locator('.state-chip').innerText(), 'waiting for you');
      await becomes(() => ben.locator('.is-open .asks').innerText(), 'asks ann');
      await becomes(() => ann.locator('.is-open .asks').innerText(), 'asks you');
      await becomes(() => ben.locator('.run-status').innerText(), /waits for an answer from ann/);
      await Promise.all([ann.reload(), ben.reload()]);
    }
    await ben.locator('.menu summary').click();
    const [markdown] = await Promise.all([ben.waitForEvent('download'), ben.getByRole('button', { name: 'Download Markdown' }).click()]);
    const text = readFileSync(await markdown.path(), 'utf8');
    assert.match(text, /started .* by ann\n\n“You” is ben\./);
    assert.match(text, /> \*\*ann:\*\* a lamp/);
    assert.match(text, /> \*\*You:\*\* small/);
    await ben.locator('.menu summary').click();
    const [page] = await Promise.all([ben.waitForEvent('download'), ben.getByRole('button', { name: 'Download HTML' }).click()]);
    const html = readFileSync(await page.path(), 'utf8');
    assert.match(html, /started by ann<\/p><p[^>]*>“You” is ben\.</);
    assert.match(html, /<bdi>ann<\/bdi>/);
    await Promise.all([ann.close(), ben.close()]);
  });

  /** Both orders in which a page can learn that it was late: the refusal first, or the log first. */
  for (const order of ['the refusal comes first', 'the log comes first']) {
    test(`an answer that came too late says so where it was made, and keeps what was written: ${order}`, async () => {
      const { gateway } = house;
      const run = gateway.start('desk', {}, 'ann');
      const ben = await pageOf('ben', run);
      /** @param {string} prompt @param {unknown} value what ann gives @param {() => Promise<void>} act what ben does */
      const race = async (prompt, value, act) => {
        await until(() => run.questions.get(openOf(run))?.content.prompt === prompt);
        await at(ben, prompt).locator('button').first().waitFor();
        let letGo = () => {};
        if (order === 'the refusal comes first') gateway.holdEvents();
        else {
          /** @type {Promise<void>} */
          const may = new Promise((resolve) => { letGo = resolve; });
          await ben.route('**/answers/*', async (route) => { await may; await route.continue(); });
        }
        const key = openOf(run);
        if (order === 'the refusal comes first') {
          await answer(run, prompt, value, 'ann');
          await act();
          await ben.getByText(/This was already answered by ann at .*; your answer was not taken/).waitFor();
          gateway.tellEvents();
        } else {
          await act();
          await answer(run, prompt, value, 'ann');
          await ben.locator(`[data-key="${key}"]:not(.is-open)`).waitFor();
          assert.equal(await at(ben, prompt).locator('.unsent').count(), 0, 'nothing is said before it is known');
          letGo();
        }
        await at(ben, prompt).locator('.late-note').waitFor();
        await ben.unroute('**/answers/*');
      };
      const notes = async () => (await ben.locator('.unsent').allInnerTexts()).map((text) => text.replace(/\s*\nCopy\s*\n\s*/g, '\n').replace(/\n+/g, '\n'));

      await race('What is it about?', 'a lamp', async () => {
        await ben.locator('.is-open textarea').fill('a broken lamp');
        await ben.locator('.is-open .send-button').click();
      });
      await race('Which room?', 'small', async () => {
        await ben.getByLabel('large').check();
        await ben.locator('.is-open button[type=submit]').click();
      });
      await race('Where to?', { street: 'Elm Street' }, async () => {
        await ben.getByLabel('Street').fill('Oak Lane');
        await ben.getByLabel('Code').fill('1234');
        await ben.locator('.is-open button[type=submit]').click();
      });
      await race('May I pay?', { decision: 'once' }, async () => {
        await ben.locator('.is-open [data-decision=deny]').click();
        await ben.getByLabel(/Why not/).fill('It is not broken.');
        await ben.locator('.is-open [data-decision=deny]').click();
      });
      await race('And again?', { decision: 'deny' }, async () => {
        await ben.getByRole('button', { name: 'Change the arguments' }).click();
        await ben.getByLabel('Amount').fill('2.50');
        await ben.locator('.is-open [data-decision=once]').click();
      });
      await race('The pass phrase?', 'sesame', async () => {
        await ben.locator('.is-open input').fill('opensimsim');
        await ben.locator('.is-open .send-button').click();
      });
      const expected = [
        'ann answered this before you; your answer was not used.\nWhat you sent:\na broken lamp',
        'ann answered this before you; your answer was not used.\nWhat you sent:\nlarge',
        'ann answered this before you; your answer was not used.\nWhat you sent:\nStreet: Oak Lane\nCode: ••• (given)',
        'ann allowed this before you; your denial was not used.\nYour reason:\nIt is not broken.',
        'ann denied this before you; your approval with other arguments was not used.\nWhat you sent:\namount: 2.50',
        'ann answered this before you; your answer was not used.',
      ];
      await becomes(notes, expected);
      assert.deepEqual(await metas(ben), Array.from({ length: 6 }, () => 'ann'));
      await ben.locator('.is-open textarea').waitFor();
      await ben.reload();
      await ben.locator('.is-open textarea').waitFor();
      await becomes(notes, expected, 'also after a reload');
      assert.ok(!JSON.stringify(await ben.evaluate(() => ({ ...localStorage }))).match(/1234|opensimsim/), 'a password is not kept');
      await ben.close();
    });
  }

  test('what was begun and not sent stays, too: a reason, changed arguments', async () => {
    const { gateway } = house;
    const run = gateway.start('desk', {}, 'ann');
    const ben = await pageOf('ben', run);
    await answer(run, 'What is it about?', 'a lamp', 'ann');
    await answer(run, 'Which room?', 'small', 'ann');
    await answer(run, 'Where to?', { street: 'Elm Street' }, 'ann');
    await ben.getByRole('button', { name: 'Change the arguments' }).click();
    await ben.getByLabel('Amount').fill('45');
    await ben.locator('.is-open [data-decision=deny]').click();
    await ben.getByLabel(/Why not/).fill('It is not broken.');
    await answer(run, 'May I pay?', { decision: 'once' }, 'ann');
    await becomes(() => at(ben, 'May I pay?').locator('.unsent .prose').innerText(), 'It is not broken.\namount: 45');
    await ben.close();
  });

  test('an answer to a run that somebody has stopped says who did', async () => {
    const { gateway } = house;
    const run = gateway.start('desk', {}, 'ann');
    const ben = await pageOf('ben', run);
    await ben.locator('.is-open textarea').fill('a broken lamp');
    gateway.holdEvents();
    gateway.cancel(run.id, 'ann');
    await until(() => run.state === 'ended');
    await ben.route('**/answers/*', (route) => route.fulfill({ status: 409, contentType: 'application/json', body: JSON.stringify({ error: { code: 'run_ended', message: 'the run has ended' } }) }));
    await ben.locator('.is-open .send-button').click();
    await ben.getByText('The run has ended.').waitFor();
    gateway.tellEvents();
    await becomes(() => at(ben, 'What is it about?').locator('.late-note').innerText(), 'ann stopped the run before that; your answer was not used.');
    await becomes(() => at(ben, 'What is it about?').locator('.unsent .prose').innerText(), 'a broken lamp');
    await becomes(() => ben.locator('.ending .reason').innerText(), 'Stopped by ann.');
    await ben.close();
  });

  test('a stop that came too late says who was first; the one that counted does not', async () => {
    const { gateway } = house;
    const run = gateway.start('desk', {}, 'ann');
    const [ann, ben] = await Promise.all([pageOf('ann', run), pageOf('ben', run)]);
    await ben.locator('#stop').click();
    gateway.holdEvents();
    await ann.locator('#stop').click();
    await ann.getByRole('button', { name: 'Stop it' }).click();
    await until(() => run.state === 'ended');
    await ben.getByRole('button', { name: 'Stop it' }).click();
    await until(() => gateway.requests.filter((request) => request.endsWith('/cancel')).length === 2);
    gateway.tellEvents();
    await becomes(() => ben.locator('.ending .late-note').innerText(), 'ann stopped this run before you; your stop was not needed.');
    await becomes(() => ann.locator('.ending .reason').innerText(), 'Stopped by you.');
    assert.equal(await ann.locator('.late-note').count(), 0);
    // What ended by itself while the dialog was open.
    const other = gateway.start('breaks_down', {}, 'ann');
    await Promise.all([ann.close(), ben.close()]);
    const late = await pageOf('ben', gateway.start('desk', {}, 'ann'));
    await late.locator('#stop').click();
    gateway.cancel(new URL(late.url()).pathname.split('/')[2], 'ann');
    await late.locator('.ending').waitFor();
    await late.getByRole('button', { name: 'Stop it' }).click();
    await becomes(() => late.locator('.ending .late-note').innerText(), 'ann stopped this run before you; your stop was not needed.');
    await late.close();
    assert.equal(other.state, 'ended');
  });
}, { login: 'form', areColleagues: true });

const missing = await whatIsMissing() ?? whatRealNeeds();
if (missing) console.log(`skipped: two people before the real tiers, because ${missing}`);

describe('two people before the real tiers', { skip: missing ?? false, timeout: 120_000 }, () => {
  test('the first decision counts, the other is told, and so is who stopped the run', async () => {
    const browser = /** @type {import('playwright-core').Browser} */ (await launchBrowser());
    const house = await startRealHouse({ pays: `version: 1
name: pays
tools:
  pay_back:
    description: Pays money back
    params: { type: object, required: [amount], properties: { amount: { type: number, title: Amount } } }
    approve: always
    do: [ { return: "{{ args.amount }}" } ]
steps:
  - { id: first, call: { tool: pay_back, args: { amount: 49.5 } } }
  - text_input: { prompt: "Paid {{ steps.first }}. And now?" }
  - return: done
` }, '', { ann: 'open sesame', ben: 'open simsim' }, `auth:
  mode: basic
  file: access.yaml
  access:
    - { workflows: ["*"] }
    - { workflows: ["*"], users: [ben], may: [see, answer, cancel] }
`);
    try {
      /** @param {string} name @param {string} path */
      const visit = async (name, path) => {
        const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce' });
        context.setDefaultTimeout(30_000);
        const page = await context.newPage();
        await page.goto(house.url + path);
        await page.getByLabel('User').fill(name);
        await page.getByLabel('Password', { exact: true }).fill(name === 'ann' ? 'open sesame' : 'open simsim');
        await page.getByRole('button', { name: 'Sign in', exact: true }).click();
        return page;
      };
      const ann = await visit('ann', '/');
      await ann.locator('[data-workflow=pays]').click();
      await ann.waitForURL(/\/runs\//);
      const ben = await visit('ben', new URL(ann.url()).pathname);
      await becomes(() => ben.locator('.bar-under').innerText(), 'started by ann');
      await becomes(() => ben.locator('.is-open .asks').innerText(), 'asks ann');
      await ben.locator('.is-open [data-decision=deny]').click();
      await ben.getByLabel(/Why not/).fill('It is not broken.');
      // Whichever the page hears of first: ann's answer is there before ben's is sent on.
      await ben.route('**/answers/*', async (route) => {
        await ann.locator('.is-open [data-decision=once]').click();
        await ann.locator('.answer-meta').waitFor();
        await route.continue();
      });
      await ben.locator('.is-open [data-decision=deny]').click();
      await becomes(() => ben.locator('.late-note').innerText(), 'ann allowed this before you; your denial was not used.');
      await becomes(() => ben.locator('.unsent .prose').innerText(), 'It is not broken.');
      await becomes(() => ben.locator('.answer-meta bdi').allInnerTexts(), ['ann']);
      await becomes(() => ann.locator('.answer-meta bdi').allInnerTexts(), ['You']);
      await ben.unroute('**/answers/*');
      await ann.getByText('Paid 49.5. And now?').last().waitFor();
      await ben.locator('#stop').click();
      await ben.getByRole('button', { name: 'Stop it' }).click();
      await becomes(() => ben.locator('.ending .reason').innerText(), 'Stopped by you.');
      await becomes(() => ann.locator('.ending .reason').innerText(), 'Stopped by ben.');
      await ann.reload();
      await becomes(() => ann.locator('.ending .reason').innerText(), 'Stopped by ben.');
    } finally {
      await browser.close();
      await house.close();
    }
  });
});
