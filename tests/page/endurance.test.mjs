// @ts-check
/** What a long day does to the page: reloads at every moment, long runs, long texts, ill will, small windows. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { becomes } from './becomes.mjs';
import { answerOpenQuestion } from './browser.mjs';
import { assertTextsAreTheLogs, describePage, flat, until } from './house.mjs';

await describePage('the page in the long run', (onNew) => {
  /** @type {import('./house.mjs').House} */
  let house;
  onNew((made) => { house = made; });

  test('a reload at every event shows what the log and the writer have, nothing twice', async () => {
    const { gateway, page } = house;
    const run = await house.open('step_by_step');
    let reloads = 0;
    for (let gate = gateway.gateOf(run.id); run.state !== 'ended'; gate = gateway.gateOf(run.id)) {
      await page.reload();
      reloads += 1;
      const writing = [...run.writing.values()].map((delta) => shown(delta.text));
      await page.locator('.opening').waitFor();
      await page.waitForFunction((count) => document.querySelectorAll('.writing').length === count, writing.length);
      await page.waitForFunction((count) => document.querySelectorAll('.log > .stretch > *').length === count, itemsOf(run));
      await becomes(async () => (await page.locator('.writing').allInnerTexts()).map(flat), writing, `after reload ${reloads}`);
      await becomes(async () => (await page.locator('.log .is-text .prose').allInnerTexts()).map(words), gateway.texts(run.id).map(words), `after reload ${reloads}`);
      gateway.open(run.id, gate ?? '');
      await until(() => run.state === 'ended' || gateway.gateOf(run.id) !== gate);
    }
    await page.locator('.ending').waitFor();
    console.log(`${reloads} reloads, one at every event`);
    assert.ok(reloads > 25);
  });

  /** Also what is not laid out, which has no text as it is seen. @param {any} run */
  const assertAllIsDrawn = (run) => becomes(async () => (await house.page.locator('.log .is-text .message-body > .prose').allTextContents()).map(flat), house.gateway.texts(run.id).map(flat));
  /** Everything in the log that is drawn as something of its own. @param {any} run */
  const itemsOf = (run) => run.log.filter((record) => record.message && record.kind !== 'ended' && record.message.type !== 'function_call_execution').length;
  /** Letters only: marks of Markdown, heads of code blocks and white space are no words. @param {string} text */
  const words = (text) => text.replace(/```\w*|\bCopy\b|\btext\b/g, '').replace(/[^\p{L}\p{N}]/gu, '');
  /** What is being written, as the page shows it. @param {string} text */
  const shown = (text) => flat(text.replace(/^- /gm, '').replace(/\*(\w+)\*/g, '$1').replace(/\*(\w*)\s*$/, '$1').replace(/\n-\s*$/, '\n').replace(/^```(\w*)\n?/, '$1\n').replace(/\n```\s*$/, ''));

  test('two thousand messages and one of 200 kB: the end is in sight, typing and scrolling stay smooth', async () => {
    const { gateway, page } = house;
    const run = gateway.start('many_messages');
    const began = Date.now();
    await page.goto(`${gateway.url}/runs/${run.id}`);
    await page.locator('.composer textarea').waitFor();
    const opened = Date.now() - began;
    // While nobody does anything, all of it is drawn and the messages get their sizes.
    await page.waitForFunction(() => document.querySelectorAll('.log > .stretch:not(.settled)').length === 0, null, { timeout: 60_000 });
    await assertAllIsDrawn(run);
    const figures = await page.evaluate(async () => {
      const scroller = /** @type {HTMLElement} */ (document.querySelector('.scroller'));
      const field = /** @type {HTMLTextAreaElement} */ (document.querySelector('.composer textarea'));
      const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
      /** @param {number} count @param {(position: number) => void} act */
      const framesOf = async (count, act) => {
        const took = [];
        await frame();
        for (let position = 0; position < count; position += 1) {
          const start = performance.now();
          act(position);
          await frame();
          took.push(performance.now() - start);
        }
        took.sort((one, other) => one - other);
        return { median: took[Math.floor(count / 2)], worst: took[count - 1] };
      };
      const typing = await framesOf(40, () => {
        field.value += 'x';
        field.dispatchEvent(new Event('input', { bubbles: true }));
      });
      const scrolling = await framesOf(200, () => {
        scroller.dispatchEvent(new WheelEvent('wheel'));
        scroller.scrollTop -= 300;
      });
      return { typing, scrolling };
    });
    console.log(`2000 messages: open in ${opened} ms; a key ${figures.typing.median.toFixed(1)} ms (worst ${figures.typing.worst.toFixed(0)}), `
      + `a frame of scrolling ${figures.scrolling.median.toFixed(1)} ms (worst ${figures.scrolling.worst.toFixed(0)})`);
    assert.ok(figures.typing.median < 60 && figures.scrolling.median < 60);
  });

  test('a long history is drawn where somebody looks, and whole for whoever takes it away', async () => {
    const { gateway, page } = house;
    // A browser that is never idle.
    await page.addInitScript(() => { window.requestIdleCallback = () => 0; });
    const run = gateway.start('many_messages');
    await page.goto(`${gateway.url}/runs/${run.id}`);
    await page.locator('.composer textarea').waitFor();
    const texts = page.locator('.log .is-text');
    assert.ok(await texts.count() < 2000, 'not all of it at once');
    const first = page.locator('.log > .stretch:first-child > :nth-child(2)');
    assert.equal(await first.getAttribute('data-kind'), null, 'its beginning is not drawn yet');
    await page.locator('.scroller').hover();
    await page.evaluate(() => document.querySelector('.scroller')?.scrollTo(0, 0));
    await page.locator('.log > .stretch:first-child > .is-text:nth-child(2)').waitFor();
    await page.getByLabel('More').click();
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download HTML' }).click()]);
    const html = await readFile(await download.path(), 'utf8');
    assert.equal(html.match(/<article [^>]*data-kind="text"/g)?.length, 2000);
    await assertAllIsDrawn(run);
  });

  test('a megabyte while it is being written, and afterwards', async () => {
    const { gateway, page } = house;
    const run = await house.open('held_stream');
    await page.locator('.writing', { hasText: 'word6' }).waitFor();
    const text = '[**`'.repeat(60_000);
    const worst = page.evaluate(() => new Promise((resolve) => {
      let last = performance.now();
      let longest = 0;
      const look = () => {
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
        if (document.querySelector('.writing[data-done]')) resolve(longest);
        else requestAnimationFrame(look);
      };
      look();
    }));
    const [delta] = run.writing.values();
    let offset = [...delta.text].length;
    for (let piece = 0; piece < 10; piece += 1) {
      gateway.whisper(run.id, { ...delta, offset, text: text.slice(0, 100_000) });
      offset += 100_000;
    }
    await page.waitForFunction(() => (document.querySelector('.writing')?.textContent?.length ?? 0) > 900_000);
    await page.evaluate(() => document.querySelector('.writing')?.setAttribute('data-done', ''));
    console.log(`a megabyte of half-open marks: the longest frame took ${Number(await worst).toFixed(0)} ms`);
    for (const gate of ['first', 'second', 'third', 'fourth']) gateway.open(run.id, gate);
    await page.locator('.ending').waitFor();
    await assertTextsAreTheLogs(house, run.id);
  });

  test('ill will runs nothing, fetches nothing, hides nothing, breaks nothing', async () => {
    const { gateway, page } = house;
    house.expectComplaint(/violates the following Content Security Policy directive/);
    const hosts = new Set();
    page.on('request', (request) => hosts.add(new URL(request.url()).host));
    const run = await house.open('hostile');
    await page.locator('.is-open').waitFor();
    for (const summary of await page.locator('.log summary').all()) await summary.click();
    assert.equal(await page.evaluate(() => 'hacked' in window), false);
    assert.equal(await page.locator('.log :is(img, script, iframe, style, form:not(.asking), input[name=x])').count(), 0);
    assert.equal(await page.locator('.log :is([style*=fixed], [onload], [onerror])').count(), 0);
    for (const name of ['one', 'two']) await becomes(() => page.locator('.log .prose a', { hasText: new RegExp(`^${name}$`) }).getAttribute('href'), null);
    await page.getByText('[picture: a cat]').waitFor();
    await becomes(() => page.locator('a[href^="https://elsewhere"]').getAttribute('rel'), 'noopener noreferrer nofollow');
    await page.locator('.tool-name', { hasText: 'pay\\u202eback' }).waitFor();
    await page.locator('.sender', { hasText: 'Mallory\\u202eyrollam' }).waitFor();
    await page.locator('.recipient', { hasText: 'Bank\\u200b' }).waitFor();
    await becomes(() => page.locator('.tool-inside code', { hasText: '"to"' }).innerText(), /"Ann\\u202e"/);
    await page.getByRole('button', { name: 'Show all of it (1.0 MB)' }).click();
    await becomes(() => page.locator('.prose.plain', { hasText: 'y'.repeat(200) }).evaluate((node) => node.textContent?.length), 1_000_000);
    await becomes(() => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
    await becomes(() => page.evaluate(() => [...document.querySelectorAll('.scroller')].every((each) => each.scrollWidth <= each.clientWidth)), true);
    gateway.answer(run, [...run.questions.keys()][0], 'x');
    await page.locator('.ending').waitFor();
    assert.deepEqual([...hosts], [new URL(gateway.url).host]);
  });

  describe('small windows', () => {
    // A window of 1280 × 1024 that is enlarged four times has 320 × 256 of these.
    for (const [name, width, height] of /** @type {const} */ ([['400 % zoom', 320, 256], ['a phone on its side', 640, 320]])) {
      test(`${name}: everything can be read, reached and answered`, async () => {
        const { page } = house;
        await page.setViewportSize({ width, height });
        await house.open('every_message');
        for (const answer of ['Ann', 'more', '7', 'sesame', 'A', ['apple']]) await answerOpenQuestion(page, answer);
        await page.locator('.fields').waitFor();
        await becomes(() => page.evaluate(() => [...document.querySelectorAll('.scroller')].every((each) => each.scrollWidth <= each.clientWidth)), true);
        await page.getByLabel('Anything else?').fill('yes');
        await becomes(() => page.getByLabel('Anything else?').isVisible(), true);
        const stop = await page.locator('#stop').boundingBox();
        assert.ok(stop && stop.x >= 0 && stop.x + stop.width <= width);
        await answerOpenQuestion(page, {});
        await page.locator('.ending').waitFor();
      });
    }

    test('a keyboard on the screen leaves the question in sight, whether the page becomes smaller for it or is covered by it', async () => {
      const { page } = house;
      await page.setViewportSize({ width: 390, height: 800 });
      await house.open('every_message');
      await page.locator('.composer textarea').click();
      const bottomOf = (/** @type {string} */ selector) => page.locator(selector).evaluate((each) => Math.round(each.getBoundingClientRect().bottom));
      assert.ok(await bottomOf('.composer') > 420, 'it stands where the keyboard will be');
      await page.setViewportSize({ width: 390, height: 420 });
      await becomes(async () => await bottomOf('.composer') <= 420, true);
      await page.setViewportSize({ width: 390, height: 800 });
      await becomes(async () => await bottomOf('.composer') > 420, true);
      const seen = (/** @type {number} */ height) => page.evaluate((now) => {
        Object.defineProperty(visualViewport, 'height', { configurable: true, get: () => now });
        visualViewport?.dispatchEvent(new Event('resize'));
      }, height);
      await seen(400);
      await becomes(() => bottomOf('body'), 400);
      await becomes(async () => await bottomOf('.composer') <= 400, true);
      assert.equal(await page.locator('.head').evaluate((each) => each.getBoundingClientRect().top), 0);
      await seen(800);
      await becomes(() => bottomOf('body'), 800);
      // The field that is written in counts, not the end.
      await house.open('two_questions');
      await page.locator('.is-open').nth(1).waitFor();
      await page.locator('.composer textarea').click();
      await page.setViewportSize({ width: 390, height: 330 });
      const isSeen = () => page.locator('.composer').evaluate((each) => {
        const { top, bottom } = each.getBoundingClientRect();
        return top >= (document.querySelector('.head')?.getBoundingClientRect().bottom ?? 0) && bottom <= innerHeight;
      });
      await becomes(isSeen, true);
    });

    test('nothing moves for those who do not want it', async () => {
      const { page } = house;
      const run = await house.open('held_stream');
      await page.locator('.writing', { hasText: 'word6' }).waitFor();
      const moving = await page.evaluate(() => document.getAnimations().filter((each) => each.playState === 'running').length);
      assert.equal(moving, 0);
      for (const gate of ['first', 'second', 'third', 'fourth']) house.gateway.open(run.id, gate);
      await page.locator('.ending').waitFor();
    });
  });
});
