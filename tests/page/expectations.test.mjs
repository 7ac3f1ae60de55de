// @ts-check
/** What people expect of a chat page for agents, where no other test already tells it in passing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { becomes } from './becomes.mjs';
import { answerOpenQuestion } from './browser.mjs';
import { assertTextsAreTheLogs, describePage } from './house.mjs';

await describePage('what people expect', (onNew) => {
  /** @type {import('./house.mjs').House} */
  let house;
  onNew((made) => { house = made; });

  test('who speaks to whom: names, initials, and a colour that outlives a reload', async () => {
    const { page } = house;
    await house.open('every_message');
    const message = page.locator('.log .is-text').first();
    const look = async () => [
      await message.locator('.sender').innerText(), await message.locator('.recipient').innerText(), await message.locator('.face').innerText(),
      await message.locator('.face').evaluate((face) => getComputedStyle(face).backgroundColor),
    ];
    const before = await look();
    assert.deepEqual(before.slice(0, 3), ['Planner', 'Researcher', 'Pl']);
    await page.reload();
    await message.waitFor();
    await becomes(look, before);
    const faces = await page.locator('.log .face:not(.nobody)').evaluateAll((all) => all.map((face) => `${face.textContent} ${getComputedStyle(face).backgroundColor}`));
    assert.equal(new Set(faces.map((face) => face.split(' ').slice(1).join())).size, new Set(faces.map((face) => face.split(' ')[0])).size, 'each its own');
  });

  test('an error in words, its detail folded; the end says why, and what it took', async () => {
    const { page } = house;
    await house.open('failing');
    const problem = page.locator('.log .is-problem');
    await becomes(() => problem.locator('.problem-words').innerText(), /its key was refused\. Check the setting OPENAI_API_KEY/);
    await becomes(() => problem.locator('details[open]').count(), 0);
    await problem.locator('summary').click();
    await becomes(() => problem.locator('pre').innerText(), /401 Unauthorized/);
    const end = page.locator('.ending.is-failed');
    await becomes(() => end.locator('.reason').innerText(), /^[A-Z].*\.$/s);
    await becomes(() => end.locator('.totals').innerText(), /^1 message · 5 model calls · 2,446 tokens \(1,834 read, 612 written\) · \$0\.0184 · \d/);
  });

  test('a deadline is shown, runs down, and says what happens without an answer', async () => {
    const { page } = house;
    await page.clock.install();
    await house.open('simple_learning');
    await answerOpenQuestion(page, 'triangles');
    const line = page.locator('.is-open .deadline');
    await page.clock.runFor(1000);
    await line.waitFor();
    await becomes(() => line.innerText(), /^Answer by \d.* \((9 min( \d+ s)?|10 min) left\)\. Otherwise: the conversation ends here$/);
    await page.clock.fastForward(570_000);
    await becomes(() => line.getAttribute('class'), 'deadline is-near');
    await page.clock.fastForward(60_000);
    await becomes(() => line.innerText(), /\(the time is over\)/);
  });

  test('an answer that could not be sent says so again when the network is back, and is still there', async () => {
    const { page, context } = house;
    await house.open('simple_learning');
    const problem = page.locator('.is-open .problem');
    const draft = page.locator('.composer textarea');
    await draft.fill('triangles');
    await context.setOffline(true);
    await draft.press('Enter');
    await becomes(() => problem.innerText(), /cannot be reached/);
    await context.setOffline(false);
    await becomes(() => problem.innerText(), /connected again\. Your answer was not sent/);
    await becomes(() => draft.inputValue(), 'triangles');
    await draft.press('Enter');
    await page.locator('.answer-text', { hasText: 'triangles' }).waitFor();
  });

  test('a long answer does not bury what is said about it', async () => {
    const { page } = house;
    await house.open('simple_learning');
    const long = 'All that I know about triangles. '.repeat(200);
    await answerOpenQuestion(page, long);
    const answer = page.locator('.answer-text');
    await becomes(async () => (await answer.innerText()).length < 2000, true);
    // Not by the mouse: the conversation goes on, and moves it away.
    await answer.getByRole('button', { name: 'Show all of it' }).press('Enter');
    await becomes(async () => (await answer.innerText()).trim(), long.trim());
  });

  test('who speaks for an agent is asked in few words, may leave it, and says it once', async () => {
    const { page } = house;
    await house.open('for_an_agent');
    const question = page.locator('.is-open');
    await becomes(() => question.locator('.prompt').innerText(), 'Your reply to poet');
    await page.locator('.composer textarea').fill('Too many moons.');
    await page.keyboard.press('Enter');
    // Said once, by whom it is said, with who wrote it.
    const said = page.locator('.log article', { hasText: 'Too many moons.' }).filter({ visible: true });
    await becomes(async () => (await said.innerText()).replace(/\s+/g, ' '), /^Cr critic to poet .* Too many moons\. You · /);
    assert.equal(await said.count(), 1);
    // Nothing written means something here: it is sent at once.
    await page.locator('.composer textarea').press('Enter');
    await page.locator('.answer-text', { hasText: 'Skip' }).waitFor();
    await question.getByRole('button', { name: 'critic' }).click();
    await page.locator('.answer-text', { hasText: /^critic$/ }).waitFor();
    await page.reload();
    await page.locator('.ending').waitFor();
    await becomes(() => page.locator('.answer-text').allInnerTexts(), ['Too many moons.', 'Skip', 'critic']);
  });

  test('a form that is taller than the window opens at its beginning', async () => {
    const { page } = house;
    await house.open('tall_form');
    const top = () => page.locator('.is-open').evaluate((form) => Math.round(form.getBoundingClientRect().top - /** @type {Element} */ (form.closest('.scroller')).getBoundingClientRect().top));
    const atTop = async () => (await top()) >= 0 && (await top()) < 200;
    await becomes(atTop, true);
    assert.equal(await page.evaluate(() => document.activeElement?.closest('.field')?.textContent?.trim()), 'Field 0');
    await page.reload();
    await page.locator('.is-open').waitFor();
    await becomes(atTop, true);
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await page.locator('.ending').waitFor();
    await becomes(() => page.locator('.ending').evaluate((end) => end.getBoundingClientRect().bottom <= innerHeight), true);
  });

  test('of two questions, one of them tall, the one that has the cursor is in sight, also when the other was answered', async () => {
    const { page } = house;
    await house.open('two_forms');
    const field = () => page.evaluate(() => {
      const { activeElement: at } = document;
      const { top, bottom } = at?.getBoundingClientRect() ?? { top: -1, bottom: -1 };
      return [at?.closest('.field')?.textContent?.trim(), top > 0 && bottom < innerHeight];
    });
    await page.locator('.is-open').nth(1).waitFor();
    // In the tall one if both were there at once, else in the one that came first.
    await becomes(async () => (await field())[1], true);
    await page.locator('.composer textarea').fill('word');
    await page.locator('.composer textarea').press('Enter');
    await page.locator('.answer-text', { hasText: 'word' }).waitFor();
    await becomes(field, ['Field 0', true]);
  });

  test('the end stays in sight while something is written, for whoever is there', async () => {
    const { page, gateway } = house;
    await page.setViewportSize({ width: 700, height: 300 });
    const run = await house.open('held_stream');
    // Not every browser keeps in sight by itself what is there.
    await page.locator('.scroller').evaluate((each) => { each.style.overflowAnchor = 'none'; });
    const fromEnd = () => page.locator('.scroller').evaluate((each) => each.scrollHeight - each.scrollTop - each.clientHeight);
    for (const [gate, seen] of [['first', 'word26'], ['second', 'word46'], ['third', 'Good.']]) {
      gateway.open(run.id, gate);
      await page.locator('.writing', { hasText: seen }).waitFor();
      await page.waitForFunction(() => {
        const each = /** @type {HTMLElement} */ (document.querySelector('.scroller'));
        return each.scrollHeight - each.scrollTop - each.clientHeight < 2;
      });
    }
    await becomes(async () => await page.locator('.scroller').evaluate((each) => each.scrollTop) > 0, true, 'there is something to scroll');
    gateway.open(run.id, 'fourth');
    await page.locator('.ending').waitFor();
    await becomes(async () => await fromEnd() < 2, true);
  });

  test('finished messages are read out, what is being written is not', async () => {
    const { page, gateway } = house;
    const run = await house.open('held_stream');
    await page.locator('.writing', { hasText: 'word6' }).waitFor();
    const log = page.getByRole('log', { name: 'Conversation' });
    await becomes(() => log.locator('.is-text').count(), 1);
    await becomes(() => log.locator('.writing').count(), 0);
    await becomes(() => log.getAttribute('aria-busy'), null, 'its history is over');
    await becomes(() => page.locator('.writing').evaluate((each) => each.closest('[aria-live]')?.getAttribute('aria-live')), 'off');
    for (const gate of ['first', 'second', 'third', 'fourth']) gateway.open(run.id, gate);
    await page.locator('.ending').waitFor();
    await becomes(() => log.locator('.is-text').count(), 3);
    for (const landmark of /** @type {const} */ (['main', 'banner', 'complementary', 'navigation'])) await becomes(async () => await page.getByRole(landmark).count() > 0, true, landmark);
  });

  test('a message, its code and the whole can be copied', async () => {
    const { page, gateway, context } = house;
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    const run = await house.open('simple_learning');
    await answerOpenQuestion(page, 'triangles');
    await page.locator('.choices').waitFor();
    const copied = () => page.evaluate(() => navigator.clipboard.readText());
    const lesson = page.locator('.log .is-text').first();
    await lesson.hover();
    await lesson.getByRole('button', { name: 'Copy this message' }).click();
    await lesson.getByText('Copied').waitFor();
    await becomes(copied, gateway.texts(run.id)[0]);
    const code = page.locator('.code-block', { hasText: 'def area' });
    await becomes(() => code.locator('.code-head span').first().innerText(), 'python');
    await code.getByRole('button', { name: 'Copy this code' }).click();
    await code.getByText('Copied').waitFor();
    await becomes(copied, (await code.locator('pre').innerText()).trimEnd());
    await page.getByLabel('More').click();
    await page.getByRole('button', { name: 'Copy as Markdown' }).click();
    await page.getByText('The conversation was copied.').waitFor();
    await becomes(copied, /## Teacher → Student\n\n/);
  });

  test('left alone it goes on; what it asks is answered from another device', async () => {
    const { page, gateway } = house;
    const run = await house.open('held_stream');
    await page.locator('.writing', { hasText: 'word6' }).waitFor();
    await page.close();
    for (const gate of ['first', 'second', 'third', 'fourth']) gateway.open(run.id, gate);
    const asking = gateway.start('simple_learning');
    const other = await (await house.browser.newContext({ viewport: { width: 390, height: 800 } })).newPage();
    await other.goto(gateway.url);
    await other.locator('[data-workflow]').first().waitFor();
    await other.getByRole('button', { name: 'Show the conversations' }).click();
    await other.locator('.run[data-state=waiting]').click();
    await answerOpenQuestion(other, 'triangles');
    await other.locator('.choices').waitFor();
    assert.equal(asking.log.filter((record) => record.kind === 'answered').length, 1);
    await other.goto(`${gateway.url}/runs/${run.id}`);
    await other.locator('.ending').waitFor();
    await assertTextsAreTheLogs(house, run.id, other);
    await other.context().close();
  });

  test('what was just started stands in the list at once', async () => {
    const { page, gateway } = house;
    await page.clock.install();
    await page.goto(gateway.url);
    await page.getByText('No conversations yet.').waitFor();
    // From here on nothing comes by waiting.
    await page.clock.pauseAt(Date.now() + 1000);
    await page.locator('[data-workflow=simple_learning]').click();
    await page.locator('.run[aria-current]').waitFor();
  });

  test('light, dark or as the system: chosen once, in force before the first paint', async () => {
    const { page, gateway } = house;
    await page.emulateMedia({ colorScheme: 'light' });
    await page.goto(gateway.url);
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    const button = page.locator('#theme');
    await button.click();
    await becomes(() => button.innerText(), 'Light');
    // The colour is the new one at once, not after some frames of the old one.
    const dark = await button.evaluate((each) => {
      /** @type {HTMLElement} */ (each).click();
      return getComputedStyle(document.body).backgroundColor;
    });
    await becomes(() => button.innerText(), 'Dark');
    assert.notEqual(dark, light);
    assert.equal(await ground(), dark);
    await page.addInitScript(() => {
      new PerformanceObserver(() => { /** @type {any} */ (window).atFirstPaint ??= document.documentElement.dataset.theme; }).observe({ type: 'paint', buffered: true });
    });
    await page.reload();
    await page.locator('[data-workflow]').first().waitFor();
    await becomes(ground, dark);
    await page.waitForFunction(() => 'atFirstPaint' in window);
    assert.equal(await page.evaluate(() => /** @type {any} */ (window).atFirstPaint), 'dark');
    await page.emulateMedia({ colorScheme: 'dark' });
    await button.click();
    await becomes(() => button.innerText(), 'Auto');
    await becomes(ground, dark);
  });

  test('keys: to the question, the last answer again, and none of one character for those who want none', async () => {
    const { page } = house;
    await house.open('every_message');
    await page.locator('.is-open').waitFor();
    await page.locator('#new').focus();
    await page.keyboard.press('/');
    await page.locator('.composer textarea:focus').waitFor();
    await page.keyboard.type('Dora');
    await page.keyboard.press('Enter');
    await page.locator('.log .prompt', { hasText: 'Tell me more about it.' }).waitFor();
    await page.locator('.composer textarea:focus').waitFor();
    await page.keyboard.press('ArrowUp');
    await becomes(() => page.locator('.composer textarea').inputValue(), 'Dora');
    await page.locator('#new').focus();
    await page.keyboard.press('?');
    await page.getByLabel('Use keys of one character').uncheck();
    await page.keyboard.press('Escape');
    await page.locator('#new').focus();
    await page.keyboard.press('?');
    await page.keyboard.press('n');
    await becomes(() => page.locator('dialog').count(), 0);
    assert.match(page.url(), /\/runs\//);
  });
});
