// @ts-check
/**
 * The page in a real Chromium, over the played gateway. Nothing here waits for a time to pass: a script is held at a gate until
 * the test has seen what it wanted to see.
 */
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { becomes } from './becomes.mjs';
import { answerOpenQuestion, followOwnLink } from './browser.mjs';
import { assertTextsAreTheLogs as assertTexts, describePage, until } from './house.mjs';

/** @typedef {import('playwright-core').Page} Page */

await describePage('the page in a browser', (onNew) => {
  /** @type {import('./house.mjs').House} */
  let house;
  /** @type {import('playwright-core').BrowserContext} */
  let context;
  /** @type {Page} */
  let page;
  /** @type {import('./house.mjs').Gateway} */
  let gateway;
  onNew((made) => { house = made; ({ context, page, gateway } = made); });
  const newPage = () => house.newPage();
  /** @param {string} workflow @param {Page} [on] */
  const open = (workflow, on) => house.open(workflow, on);
  /** @param {string} runId @param {Page} [on] */
  const assertTextsAreTheLogs = (runId, on) => assertTexts(house, runId, on);
  /** @param {string} prompt the list at the side shows it, too */
  const asked = (prompt) => page.locator('.log .prompt', { hasText: prompt }).waitFor();

  describe('start', () => {
    test('a card starts its workflow, and the address is the run’s', async () => {
      await page.goto(gateway.url);
      await page.locator('[data-workflow=simple_learning]').click();
      await page.waitForURL(/\/runs\/[0-9a-f]{32}$/);
      await page.locator('.is-open').waitFor();
      await page.waitForFunction(() => document.title === '(1) Simple learning · Geometry desk');
      assert.equal(gateway.runs.size, 1);
    });

    test('parameters are asked for, checked here and by the server, and reach the run', async () => {
      await page.goto(gateway.url);
      await page.locator('[data-workflow=weather_report]').click();
      await page.getByRole('button', { name: 'Start', exact: true }).click();
      await becomes(() => page.locator('[data-field=city] .problem').innerText(), 'This is needed.');
      await page.getByLabel('City').fill('Atlantis');
      await page.getByRole('button', { name: 'Start', exact: true }).click();
      await page.getByText('There is no weather in "Atlantis". Try a city above water.').waitFor();
      await page.getByLabel('City').fill('Zagreb');
      await page.getByLabel('Days').fill('5');
      await page.keyboard.press('Enter');
      await page.locator('.ending').waitFor();
      assert.deepEqual([...gateway.runs.values()][0].params, { city: 'Zagreb', days: 5, units: 'metric', details: false });
    });

    test('a link that brings what is needed starts once, also after going back', async () => {
      await followOwnLink(page, `${gateway.url}/?workflow=weather_report&city=Split&days=2`);
      await page.locator('.ending').waitFor();
      assert.deepEqual([...gateway.runs.values()].map((run) => run.params), [{ city: 'Split', days: 2, units: 'metric' }]);
      await page.reload();
      await page.locator('.ending').waitFor();
      assert.equal(gateway.runs.size, 1);
    });

    test('a link that lacks something opens the form with the rest', async () => {
      await page.goto(`${gateway.url}/?workflow=weather_report&days=2`);
      await becomes(() => page.getByLabel('Days').inputValue(), '2');
      assert.equal(gateway.runs.size, 0);
    });

    test('what nobody serves is said in words, and waits', async () => {
      await page.goto(gateway.url);
      await page.locator('[data-workflow=night_shift]').getByText('No worker serves this now; once started, it waits for one.').waitFor();
      await page.locator('[data-workflow=night_shift]').click();
      await page.getByText('Waiting for a worker').first().waitFor();
      await page.locator('#stop').click();
      await page.getByRole('button', { name: 'Stop it' }).click();
      await page.locator('.ending.is-cancelled').waitFor();
    });

    test('a gateway that is away is said in words and tried again', async () => {
      gateway.faults.refuseNext = 4;
      await page.goto(gateway.url);
      await page.getByText('The broker is out of reach').first().waitFor();
      await page.getByRole('button', { name: 'Try again' }).click({ trial: true });
      gateway.faults.refuseNext = 0;
      await page.locator('[data-workflow]').first().waitFor();
    });

    test('who is not let in is told so, and not asked again and again', async () => {
      await page.clock.install();
      gateway.faults.deny = true;
      await page.goto(gateway.url);
      await page.locator('.notice', { hasText: 'Authentication required.' }).waitFor();
      await page.locator('.list-note', { hasText: 'Authentication required.' }).waitFor();
      const asked = () => gateway.requests.filter((request) => request.includes('/api/')).length;
      const before = asked();
      await page.clock.fastForward(60_000);
      assert.equal(asked(), before);
      gateway.faults.deny = false;
      await page.locator('.sidebar').getByRole('button', { name: 'Try again' }).click();
      await page.getByText('No conversations yet.').waitFor();
      await page.locator('.notice').getByRole('button', { name: 'Try again' }).click();
      await page.locator('[data-workflow]').first().waitFor();
    });

    test('a run that is not there is said in words', async () => {
      await page.goto(`${gateway.url}/runs/nowhere`);
      await page.getByText('There is no run with this id. It may have been deleted.').waitFor();
    });
  });

  describe('questions', () => {
    test('every message and every question, to the end', async () => {
      const run = await open('every_message');
      await page.locator('.is-open').waitFor();
      await becomes(() => page.locator('.log > .stretch > *').evaluateAll((all) => all.map((each) => /** @type {HTMLElement} */ (each).dataset.kind)), ['started', 'text', 'system', 'system', 'tool', 'tool', 'unknown', 'error', 'question']);
      await page.getByRole('button', { name: 'Ben' }).click();
      await asked('Tell me more about it.');
      await page.locator('.composer textarea').fill('first');
      await page.keyboard.press('Shift+Enter');
      await page.keyboard.type('second');
      await page.keyboard.press('Enter');
      await asked('How old is it?');
      await page.locator('.composer input').fill('old');
      await page.keyboard.press('Enter');
      await page.locator('.asking > .problem', { hasText: '"old" is not a whole number.' }).waitFor();
      await becomes(() => page.locator('.composer input').getAttribute('aria-invalid'), 'true');
      await answerOpenQuestion(page, '7');
      await page.locator('input[type=password]').waitFor();
      await answerOpenQuestion(page, 'sesame');
      await page.getByText('••• (given)').waitFor();
      assert.ok(!(await page.content()).includes('sesame'));
      assert.ok(!(await page.evaluate(() => JSON.stringify(localStorage))).includes('sesame'));
      await asked('Which grade?');
      await becomes(() => page.locator('.choices input:checked').getAttribute('value'), 'B');
      await page.keyboard.press('3');
      await page.keyboard.press('Enter');
      await asked('Which fruits?');
      await page.keyboard.press('2');
      await page.keyboard.press('Enter');
      await becomes(() => page.locator('.asking .problem').innerText(), 'Choose 1 to 2.');
      await page.keyboard.press('1');
      await page.keyboard.press('3');
      await page.keyboard.press('Enter');
      await asked('Book a room:');
      await page.locator('.fields').waitFor();
      await page.getByRole('button', { name: 'Send' }).click();
      await becomes(() => page.locator('[data-field=guests] .problem').innerText(), 'This is needed.');
      await page.getByLabel('Guests').fill('99');
      await answerOpenQuestionFails(page);
      await page.getByText('There are only 40 chairs.').waitFor();
      await answerOpenQuestion(page, { guests: 4, note: 'window' });
      await page.locator('.ending.is-completed').waitFor();
      const answers = run.log.filter((record) => record.kind === 'answered').map((record) => record.text);
      assert.deepEqual(answers, ['Ben', 'first\nsecond', '7', null, 'C', 'apple, plum',
        'name: something\nguests: 4\nday: 2026-12-01\nroom: small\nquiet: true\nnote: window']);
      await becomes(() => page.evaluate(() => Object.keys(localStorage).filter((key) => key.includes('draft')).length), 0);
    });

    /** @param {Page} on fills the form, but the server refuses it */
    async function answerOpenQuestionFails(on) {
      await on.getByLabel('Your name').fill('something');
      await on.getByLabel('Day').fill('2026-12-01');
      await on.locator('[data-field=room] select').selectOption('small');
      await on.getByRole('button', { name: 'Send' }).click();
    }

    test('Enter that ends the choice of a character sends nothing, in Safari either', async () => {
      const run = await open('simple_learning');
      const field = page.locator('.composer textarea');
      await field.fill('日本');
      // Safari has ended the composition when it tells of the key; only the key's code says whose it is.
      const session = await page.context().newCDPSession(page);
      for (const type of /** @type {const} */ (['rawKeyDown', 'keyUp'])) await session.send('Input.dispatchKeyEvent', { type, key: 'Enter', code: 'Enter', windowsVirtualKeyCode: 229 });
      await page.keyboard.type('語');
      await page.keyboard.press('Enter');
      // The next question may be open before anybody looks.
      await page.locator('.answer-text', { hasText: '日本語' }).waitFor();
      assert.equal(run.log.find((record) => record.kind === 'answered').text, '日本語');
    });

    test('a draft outlives a reload; an empty answer needs to be meant', async () => {
      const run = await open('simple_learning');
      await page.locator('.composer textarea').fill('half a th');
      await page.reload();
      await page.locator('.composer textarea').waitFor();
      await becomes(() => page.locator('.composer textarea').inputValue(), 'half a th');
      await page.locator('.composer textarea').fill('');
      await page.keyboard.press('Enter');
      await page.getByText('Nothing is written yet.').waitFor();
      await page.keyboard.press('Enter');
      await page.getByText('(an empty answer)').waitFor();
      assert.equal(run.log.find((record) => record.kind === 'answered').text, '');
    });

    test('a suggestion that is only a beginning is finished in the field, and sent then', async () => {
      const run = await house.open('letter');
      await page.getByRole('button', { name: 'Dear Ben,' }).click();
      await page.keyboard.type('your lamp is here.');
      await becomes(() => page.locator('.composer textarea').inputValue(), 'Dear Ben, your lamp is here.');
      assert.ok(![...run.questions.values()].some((question) => question.answered));
      await page.keyboard.press('Enter');
      await page.locator('.answer-text', { hasText: 'Dear Ben, your lamp is here.' }).waitFor();
    });

    test('a choice that was made and not sent outlives a reload', async () => {
      await house.open('simple_learning');
      await answerOpenQuestion(page, 'triangles');
      await page.locator('.choices').waitFor();
      await page.keyboard.press('3');
      await page.reload();
      await page.locator('.choices').waitFor();
      await becomes(() => page.locator('.choice input:checked').getAttribute('value'), 'That is enough');
    });

    test('a question is told outside of the page to those who want it, once, and only while nobody looks', async () => {
      await page.context().grantPermissions(['notifications']);
      await page.addInitScript(() => {
        const told = /** @type {any} */ (window).told = [];
        const played = class extends EventTarget {
          static permission = 'granted';
          static requestPermission = async () => 'granted';
          constructor(title, options) { super(); told.push({ title, body: options.body, tag: options.tag, notice: this }); }
          close() {}
        };
        Object.defineProperty(window, 'Notification', { value: played });
        let visibility = 'visible';
        Object.defineProperty(document, 'visibilityState', { get: () => visibility });
        /** @type {any} */ (window).look = (now) => { visibility = now; document.dispatchEvent(new Event('visibilitychange')); };
      });
      await page.clock.install();
      gateway.start('two_questions');
      await page.goto(gateway.url);
      await page.locator('.run').first().waitFor();
      const told = () => page.evaluate(() => /** @type {any} */ (window).told.map(({ title, body }) => `${title}: ${body}`));
      const hidden = async () => {
        await page.evaluate(() => /** @type {any} */ (window).look('hidden'));
        const asked = gateway.requests.length;
        await page.clock.fastForward(31_000);
        await until(() => gateway.requests.length > asked);
      };
      gateway.start('letter');
      await hidden();
      await page.locator('.run').nth(1).waitFor();
      assert.deepEqual(await told(), [], 'nobody has asked for it');
      await page.evaluate(() => /** @type {any} */ (window).look('visible'));
      await page.getByRole('button', { name: 'Notify me' }).click();
      await becomes(() => page.locator('#notify').getAttribute('aria-pressed'), 'true');
      const run = gateway.start('simple_learning');
      await hidden();
      await until(async () => (await told()).length > 0);
      await page.clock.fastForward(31_000);
      await becomes(told, ['Simple learning: What subject would you like to explore?']);
      await page.evaluate(() => /** @type {any} */ (window).told[0].notice.dispatchEvent(new Event('click')));
      await page.waitForURL(new RegExp(run.id));
    });

    test('the form of a question keeps what was written in it', async () => {
      const run = await open('every_message');
      for (const answer of ['Ann', 'more', '7', 'sesame', 'A', 'apple']) await answerOpenQuestion(page, answer);
      await page.getByLabel('Your name').fill('Dora');
      await page.reload();
      await page.locator('.fields').waitFor();
      await becomes(() => page.getByLabel('Your name').inputValue(), 'Dora');
      assert.equal(run.state, 'waiting');
    });

    test('two branches ask at once; each is answered where it was asked', async () => {
      await open('two_questions');
      await page.locator('.is-open').nth(1).waitFor();
      await page.locator('[data-question=multiple_choice] .choice').first().click();
      await page.locator('[data-question=multiple_choice] button[type=submit]').click();
      await page.locator('[data-question=multiple_choice]:not(.is-open)').waitFor();
      await becomes(() => page.locator('.is-open').count(), 1);
      await answerOpenQuestion(page, 'Zagreb');
      await page.getByText('From Zagreb, sleeping by the sea.').waitFor();
    });

    test('answered in another tab, it closes here, with the name', async () => {
      const run = await open('simple_learning');
      const other = await newPage();
      await other.goto(page.url());
      await answerOpenQuestion(other, 'prime numbers');
      await page.locator('.answer-text', { hasText: 'prime numbers' }).waitFor();
      await page.locator('.choices').waitFor();
      const question = [...run.questions.keys()][1];
      gateway.answer(run, question, 'That is enough', 'ben');
      for (const each of [page, other]) await each.locator('.answer-meta', { hasText: 'ben' }).waitFor();
    });

    test('an answer that comes too late is told who was first', async () => {
      const run = await open('simple_learning');
      await page.locator('.is-open').waitFor();
      const [question] = run.questions.keys();
      // The page has not heard of the other answer when it sends its own.
      run.questions.get(question).answered = { by: 'ben', at: '2026-11-22T10:00:00Z' };
      await page.getByRole('button', { name: 'triangles' }).click();
      await page.getByText(/This was already answered by ben at .*; your answer was not taken/).waitFor();
    });

    test('nobody answered in time: the default is shown as one', async () => {
      const run = await open('simple_learning');
      await page.locator('.is-open').waitFor();
      gateway.closeQuestion(run, [...run.questions.keys()][0], { text: 'triangles', by: null, on_timeout: true });
      await page.getByText('Nobody answered in time; this was taken instead').waitFor();
    });
  });

  describe('a stream', () => {
    test('is written live with a caret and replaced by the finished text, once', async () => {
      const run = await open('held_stream');
      await page.locator('.writing', { hasText: 'word6' }).waitFor();
      // It stands right behind the last letter, and goes with it.
      const caret = () => page.locator('.writing').evaluate((writing) => {
        const texts = document.createTreeWalker(writing, NodeFilter.SHOW_TEXT);
        let last = /** @type {Node | null} */ (null);
        while (texts.nextNode()) if (texts.currentNode.textContent?.trim()) last = texts.currentNode;
        const range = document.createRange();
        range.setStart(/** @type {Node} */ (last), (last?.textContent?.trimEnd().length ?? 0) - 1);
        range.setEnd(/** @type {Node} */ (last), last?.textContent?.trimEnd().length ?? 0);
        const letter = range.getBoundingClientRect();
        const carets = [...writing.querySelectorAll('.caret')].map((each) => each.getBoundingClientRect());
        const isBehind = carets.every((each) => each.width > 2 && each.height > 8 && each.left >= letter.right - 1 && each.left < letter.right + 12
          && each.top < letter.bottom && each.bottom > letter.top);
        return { count: carets.length, isBehind, place: carets.map((each) => `${each.left} ${each.top}`).join() };
      });
      const { place, ...before } = await caret();
      assert.deepEqual(before, { count: 1, isBehind: true });
      gateway.open(run.id, 'first');
      await page.locator('.writing', { hasText: 'word26' }).waitFor();
      const { place: placeNow, ...now } = await caret();
      assert.deepEqual(now, { count: 1, isBehind: true });
      assert.notEqual(placeNow, place);
      for (const gate of ['second', 'third', 'fourth']) gateway.open(run.id, gate);
      await page.locator('.ending').waitFor();
      await becomes(() => page.locator('.caret').count(), 0);
      await assertTextsAreTheLogs(run.id);
      await becomes(() => page.locator('.log strong', { hasText: 'Ünïcödé 😀' }).count(), 1);
    });

    test('survives a reload at every gate', async () => {
      const run = await open('held_stream');
      for (const [gate, seen] of [['first', 'word6'], ['second', 'word26'], ['third', 'word46'], ['fourth', 'Good. word0 word1 word2 word3']]) {
        await page.locator('.writing', { hasText: seen }).waitFor();
        const text = await page.locator('.writing').innerText();
        await page.reload();
        await page.locator('.writing', { hasText: seen }).waitFor();
        await becomes(() => page.locator('.writing').innerText(), text);
        await assertTextsAreTheLogs(run.id);
        gateway.open(run.id, gate);
      }
      await page.locator('.ending').waitFor();
      await assertTextsAreTheLogs(run.id);
    });

    test('survives a gateway that goes down and comes back', async () => {
      const run = await open('held_stream');
      await page.locator('.writing', { hasText: 'word6' }).waitFor();
      const port = Number(new URL(gateway.url).port);
      await gateway.close();
      gateway.open(run.id, 'first');
      await page.locator('[data-connection=reconnecting]').waitFor();
      await gateway.listen(port);
      await page.locator('.writing', { hasText: 'word26' }).waitFor();
      await page.locator('[data-connection=connected]').waitFor();
      for (const gate of ['second', 'third', 'fourth']) gateway.open(run.id, gate);
      await page.locator('.ending').waitFor();
      await assertTextsAreTheLogs(run.id);
      assert.ok(gateway.requests.some((request) => /\/events\?after=\d+/.test(request)));
    });

    test('survives connections cut again and again, and a goodbye', async () => {
      const run = await open('held_stream');
      for (const [gate, seen] of [['first', 'word6'], ['second', 'word26'], ['third', 'word46']]) {
        await page.locator('.writing', { hasText: seen }).waitFor();
        const before = gateway.requests.filter((request) => /\/runs\/[^/]+\/events/.test(request)).length;
        if (gate === 'second') gateway.goodbye();
        else gateway.dropConnections();
        await until(() => gateway.requests.filter((request) => /\/runs\/[^/]+\/events/.test(request)).length > before && run.listeners.size > 0);
        gateway.open(run.id, gate);
      }
      gateway.open(run.id, 'fourth');
      await page.locator('.ending').waitFor();
      await assertTextsAreTheLogs(run.id);
      const keys = await page.locator('[data-key]').evaluateAll((all) => all.map((each) => each.getAttribute('data-key')));
      assert.equal(new Set(keys).size, keys.length);
    });

    test('offline is said, and the rest comes when the network is back', async () => {
      const run = await open('held_stream');
      await page.locator('.writing', { hasText: 'word6' }).waitFor();
      await context.setOffline(true);
      await page.getByText('You are offline.').waitFor();
      for (const gate of ['first', 'second', 'third', 'fourth']) gateway.open(run.id, gate);
      await until(() => run.state === 'ended');
      await context.setOffline(false);
      await page.locator('.ending').waitFor();
      await assertTextsAreTheLogs(run.id);
    });

    test('a laptop that slept: a line that went dead unheard is made again', async () => {
      await page.clock.install();
      const run = await open('held_stream');
      await page.locator('.writing', { hasText: 'word6' }).waitFor();
      const connections = () => gateway.requests.filter((request) => /\/runs\/[^/]+\/events/.test(request)).length;
      assert.equal(connections(), 1);
      // The line is there, but nothing comes through it any more.
      run.listeners.clear();
      gateway.open(run.id, 'first');
      await page.clock.fastForward(46_000);
      await until(async () => {
        await page.clock.fastForward(1000);
        return connections() > 1;
      });
      await page.clock.resume();
      await page.locator('.writing', { hasText: 'word26' }).waitFor();
      for (const gate of ['second', 'third', 'fourth']) gateway.open(run.id, gate);
      await page.locator('.ending').waitFor();
      await assertTextsAreTheLogs(run.id);
    });

    test('a tab that nobody looks at gives its connection back, and is right when somebody does', async () => {
      await page.clock.install();
      const run = await open('held_stream');
      await page.locator('.writing', { hasText: 'word6' }).waitFor();
      /** @param {'hidden' | 'visible'} state */
      const turn = (state) => page.evaluate((now) => {
        Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => now });
        document.dispatchEvent(new Event('visibilitychange'));
      }, state);
      await turn('hidden');
      await page.clock.fastForward(61_000);
      await until(() => run.listeners.size === 0);
      for (const gate of ['first', 'second', 'third', 'fourth']) gateway.open(run.id, gate);
      await until(() => run.state === 'ended');
      await turn('visible');
      await page.clock.resume();
      await page.locator('.ending').waitFor();
      await assertTextsAreTheLogs(run.id);
    });

    test('begun anew by the model, it replaces what was shown', async () => {
      const run = await open('second_attempt');
      gateway.open(run.id, 'broken');
      await page.locator('.writing', { hasText: 'the text that' }).waitFor();
      gateway.open(run.id, 'half');
      await page.locator('.ending').waitFor();
      await assertTextsAreTheLogs(run.id);
    });

    test('stopped, it keeps what was written, and says so', async () => {
      const run = await open('held_stream');
      await page.locator('.writing', { hasText: 'word6' }).waitFor();
      await page.keyboard.press('Escape');
      await page.locator('dialog').waitFor();
      await page.keyboard.press('Escape');
      await page.locator('dialog').waitFor({ state: 'detached' });
      assert.equal(run.state, 'running');
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'Stop it' }).click();
      await page.locator('.stopped-mark').waitFor();
      await page.locator('.ending.is-cancelled').waitFor();
      await assertTextsAreTheLogs(run.id);
    });

    test('cut off by its model, it says why', async () => {
      await open('cut_off');
      await page.locator('.ending').waitFor();
      assert.deepEqual(await page.locator('.stopped-mark').allInnerTexts(), ['Cut off here: the reply reached its greatest length.', 'The model refused.', 'Cut off here.']);
      assert.match(await page.locator('.totals').innerText(), /\(1,834 read, 612 written, estimated\)/);
    });

    test('does not move a reader who went back up', async () => {
      const run = gateway.start('many_messages');
      await page.goto(`${gateway.url}/runs/${run.id}`);
      await page.locator('.is-open').waitFor();
      const scroller = page.locator('.scroller');
      await scroller.hover();
      await page.mouse.wheel(0, -4000);
      await page.locator('.question-bar').waitFor();
      const top = await scroller.evaluate((element) => element.scrollTop);
      gateway.answer(run, [...run.questions.keys()][0], 'yes');
      await page.locator('.ending').waitFor({ state: 'attached' });
      await page.locator('.down-button').waitFor();
      await becomes(async () => Math.abs(await scroller.evaluate((element) => element.scrollTop) - top) < 5, true);
      await page.locator('.down-button').click();
      await page.locator('.ending').waitFor();
      await page.locator('.down-button').waitFor({ state: 'hidden' });
    });
  });

  describe('around the conversation', () => {
    test('the list: waiting first, search, rename, delete', async () => {
      const first = gateway.start('failing');
      gateway.start('simple_learning');
      await page.goto(`${gateway.url}/runs/${first.id}`);
      await page.locator('.run').nth(1).waitFor();
      await becomes(() => page.locator('.run').evaluateAll((all) => all.map((each) => each.getAttribute('data-state'))), ['waiting', 'failed']);
      await page.locator('.menu summary').click();
      await page.getByRole('button', { name: 'Rename…' }).click();
      await page.keyboard.type('Money');
      await page.keyboard.press('Enter');
      await page.locator('.run-title', { hasText: 'Money' }).waitFor();
      await becomes(() => page.locator('h1').innerText(), 'Money');
      await page.keyboard.press('Control+k');
      await page.keyboard.type('mon');
      await page.locator('.run').nth(1).waitFor({ state: 'detached' });
      await page.locator('.menu summary').click();
      await page.getByRole('button', { name: 'Delete…' }).click();
      await page.getByRole('button', { name: 'Delete it' }).click();
      await page.getByText('Nothing found.').waitFor();
      assert.equal(gateway.runs.size, 1);
      assert.equal(new URL(page.url()).pathname, '/');
    });

    test('Ctrl + K goes from one conversation to another', async () => {
      const first = gateway.start('failing');
      const second = gateway.start('simple_learning');
      await page.goto(`${gateway.url}/runs/${first.id}`);
      await page.locator('.run').nth(1).waitFor();
      await page.keyboard.press('Control+k');
      await page.keyboard.type('simple');
      await page.keyboard.press('Enter');
      await page.waitForURL(`**/runs/${second.id}`);
      await page.locator('.is-question.is-open').waitFor();
      await becomes(() => page.locator('#search').inputValue(), '');
      await page.locator('.run').nth(1).waitFor();
      await page.keyboard.press('Control+k');
      await page.keyboard.type('simple');
      await page.locator('.run').nth(1).waitFor({ state: 'detached' });
      await page.keyboard.press('Escape');
      await page.locator('.run').nth(1).waitFor();
      assert.equal(await page.locator('dialog').count(), 0, 'nobody wants to stop the run');
      await page.keyboard.press('Control+k');
      for (const key of ['ArrowDown', 'ArrowDown', 'ArrowUp', 'ArrowUp', 'ArrowDown', 'ArrowDown']) await page.keyboard.press(key);
      await page.keyboard.press('Enter');
      await page.waitForURL(`**/runs/${first.id}`);
      await page.locator('.ending').waitFor();
    });

    test('Markdown and JSON can be taken away', async () => {
      const run = await open('failing');
      await page.locator('.ending').waitFor();
      for (const [name, check] of /** @type {const} */ ([
        ['Download Markdown', (text) => assert.match(text, /^# Something breaks[\s\S]*## Accountant → Bank\n\nI ask for the balance\./)],
        ['Download JSON', (text) => assert.deepEqual(JSON.parse(text).records, run.log)],
      ])) {
        await page.locator('.menu summary').click();
        const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name }).click()]);
        check(readFileSync(await download.path(), 'utf8'));
      }
    });

    test('the whole can be taken away as a file that needs nothing and runs nothing', async () => {
      const run = await open('simple_learning');
      await answerOpenQuestion(page, 'triangles');
      await page.locator('.choices').waitFor();
      await page.locator('.menu summary').click();
      const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download HTML' }).click()]);
      const file = await newPage();
      const asked = [];
      file.on('request', (request) => asked.push(request.url()));
      const path = join(tmpdir(), `conversation-${run.id}.html`);
      await download.saveAs(path);
      await file.goto(`file://${path}`);
      await becomes(() => file.title(), 'triangles');
      await becomes(() => file.locator('.is-text').count(), gateway.texts(run.id).length);
      await file.locator('.code-block', { hasText: 'def area' }).waitFor();
      await file.getByText('How shall we go on?').waitFor();
      await file.locator('.tool-card summary').click();
      await file.getByText('"area": 6').waitFor();
      assert.equal(await file.locator('button, input, script, form.asking .controls').count(), 0);
      assert.equal(asked.length, 1);
      rmSync(path);
    });

    test('start again uses the same parameters', async () => {
      await followOwnLink(page, `${gateway.url}/?workflow=weather_report&city=Pula`);
      await page.locator('.ending').waitFor();
      const url = page.url();
      await page.getByRole('button', { name: 'Start again' }).click();
      await page.waitForURL((now) => now.href !== url);
      await page.locator('.ending').waitFor();
      assert.deepEqual([...gateway.runs.values()].map((run) => run.params.city), ['Pula', 'Pula']);
      await page.goBack();
      assert.equal(page.url(), url);
      await page.locator('.ending').waitFor();
      await page.getByLabel('More').click();
      await page.getByRole('button', { name: 'Start another with changes' }).click();
      await becomes(() => page.getByLabel('City').inputValue(), 'Pula');
      await page.getByLabel('City').fill('Rijeka');
      await page.getByRole('button', { name: 'Start', exact: true }).click();
      await page.locator('.ending').waitFor();
      await page.getByLabel('More').click();
      await page.getByRole('button', { name: 'Start another like it' }).click();
      await until(() => gateway.runs.size === 4);
      assert.deepEqual([...gateway.runs.values()].map((run) => run.params.city), ['Pula', 'Pula', 'Rijeka', 'Rijeka']);
      assert.deepEqual([...gateway.runs.values()].map((run) => run.params).at(-1), [...gateway.runs.values()].map((run) => run.params).at(-2));
    });

    test('everything by keyboard alone', async () => {
      await page.goto(gateway.url);
      await page.locator('[data-workflow]').first().waitFor();
      for (let presses = 0; presses < 30 && !await page.evaluate(() => document.activeElement?.matches('[data-workflow=simple_learning]')); presses += 1) await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await page.locator('.composer textarea:focus').waitFor();
      await page.keyboard.type('triangles');
      await page.keyboard.press('Enter');
      await page.locator('.choices input:focus').waitFor();
      await page.keyboard.press('?');
      await page.getByRole('heading', { name: 'Keys' }).waitFor();
      await page.keyboard.press('Escape');
      await page.keyboard.press('3');
      await page.keyboard.press('Enter');
      await page.locator('.ending').waitFor();
      await becomes(() => page.evaluate(() => document.activeElement?.id), 'conversation');
      await page.keyboard.press('n');
      await page.getByRole('heading', { name: 'Start a conversation' }).waitFor();
    });

    for (const width of [320, 390]) {
      test(`one column at ${width} px; the list is a drawer`, async () => {
        await page.setViewportSize({ width, height: 700 });
        await open('every_message');
        await page.locator('.is-open').waitFor();
        await becomes(() => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
        await becomes(() => page.evaluate(() => [...document.querySelectorAll('.scroller')].every((each) => each.scrollWidth <= each.clientWidth)), true);
        // The button cannot be pressed before it does something, and is not drawn.
        assert.match(readFileSync(new URL('../../src/ui/assets/index.html', import.meta.url), 'utf8'), /<button [^>]*id="open-drawer"[^>]* disabled [^>]*><\/button>/);
        await page.getByRole('button', { name: 'Show the conversations' }).click();
        await page.locator('.run').first().waitFor();
        await page.keyboard.press('Escape');
        await page.locator('.run').first().waitFor({ state: 'hidden' });
      });
    }

    for (const scheme of /** @type {const} */ (['light', 'dark'])) {
      test(`axe finds nothing in ${scheme}`, async () => {
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
        const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
        const check = async () => {
          await page.evaluate(axe);
          const { violations } = await page.evaluate(() => /** @type {any} */ (window).axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
          assert.deepEqual(violations.map((each) => `${each.id}: ${each.nodes.map((node) => `${node.html.slice(0, 140)} ${node.failureSummary}`).join('\n')}`), []);
        };
        await page.goto(gateway.url);
        await page.locator('[data-workflow]').first().waitFor();
        await check();
        await page.keyboard.press('?');
        await page.locator('dialog[open]').waitFor();
        await check();
        await open('failing');
        await page.locator('.ending').waitFor();
        await check();
        await open('every_message');
        for (const answer of ['Ann', 'more', '7', 'sesame', 'A', 'apple']) {
          await page.locator('.is-open').waitFor();
          await check();
          await answerOpenQuestion(page, answer);
        }
        await page.locator('.fields').waitFor();
        await page.getByRole('button', { name: 'Send' }).click();
        for (const summary of await page.locator('.log summary').all()) await summary.click();
        await check();
        await answerOpenQuestion(page, {});
        await page.locator('.ending').waitFor();
        await check();
        await open('simple_learning');
        await answerOpenQuestion(page, 'triangles');
        await page.locator('.choices').waitFor();
        await check();
      });
    }
  });
});
