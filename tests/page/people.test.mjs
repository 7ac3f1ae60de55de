// @ts-check
/** What somebody finds who takes a conversation away, manages the list of them, or goes by keyboard. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { becomes } from './becomes.mjs';
import { answerOpenQuestion } from './browser.mjs';
import { describePage, flat, until } from './house.mjs';

await describePage('conversations in the hands of people', (onNew) => {
  /** @type {import('./house.mjs').House} */
  let house;
  onNew((made) => { house = made; });

  const focused = () => house.page.evaluate(() => {
    const now = document.activeElement;
    return now?.matches('.menu summary') ? 'menu' : now?.id || now?.textContent?.trim() || now?.tagName;
  });
  /** @param {string} name */
  const choose = async (name) => {
    await house.page.locator('.menu summary').click();
    await house.page.getByRole('button', { name }).click();
  };
  /** @param {string} name */
  const downloaded = async (name) => {
    const [download] = await Promise.all([house.page.waitForEvent('download'), choose(name)]);
    return download;
  };
  /** Answers what is open, as a client does. @param {any} run @param {unknown} value */
  const answer = async (run, value) => {
    await until(() => [...run.questions.values()].some((each) => !each.answered));
    const [question] = [...run.questions].find(([, each]) => !each.answered);
    house.gateway.answer(run, question, value);
  };

  const NOTES = Array.from({ length: 57 }, (_, line) => `note ${line} <b>of mine</b>`).join('\n');

  async function openKeepsake() {
    const run = await house.open('keepsake');
    await answer(run, NOTES);
    await answer(run, { name: 'Ann *A.*', guests: 4, day: '2026-12-01', room: 'small', quiet: true, note: 'by the\n# window' });
    await house.page.locator('.ending').waitFor();
    return run;
  }

  test('a file holds the whole of long texts, under its title and its day', async () => {
    const { page } = house;
    const run = await openKeepsake();
    const shown = page.locator('.answer-text').first();
    await becomes(async () => (await shown.innerText()).split('\n').filter((line) => line.startsWith('note')).length, 12);
    const download = await downloaded('Download HTML');
    const path = join(tmpdir(), `keepsake-${run.id}.html`);
    await download.saveAs(path);
    const file = await house.newPage();
    await file.goto(`file://${path}`);
    await becomes(async () => (await file.locator('.is-text .plain').innerText()).trim(), `${'not rendered '.repeat(3000)}to its very end`);
    await becomes(async () => (await file.locator('.answer-text').first().innerText()).trim(), NOTES);
    await becomes(() => file.locator('h1').first().innerText(), /^note 0 <b>of mine<\/b>/);
    await becomes(() => file.locator('.file-head').innerText(), new RegExp(String(new Date().getFullYear())));
    assert.equal(await file.locator('button').count(), 0);
    // On the page it stays folded.
    await shown.getByRole('button', { name: 'Show all of it (57 lines)' }).click();
    await becomes(async () => (await shown.innerText()).trim(), NOTES);
    rmSync(path);
  });

  test('Markdown keeps what people wrote as they wrote it, and its order of headings', async () => {
    await openKeepsake();
    const text = readFileSync(await (await downloaded('Download Markdown')).path(), 'utf8');
    assert.match(text, /^# note 0 \\<b>of mine\\<\/b>/);
    assert.match(text, /\n\nWorkflow: Something to keep, started [^\n]*20\d\d/);
    assert.match(text, /## Writer → User\n\n### A chapter\n\nIts text\.\n\n```sh\n# no heading\n```/);
    assert.match(text, /> \*\*You:\*\* note 0 \\<b>of mine\\<\/b>\\\n> note 1/);
    assert.match(text, /> \*\*You:\*\*\n>\n> - Your name: Ann \\\*A\.\\\*\n> - guests: 4\n/i);
    assert.match(text, /> - A quiet place, please: yes\n> - Anything else\?: by the\\\n> {3}\\# window/);
  });

  test('a failure is said once, with code as code', async () => {
    const { page } = house;
    await house.open('breaks_down');
    await page.locator('.ending.is-failed').waitFor();
    const shown = flat(await page.locator('.column').innerText());
    assert.equal(shown.split('has no model').length - 1, 1, shown);
    await becomes(() => page.locator('.problem-detail code').allInnerTexts(), ['pay']);
    await becomes(() => page.locator('.ending .result, .ending .reason').count(), 0);
  });

  test('a run that was stopped says so, and nothing like a result', async () => {
    const { page, gateway } = house;
    const run = await house.open('held_stream');
    await page.locator('#stop').click();
    await page.getByRole('button', { name: 'Stop it' }).click();
    const end = page.locator('.ending.is-cancelled');
    await end.waitFor();
    await becomes(() => end.locator('.result').count(), 0);
    // "Stopped" is said by the heading.
    gateway.run(run.id).log.at(-1).reason = 'stopped';
    await page.reload();
    await end.waitFor();
    await becomes(() => end.locator('.reason').count(), 0);
  });

  test('the menu gives the focus back, and arrows walk through it', async () => {
    const { page, context } = house;
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await house.open('failing');
    await page.locator('.ending').waitFor();
    await page.locator('.menu summary').focus();
    await page.keyboard.press('ArrowDown');
    await becomes(focused, 'Rename…');
    await page.keyboard.press('ArrowDown');
    await becomes(focused, 'Start another like it');
    await page.keyboard.press('End');
    await becomes(focused, 'Delete…');
    await page.keyboard.press('ArrowDown');
    await becomes(focused, 'Rename…');
    await page.keyboard.press('ArrowUp');
    await becomes(focused, 'Delete…');
    await page.keyboard.press('Escape');
    await becomes(focused, 'menu');
    assert.equal(await page.locator('dialog, .menu[open]').count(), 0);
    await choose('Copy the link');
    await page.getByText('The link was copied.').waitFor();
    await becomes(focused, 'menu');
    await choose('Rename…');
    await page.keyboard.press('Escape');
    await page.locator('dialog').waitFor({ state: 'detached' });
    await becomes(focused, 'menu');
    // The old way to copy, under plain http.
    await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
    await choose('Copy the link');
    await becomes(focused, 'menu');
  });

  test('of two questions, the other has the focus when one was answered', async () => {
    const { page } = house;
    await house.open('two_questions');
    await page.locator('.is-open').nth(1).waitFor();
    await page.locator('.composer textarea').focus();
    await page.keyboard.type('Zagreb');
    await page.keyboard.press('Enter');
    await page.locator('.answer-text', { hasText: 'Zagreb' }).waitFor();
    await page.locator('.is-open .choice input:focus').waitFor();
    await page.reload();
    await page.locator('.is-open .choice input:focus').waitFor();
  });

  test('what still goes on is stopped and deleted in one, and the last word is about that', async () => {
    const { page, gateway } = house;
    const run = await house.open('held_stream');
    await choose('Copy as Markdown');
    await page.locator('.toast').waitFor();
    // The list of the server learns of the end later than the log.
    let refusals = 2;
    await page.route(`**/api/runs/${run.id}`, (route) => {
      if (route.request().method() !== 'DELETE' || refusals === 0) return route.continue();
      refusals -= 1;
      return route.fulfill({ status: 409, json: { error: { code: 'run_not_ended', message: 'the run has not ended' } } });
    });
    await choose('Delete…');
    await page.getByRole('button', { name: 'Keep it' }).click();
    await becomes(focused, 'menu');
    assert.equal(run.state, 'running');
    await choose('Delete…');
    await page.getByRole('button', { name: 'Stop and delete' }).click();
    await page.getByRole('heading', { name: 'Start a conversation' }).waitFor();
    await becomes(() => page.locator('.toast').allInnerTexts(), ['Deleted.']);
    assert.equal(gateway.runs.size, 0);
  });

  test('a name is as long as the server takes it, and comes back if it does not', async () => {
    const { page } = house;
    const run = await house.open('failing');
    await page.locator('.ending').waitFor();
    await choose('Rename…');
    const field = page.locator('dialog input');
    await page.keyboard.insertText('n'.repeat(300));
    await becomes(async () => (await field.inputValue()).length, 120);
    await page.route(`**/api/runs/${run.id}`, (route) => (route.request().method() === 'PATCH'
      ? route.fulfill({ status: 422, json: { error: { code: 'invalid_title', message: 'title: no' } } }) : route.continue()), { times: 1 });
    await page.keyboard.press('Enter');
    await page.locator('dialog .problem', { hasText: 'Title: no.' }).waitFor();
    await becomes(() => field.inputValue(), 'n'.repeat(120));
    await page.keyboard.press('Enter');
    await becomes(() => page.locator('h1').innerText(), 'n'.repeat(120));
    await page.locator('dialog').waitFor({ state: 'detached' });
  });

  test('the conversation that is open is in sight in the list', async () => {
    const { page, gateway } = house;
    const first = gateway.start('failing');
    for (let count = 0; count < 40; count += 1) gateway.start('failing');
    const isInSight = () => page.locator('.run[aria-current]').evaluate((row) => {
      const [inside, around] = [row.getBoundingClientRect(), /** @type {Element} */ (row.closest('.runs')).getBoundingClientRect()];
      return inside.top >= around.top - 1 && inside.bottom <= around.bottom + 1;
    });
    await page.goto(`${gateway.url}/runs/${first.id}`);
    await page.locator('.run').nth(40).waitFor();
    await becomes(isInSight, true);
    await page.locator('#runs').evaluate((list) => { list.scrollTop = 0; });
    await page.locator('.run').first().click();
    await page.goBack();
    await becomes(isInSight, true);
    await becomes(() => page.evaluate(() => [document.body.scrollTop, document.body.scrollLeft]), [0, 0]);
  });

  test('the list says what the head says, before the server’s list does', async () => {
    const { page, gateway } = house;
    await page.clock.install();
    const run = await house.open('simple_learning');
    const row = page.locator('.run[aria-current]');
    await becomes(() => row.getAttribute('data-state'), 'waiting');
    // From here on the list of the server stands still.
    const before = { ...run };
    await page.route('**/api/runs?*', (route) => route.fulfill({ json: { runs: [{ id: before.id, workflow: before.workflow, title: null, state: before.state,
      outcome: null, question: before.question, user: null, created_at: before.created_at, updated_at: before.updated_at }] } }));
    await answer(run, 'triangles');
    await page.locator('.is-open .choices').waitFor();
    await becomes(() => row.locator('.run-detail').innerText(), 'How shall we go on?');
    await answer(run, 'That is enough');
    await page.locator('.ending').waitFor();
    await becomes(() => row.getAttribute('data-state'), 'completed');
    await becomes(() => page.title(), /^[^(]/);
    assert.ok(gateway.run(run.id));
  });

  test('that the list cannot be had moves none of its rows', async () => {
    const { page, gateway } = house;
    await page.clock.install();
    gateway.start('failing');
    await page.goto(gateway.url);
    const row = page.locator('.run').first();
    await row.waitFor();
    const before = await row.boundingBox();
    gateway.faults.refuseNext = 1000;
    await page.clock.fastForward(6000);
    await page.locator('.list-problem').waitFor();
    assert.deepEqual(await row.boundingBox(), before);
  });

  test('Esc in an empty search goes back to where one was, and stops nothing', async () => {
    const { page } = house;
    await house.open('simple_learning');
    await page.locator('.composer textarea:focus').waitFor();
    await page.keyboard.press('Control+k');
    await becomes(focused, 'search');
    await becomes(() => page.locator('#search').getAttribute('placeholder'), 'Search titles');
    await page.keyboard.press('Escape');
    await page.locator('.composer textarea:focus').waitFor();
    await page.keyboard.press('Control+k');
    await page.keyboard.press('ArrowDown');
    await page.locator('.run:focus').waitFor();
    await page.keyboard.press('Escape');
    await page.locator('.composer textarea:focus').waitFor();
    assert.equal(await page.locator('dialog').count(), 0);
  });

  test('a title is shown without the marks of Markdown', async () => {
    const { page, gateway } = house;
    const run = gateway.start('failing');
    run.title = 'The moon is **made** of `cheese`';
    await page.goto(`${gateway.url}/runs/${run.id}`);
    const plain = 'The moon is made of cheese';
    await becomes(() => page.locator('.run-title').innerText(), plain);
    await becomes(() => page.locator('h1').innerText(), plain);
    await becomes(() => page.title(), new RegExp(`^${plain} · `));
  });

  test('on a phone, a tool that asks keeps its name whole, and keys that are not there are not offered', async () => {
    const { gateway, browser } = house;
    const context = await browser.newContext({ viewport: { width: 320, height: 700 }, isMobile: true, hasTouch: true });
    const page = await context.newPage();
    const run = gateway.start('refund');
    gateway.open(run.id, 'inside');
    await page.goto(`${gateway.url}/runs/${run.id}`);
    const name = page.locator('.approval-head .tool-name');
    await name.waitFor();
    await becomes(() => name.evaluate((each) => {
      each.textContent = 'lookup';
      const range = document.createRange();
      range.selectNodeContents(each);
      return range.getClientRects().length;
    }), 1);
    await page.getByRole('button', { name: 'Show the conversations' }).click();
    await page.locator('#theme').waitFor();
    await becomes(() => page.locator('#show-keys').isVisible(), false);
    await context.close();
  });

  test('calls with one id have a card, an approval and a result each, also after a reload', async () => {
    const { page } = house;
    const run = await house.open('one_id');
    const cards = () => page.locator('.tool-card').evaluateAll((all) => all.map((card) => [
      card.querySelector('.tool-essence')?.textContent, card.querySelector('.tool-result')?.textContent ?? '', card.querySelector('.tool-state')?.textContent]));
    await becomes(cards, [['town: "Rome"', '', 'waits for approval'], ['town: "Oslo"', '', 'requested'], ['town: "Bern"', '', 'requested']]);
    await answer(run, { decision: 'deny' });
    await becomes(cards, [['town: "Rome"', 'Error: not Rome', 'denied'], ['town: "Oslo"', '', 'waits for approval'], ['town: "Bern"', '', 'requested']]);
    await answer(run, { decision: 'once' });
    await answer(run, { decision: 'deny' });
    const end = [['town: "Rome"', 'Error: not Rome', 'denied'], ['town: "Oslo"', 'sun in Oslo', 'allowed, done'], ['town: "Bern"', 'Error: not Bern', 'denied']];
    await becomes(cards, end);
    await page.reload();
    await becomes(cards, end);
  });
});
