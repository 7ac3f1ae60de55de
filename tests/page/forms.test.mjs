// @ts-check
/** Forms, links and drafts: what is wrong is said where it is, and nothing that was written is lost without a word. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { becomes } from './becomes.mjs';
import { answerOpenQuestion } from './browser.mjs';
import { describePage, until } from './house.mjs';

await describePage('forms and what is written in them', (onNew) => {
  /** @type {import('./house.mjs').House} */
  let house;
  onNew((made) => { house = made; });

  /** @param {string} name @param {import('playwright-core').Page} [on] */
  const problemAt = (name, on = house.page) => on.locator(`[data-field=${name}] > .problem`).innerText();
  const start = () => house.page.getByRole('button', { name: 'Start', exact: true }).click();
  const send = () => house.page.getByRole('button', { name: 'Send', exact: true }).click();
  const focused = () => house.page.evaluate(() => document.activeElement?.closest('[data-field]')?.getAttribute('data-field') ?? document.activeElement?.className);
  const params = () => [...house.gateway.runs.values()].map((run) => run.params);
  /** @param {string} query */
  const openForm = async (query = '') => {
    await house.page.goto(`${house.gateway.url}/?workflow=delivery${query}`);
    await house.page.locator('.fields').first().waitFor();
  };
  /** Answers a call in the server's place. @param {string} calls @param {string} code @param {string} message */
  const refuse = (calls, code, message) => house.page.route(calls, (route) => (route.request().method() === 'POST'
    ? route.fulfill({ status: 422, json: { error: { code, message } } }) : route.fallback()));

  test('a pattern, steps and a consent are checked at their fields, before anything is sent', async () => {
    const { page, gateway } = house;
    await openForm();
    await page.locator('[data-field=terms] .needed').waitFor();
    await page.getByLabel('Phone').fill('123');
    await page.getByLabel('Hours').fill('7.3');
    await start();
    await becomes(() => problemAt('phone'), 'This does not fit. With the country, like +385 1 234.');
    await becomes(() => problemAt('hours'), 'It must be in steps of 0.5, like 7 or 7.5.');
    await becomes(() => problemAt('terms'), 'This must be ticked.');
    await becomes(focused, 'phone');
    assert.ok(!gateway.requests.includes('POST /api/runs'));
    await page.getByLabel('Phone').fill('+385 1 234 567');
    await page.getByLabel('Hours').fill('7.5');
    await start();
    await becomes(focused, 'terms');
    await page.getByLabel('I agree').check();
    await becomes(() => page.locator('[data-field=terms] > .problem').isHidden(), true);
    await start();
    await page.locator('.is-open').waitFor();
    assert.deepEqual(params(), [{ phone: '+385 1 234 567', hours: 7.5, tier: 'silver', terms: true }]);
  });

  test('what a tool asks for can be declined, with nothing filled in', async () => {
    const { page, gateway } = house;
    await house.open('declinable');
    await page.getByRole('button', { name: 'Decline', exact: true }).click();
    await page.locator('.answer').waitFor();
    assert.deepEqual([...gateway.runs.values()].map((run) => run.state), ['ended']);
    await becomes(() => page.getByRole('button', { name: 'Decline' }).count(), 0);
  });

  test('what a tool asks for can be cancelled, too', async () => {
    const { page, gateway } = house;
    await house.open('declinable');
    await page.getByRole('button', { name: 'Cancel', exact: true }).click();
    await page.locator('.answer').waitFor();
    assert.deepEqual([...gateway.runs.values()].map((run) => run.state), ['ended']);
    assert.ok(JSON.stringify([...gateway.runs.values()]).includes('"cancel"'));
  });

  test('what only the server refuses is said at its field, and the focus goes there', async () => {
    const { page } = house;
    await openForm();
    await page.getByLabel('Phone').fill('+385 1 234 567');
    await page.getByLabel('Street').fill('Ilica 1');
    await page.getByLabel('Zip').fill('12');
    await page.getByLabel('I agree').check();
    await refuse('**/api/runs', 'invalid_params', 'the parameters do not fit: address.zip: this is not a zip in Zagreb; the lorry is full');
    await start();
    await becomes(() => problemAt('zip'), 'This is not a zip in Zagreb.');
    await becomes(focused, 'zip');
    await becomes(() => page.locator('.start-form > .problem').innerText(), 'The lorry is full.');
    await page.getByLabel('Zip').fill('10000');
    await becomes(() => page.locator('.start-form > .problem').isHidden(), true);
  });

  test('a refusal that belongs to no field comes into sight, in a question too', async () => {
    const { page } = house;
    await page.setViewportSize({ width: 700, height: 420 });
    await house.open('delivery');
    await page.locator('.is-open .fields').first().waitFor();
    await page.getByLabel('Phone').fill('+385 1 234 567');
    await refuse('**/answers/*', 'invalid_answer', 'the lorry is full');
    await send();
    const problem = page.locator('.asking > .problem');
    await becomes(() => problem.innerText(), 'The lorry is full.');
    await becomes(focused, 'problem');
    await becomes(() => problem.evaluate((each) => {
      const { top, bottom } = each.getBoundingClientRect();
      return top >= 0 && bottom <= innerHeight;
    }), true);
    await page.unroute('**/answers/*');
    await refuse('**/answers/*', 'invalid_answer', 'phone: nobody answers there');
    await send();
    await becomes(() => problemAt('phone'), 'Nobody answers there.');
    await becomes(focused, 'phone');
    await page.unroute('**/answers/*');
    await refuse('**/answers/*', 'invalid_answer', 'code: "sesame" is too short');
    await page.getByLabel('Code').fill('sesame');
    await send();
    await becomes(() => problemAt('code'), 'This does not fit.');
  });

  test('a group that nobody needs is left out while it is empty, and checked once something is in it', async () => {
    const { page } = house;
    await openForm();
    await page.getByText('You can leave all of this empty.').waitFor();
    await page.getByLabel('Phone').fill('+385 1 234 567');
    await page.getByLabel('I agree').check();
    await page.getByLabel('Street').fill('Ilica 1');
    await start();
    await becomes(() => problemAt('zip'), 'This is needed.');
    await becomes(focused, 'zip');
    assert.deepEqual(params(), []);
    await page.getByLabel('Street').fill('');
    await start();
    await page.locator('.is-open').waitFor();
    assert.deepEqual(params(), [{ phone: '+385 1 234 567', tier: 'silver', terms: true }]);
  });

  test('lists survive a link, and the way back into the form', async () => {
    const { page } = house;
    await openForm('&tags=fragile,to+the+door&phone=%2B385+1+234&terms=true');
    await start();
    await page.locator('.is-open').waitFor();
    assert.deepEqual(params().map(({ tags }) => tags), [['fragile', 'to the door']]);
    const run = house.gateway.start('delivery', { phone: '+385 1 234', terms: true, tags: ['fragile', 'second floor, left'] });
    await page.goto(`${house.gateway.url}/runs/${run.id}`);
    await page.locator('.opening').waitFor();
    await page.getByLabel('More').click();
    await page.getByRole('button', { name: 'Start another with changes' }).click();
    await becomes(() => page.getByLabel('Tags').inputValue(), 'fragile\nsecond floor, left');
  });

  test('a link that does not fit starts nothing, and says at the fields what it brought', async () => {
    const { page, gateway } = house;
    await openForm('&phone=%2B385+1+234&terms=true&hours=9999&tier=gold');
    await becomes(() => problemAt('hours'), 'It must be 40 or less.');
    await becomes(() => page.getByLabel('Hours').inputValue(), '9999');
    await becomes(() => problemAt('tier'), 'The link brings “gold” here, which does not fit. Choose one of silver, golden.');
    await becomes(focused, 'hours');
    assert.equal(gateway.runs.size, 0);
    await openForm('&phone=%2B385+1+234&terms=true&huors=7');
    await becomes(() => page.locator('.start-form > .problem').innerText(), 'The link has parameters that this workflow does not: huors (did you mean “hours”?).');
    assert.equal(gateway.runs.size, 0);
    // What a group lacks counts, too.
    await openForm(`&phone=%2B385+1+234&terms=true&address=${encodeURIComponent('{"street":"Ilica 1"}')}`);
    await start();
    await becomes(() => problemAt('zip'), 'This is needed.');
    assert.equal(gateway.runs.size, 0);
  });

  test('no choice is offered only where it means none', async () => {
    const { page } = house;
    await openForm();
    await becomes(() => page.getByLabel('Wrapping').locator('option').allInnerTexts(), ['no choice', 'paper', 'box']);
    await becomes(() => page.getByLabel('Tier').locator('option').allInnerTexts(), ['silver', 'golden']);
  });

  test('what was written into a start form outlives a reload, until it is started; passwords do not', async () => {
    const { page } = house;
    await openForm();
    await page.getByLabel('Phone').fill('+385 1 234 567');
    await page.getByLabel('Street').fill('Ilica 1');
    await page.getByLabel('Zip').fill('10000');
    await page.getByLabel('Tier').selectOption('golden');
    await page.getByLabel('I agree').check();
    await page.getByLabel('Code').fill('sesame');
    assert.ok(!(await page.evaluate(() => JSON.stringify(localStorage))).includes('sesame'));
    await page.reload();
    await becomes(() => page.getByLabel('Phone').inputValue(), '+385 1 234 567');
    await becomes(() => page.getByLabel('Code').inputValue(), '');
    await start();
    await page.locator('.is-open').waitFor();
    assert.deepEqual(params(), [{ phone: '+385 1 234 567', tier: 'golden', address: { street: 'Ilica 1', zip: '10000', country: 'HR' }, terms: true }]);
    await openForm();
    await becomes(() => page.getByLabel('Phone').inputValue(), '');
  });

  test('words that were not sent when another tab answered stay to be copied, and ↑ brings them back', async () => {
    const { page, context } = house;
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await house.open('every_message');
    const field = page.locator('.composer textarea');
    await field.fill('My long thoughts');
    const other = await house.newPage();
    await other.goto(page.url());
    await answerOpenQuestion(other, 'Dora');
    const unsent = page.locator('.unsent');
    await becomes(() => unsent.innerText(), /^Your unsent words:\s+Copy\s+My long thoughts$/);
    assert.equal(await other.locator('.unsent').count(), 0, 'they were sent from there');
    await unsent.getByRole('button', { name: 'Copy your unsent words' }).click();
    await becomes(() => page.evaluate(() => navigator.clipboard.readText()), 'My long thoughts');
    await page.locator('.log .prompt', { hasText: 'Tell me more about it.' }).waitFor();
    await field.press('ArrowUp');
    await becomes(() => field.inputValue(), 'My long thoughts');
    await page.reload();
    await unsent.waitFor();
    await becomes(() => field.inputValue(), 'My long thoughts', 'it is a draft again');
  });

  test('words that a deadline or the end overtook stay; a password does not', async () => {
    const { page, gateway } = house;
    const run = await house.open('simple_learning');
    await page.locator('.composer textarea').fill('tri');
    gateway.closeQuestion(run, [...run.questions.keys()][0], { text: 'primes', by: null, on_timeout: true });
    await becomes(() => page.locator('.unsent').innerText(), /tri$/);
    const asking = await house.open('every_message');
    for (const answer of ['Ann', 'more', '7']) await answerOpenQuestion(page, answer);
    await page.locator('input[type=password]').fill('sesame');
    const question = [...asking.questions.keys()].at(-1) ?? assert.fail();
    gateway.closeQuestion(asking, question, { text: null, by: null, on_timeout: true });
    await page.getByText('Nobody answered in time').waitFor();
    assert.equal(await page.locator('.unsent').count(), 0);
    assert.ok(!(await page.content()).includes('sesame'));
    // Words at the end of a run: the question never gets an answer, and a reload finds them still.
    await house.open('letter');
    await page.locator('.composer textarea').fill('Dear Ann, I');
    await page.locator('#stop').click();
    await page.getByRole('button', { name: 'Stop it' }).click();
    await page.locator('.ending').waitFor();
    await becomes(() => page.locator('.unsent').innerText(), /Dear Ann, I$/);
    await page.reload();
    await becomes(() => page.locator('.unsent').innerText(), /Dear Ann, I$/);
    // So do those whose run ended while nobody was there.
    const left = await house.open('letter');
    await page.locator('.composer textarea').fill('Dear Ben, I');
    await page.goto(gateway.url);
    await page.locator('[data-workflow]').first().waitFor();
    await fetch(`${gateway.url}/api/runs/${left.id}/cancel`, { method: 'POST' });
    for (const _ of ['first', 'again']) {
      await page.goto(`${gateway.url}/runs/${left.id}`);
      await page.locator('.ending').waitFor();
      await becomes(() => page.locator('.unsent').innerText(), /Dear Ben, I$/);
    }
  });

  test('what was written in a form that was closed elsewhere stays, without its password', async () => {
    const { page, gateway } = house;
    const run = await house.open('delivery');
    await page.locator('.is-open .fields').first().waitFor();
    await page.getByLabel('Phone').fill('+385 1');
    await page.getByLabel('Code').fill('sesame');
    await page.getByLabel('Street').fill('Ilica 1');
    await page.getByLabel('Tags').fill('fragile');
    gateway.closeQuestion(run, [...run.questions.keys()][0], { text: '-', value: { tags: ['fragile'], address: { street: 'Ilica 2' } }, by: 'ben', on_timeout: false });
    await becomes(() => page.locator('.unsent .prose').innerText(), 'Phone: +385 1\nStreet: Ilica 1');
  });

  test('while nothing answers, it is said that it takes long, and nobody is told to leave', async () => {
    const { page } = house;
    await page.clock.install();
    await house.open('every_message');
    const status = page.locator('.run-status');
    await becomes(() => status.innerText(), /You can close this page/);
    /** @type {() => void} */
    let answer = () => {};
    const held = new Promise((resolve) => { answer = () => resolve(undefined); });
    let isHeld = false;
    await page.route('**/answers/*', async (route) => {
      isHeld = true;
      await held;
      await route.continue();
    });
    const words = page.locator('.sending-words');
    await page.locator('.composer textarea').fill('Dora');
    await page.keyboard.press('Enter');
    await until(() => isHeld);
    await becomes(() => status.innerText(), '');
    assert.equal(await words.textContent(), '');
    await page.clock.fastForward(2100);
    await becomes(() => words.innerText(), 'Sending…');
    await page.clock.fastForward(6000);
    await becomes(() => words.innerText(), 'This takes unusually long; keep this page open.');
    answer();
    await page.clock.runFor(1000);
    await page.locator('.log .prompt', { hasText: 'Tell me more about it.' }).waitFor();
    await becomes(() => status.innerText(), /You can close this page/);
    await becomes(() => page.locator('.sending-words:not(:empty)').count(), 0);
  });
});
