// @ts-check
/** What every browser test needs: one Chromium for the file, and for each test a played gateway, a fresh context and a page. */

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe } from 'node:test';
import { becomes } from './becomes.mjs';
import { launchBrowser, whatIsMissing } from './browser.mjs';
import { createMockGateway } from './mock-gateway.mjs';

/**
 * @typedef {import('playwright-core').Page} Page
 * @typedef {ReturnType<typeof createMockGateway>} Gateway
 *
 * @typedef {object} House
 * @property {import('playwright-core').Browser} browser
 * @property {import('playwright-core').BrowserContext} context
 * @property {Page} page
 * @property {Gateway} gateway
 * @property {() => Promise<Page>} newPage
 * @property {(pattern: RegExp) => void} expectComplaint   the browser says no, and the test wants to see that nothing came of it
 * @property {(workflow: string, on?: Page) => Promise<any>} open   starts a run and opens it
 */

/**
 * Describes tests in a browser; they are skipped, and say so, where there is none. A fault that the browser complains of fails
 * the test that it happened in.
 * @param {string} title
 * @param {(onNew: (take: (house: House) => void) => void) => void} define   `onNew` hands out the house of each test
 * @param {Parameters<typeof createMockGateway>[0]} [options]
 */
export async function describePage(title, define, options) {
  const missing = await whatIsMissing();
  if (missing) console.log(`skipped: ${title}, because ${missing}`);
  describe(title, { skip: missing ?? false }, () => {
    /** @type {((house: House) => void)[]} */
    const takers = [];
    /** @type {House} */
    let house;
    /** @type {string[]} */
    let complaints;
    /** @type {RegExp[]} */
    let expected;
    /** @type {import('playwright-core').Browser} */
    let browser;

    before(async () => { browser = /** @type {any} */ (await launchBrowser()); });
    after(() => browser?.close());
    beforeEach(async () => {
      const gateway = createMockGateway(options);
      await gateway.listen();
      complaints = [];
      expected = [];
      const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce' });
      context.setDefaultTimeout(15_000);
      const newPage = async () => {
        const made = await context.newPage();
        made.on('pageerror', (error) => complaints.push(String(error)));
        made.on('console', (message) => {
          // A refused or lost request is what many of these tests are about; everything else is a fault.
          if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) complaints.push(message.text());
        });
        return made;
      };
      const page = await newPage();
      house = { browser, context, page, gateway, newPage, expectComplaint: (pattern) => expected.push(pattern), open: async (workflow, on = page) => {
        const run = gateway.start(workflow);
        await on.goto(`${gateway.url}/runs/${run.id}`);
        await on.locator('.opening').waitFor();
        return run;
      } };
      for (const take of takers) take(house);
    });
    afterEach(async () => {
      await house.context.close();
      await house.gateway.close();
      assert.deepEqual(complaints.filter((words) => !expected.some((pattern) => pattern.test(words))), [], 'the browser complained');
    });
    define((take) => takers.push(take));
  });
}

/** @param {() => any} condition */
export async function until(condition) {
  const deadline = Date.now() + 15_000;
  while (!await condition()) {
    if (Date.now() > deadline) assert.fail(`this never became true: ${condition}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A text as it is compared: without marks, with single spaces. @param {string} text */
export const flat = (text) => text.replace(/\*\*/g, '').replace(/\s+/g, ' ').trim();

/** What the conversation shows of finished texts, once its history is drawn. @param {Page} page */
export const shownTexts = async (page) => {
  await page.locator('.log:not([aria-busy])').waitFor();
  return (await page.locator('.log .is-text .prose').allInnerTexts()).map(flat);
};

/** What must never be otherwise. @param {House} house @param {string} runId @param {Page} [on] */
export async function assertTextsAreTheLogs({ gateway, page }, runId, on = page) {
  await becomes(() => shownTexts(on), gateway.texts(runId).map(flat));
}
