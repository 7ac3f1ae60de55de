// @ts-check
/**
 * Takes pictures of the page in every state worth looking at: `node tests/page/shoot.mjs DIR`. With `--docs` it takes those that
 * the documents show, into docs/images.
 */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { answerOpenQuestion, followOwnLink, launchBrowser } from './browser.mjs';
import { createMockGateway } from './mock-gateway.mjs';

/** What the documents show. */
const DOCS = ['start', 'conversation', 'tool-card', 'nested', 'question-text', 'question-choice', 'question-choices', 'question-password', 'question-form',
  'approval', 'error', 'dark', 'phone', 'phone-question', 'sign-in'];
const isForDocs = process.argv[2] === '--docs';
const folder = isForDocs ? fileURLToPath(new URL('../../docs/images', import.meta.url)) : process.argv[2] ?? 'pictures';
await mkdir(folder, { recursive: true });
const browser = await launchBrowser();
if (!browser) process.exit(0);
const gateway = createMockGateway();
await gateway.listen();
/** What a team would offer, for the picture of the start. */
const offering = createMockGateway({ listed: ['simple_learning', 'refund', 'weather_report', 'two_questions', 'night_shift'] });
await offering.listen();

/** @param {{scheme?: 'light' | 'dark', width?: number, height?: number}} look */
async function page({ scheme = 'light', width = 1280, height = 860 } = {}) {
  const made = await browser.newPage({ colorScheme: scheme, viewport: { width, height }, reducedMotion: 'reduce' });
  made.on('console', (message) => { if (message.type() === 'error') console.log('console:', message.text()); });
  made.on('pageerror', (error) => console.log('error:', error));
  return made;
}

/** As a reader does it: with a wheel under the hand. @param {HTMLElement | SVGElement} scroller @param {number} top */
const scrollTo = (scroller, top) => {
  scroller.dispatchEvent(new WheelEvent('wheel'));
  scroller.scrollTop = top;
};

const first = await page();
/** @param {import('playwright-core').Page} on @param {string} name */
const shoot = async (on, name) => {
  if (isForDocs && !DOCS.includes(name)) return;
  // The list tells a moment later what the conversation has told already.
  await on.waitForFunction(() => {
    const words = (/** @type {string} */ selector) => document.querySelector(selector)?.textContent?.trim() ?? '';
    const state = document.querySelector('#bar .state-chip')?.getAttribute('data-state');
    const entry = document.querySelector('.run[aria-current]');
    return !state || (entry?.getAttribute('data-state') === state && words('.run[aria-current] .run-title') === words('#bar h1')
      && (state !== 'waiting' || [...document.querySelectorAll('.is-open .prompt')].some((each) => each.textContent?.trim().startsWith(words('.run[aria-current] .run-detail').slice(0, 20)))));
  });
  // Nothing is under the hand.
  await on.mouse.move(1, 500);
  await on.screenshot({ path: join(folder, `${name}.png`) });
  console.log(name);
};

for (const workflow of ['refund', 'simple_learning']) offering.start(workflow);
await first.goto(offering.url);
await first.locator('[data-workflow]').first().waitFor();
await first.locator('.run').nth(1).waitFor();
await shoot(first, 'start');
await offering.close();
await first.goto(`${gateway.url}/?workflow=weather_report`);
await first.locator('.start-form').waitFor();
await first.getByRole('button', { name: 'Start' }).click();
await shoot(first, 'start-form');

await first.goto(gateway.url);
await first.locator('[data-workflow=simple_learning]').click();
await first.locator('.is-open').waitFor();
await shoot(first, 'question-text');
await answerOpenQuestion(first, 'triangles');
await first.locator('.choices').waitFor();
await shoot(first, 'question-choice');
const learning = first.url();
for (const [name, look] of /** @type {const} */ ([['dark', { scheme: 'dark' }], ['phone', { width: 390, height: 844 }], ['narrow', { width: 320, height: 640 }]])) {
  const other = await page(look);
  await other.goto(learning);
  await other.locator('.choices').waitFor();
  await shoot(other, `${name}-question`);
  await other.locator('.scroller').evaluate(scrollTo, 0);
  await shoot(other, name);
  if (look.width) {
    await other.locator('#open-drawer').click();
    await shoot(other, `${name}-drawer`);
  }
  await other.close();
}
await first.locator('.scroller').evaluate(scrollTo, 0);
await shoot(first, 'conversation');
await first.locator('.tool-card summary').click();
await first.locator('.tool-card').evaluate((card) => card.closest('article')?.scrollIntoView({ block: 'center' }));
await shoot(first, 'tool-card');
await answerOpenQuestion(first, 'Heron’s formula');
await first.locator('.ending').waitFor();
await shoot(first, 'ending');

await followOwnLink(first, `${gateway.url}/?workflow=every_message`);
await first.locator('.is-open').waitFor();
await first.locator('.scroller').evaluate(scrollTo, 0);
await shoot(first, 'every-message');
for (const [position, answer] of ['Ann', 'It has\ntwo lines', '7', 'sesame', 'A', ['apple', 'plum']].entries()) {
  await first.locator('.is-open').waitFor();
  await shoot(first, ['question-suggestions', 'question-long', 'question-number', 'question-password', 'question-grade', 'question-choices'][position]);
  await answerOpenQuestion(first, answer);
}
await first.locator('.is-open .fields').waitFor();
await first.getByRole('button', { name: 'Send' }).click();
await shoot(first, 'question-form');
await followOwnLink(first, `${gateway.url}/?workflow=failing`);
await first.locator('.ending').waitFor();
await shoot(first, 'error');
await followOwnLink(first, `${gateway.url}/?workflow=refund`);
await first.locator('.nested').waitFor();
gateway.open(/** @type {any} */ ([...gateway.runs.values()].at(-1)).id, 'inside');
await first.locator('.approval').waitFor();
await shoot(first, 'approval');
await first.getByRole('button', { name: 'Change the arguments' }).click();
await first.getByLabel('Amount').fill('400');
await first.getByRole('button', { name: 'Allow once' }).click();
await shoot(first, 'approval-editing');
await first.getByLabel('Amount').fill('40');
await first.getByRole('button', { name: 'Allow once' }).click();
await first.locator('.is-open .approval', { hasText: 'write_letter' }).waitFor();
await first.getByRole('button', { name: 'Allow once' }).click();
await first.locator('.ending').waitFor();
await shoot(first, 'tool-failed');
await first.locator('.nested > summary').first().click();
await first.locator('.scroller').evaluate(scrollTo, 0);
await shoot(first, 'nested');
await followOwnLink(first, `${gateway.url}/?workflow=two_questions`);
await first.locator('.is-open').nth(1).waitFor();
await shoot(first, 'two-questions');
await first.keyboard.press('Escape');
await first.locator('dialog').waitFor();
await shoot(first, 'stop-dialog');
await first.keyboard.press('Escape');
await followOwnLink(first, `${gateway.url}/?workflow=held_stream`);
await first.locator('.writing').waitFor();
await shoot(first, 'writing');
await followOwnLink(first, `${gateway.url}/?workflow=hostile`);
await first.locator('.is-open').waitFor();
await first.locator('.scroller').evaluate(scrollTo, 0);
await shoot(first, 'hostile');
await first.goto(`${gateway.url}/runs/nothing`);
await first.locator('.notice').waitFor();
await shoot(first, 'no-such-run');
await first.keyboard.press('?');
await first.locator('dialog').waitFor();
await shoot(first, 'keys');
const guarded = createMockGateway({ login: 'form' });
await guarded.listen();
await first.goto(guarded.url);
await first.locator('dialog.sign-in').waitFor();
await first.getByRole('heading', { name: 'Sign in to Geometry desk' }).waitFor();
await shoot(first, 'sign-in');
await browser.close();
await Promise.all([gateway.close(), guarded.close()]);
