// @ts-check
/** The browser that the tests, the pictures and the driver share, and how a person's answers are given with it. */

import { existsSync } from 'node:fs';

const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** Parts third parties' storage and workers by the site that they stand on, as Chromium does by itself: Playwright turns that off. */
export const PARTED_BY_SITE = ['--disable-features=MediaRouter'];

/** Returns a browser, or null after saying what is missing. @param {string[]} [flags] */
export async function launchBrowser(flags = []) {
  const missing = await whatIsMissing();
  if (missing) {
    console.log(`skipped: ${missing}`);
    return null;
  }
  const { chromium } = await import('playwright-core');
  return chromium.launch({ executablePath: CHROMIUM, args: [...FLAGS, ...flags] });
}

/** @returns {Promise<string | null>} */
export async function whatIsMissing() {
  if (!existsSync(CHROMIUM)) return `no browser at ${CHROMIUM} (set CHROMIUM)`;
  try {
    await import('playwright-core');
    return null;
  } catch {
    return 'playwright-core is not installed (npm ci in tests/page)';
  }
}

/** Follows a link of the page's own, which is the only kind that may start something by itself. @param {import('playwright-core').Page} page @param {string} url */
export async function followOwnLink(page, url) {
  await page.goto(new URL('/assets/favicon.svg', url).href);
  await page.evaluate((to) => { location.assign(to); }, url);
}

/**
 * Answers the first open question as a person does, and waits until it is closed.
 * A text is written; a choice is taken by its text (a list takes several; an unknown one takes the first); a form gets the
 * fields of an object, and for what is required and not given something that fits.
 * @param {import('playwright-core').Page} page @param {any} answer
 */
export async function answerOpenQuestion(page, answer) {
  const question = page.locator('.is-question.is-open').first();
  await question.waitFor();
  const key = await question.getAttribute('data-key');
  const kind = await question.getAttribute('data-question');
  if (kind === 'multiple_choice') await takeChoices(question, answer);
  else if (kind === 'form') await fillForm(question, answer && typeof answer === 'object' ? answer : {});
  else await question.locator('.composer textarea, .composer input').fill(String(answer));
  await question.locator('button[type=submit]').click();
  await page.locator(`[data-key="${key}"]:not(.is-open)`).waitFor();
}

/** @param {import('playwright-core').Locator} question @param {any} answer */
async function takeChoices(question, answer) {
  const wanted = new Set([answer].flat().map(String));
  const boxes = await question.locator('.choice input').all();
  const values = await Promise.all(boxes.map((box) => box.getAttribute('value')));
  const isKnown = values.some((value) => value !== null && wanted.has(value));
  for (const [position, box] of boxes.entries()) {
    const take = isKnown ? wanted.has(values[position] ?? '') : position === 0;
    if (take) await box.check();
    else if (await box.getAttribute('type') === 'checkbox') await box.uncheck();
  }
}

/** @param {import('playwright-core').Locator} place @param {Record<string, any>} values */
export async function fillForm(place, values) {
  for (const field of await place.locator('[data-field]').all()) {
    const name = await field.getAttribute('data-field') ?? '';
    const isRequired = await field.getAttribute('data-required') !== null;
    const select = field.locator(':scope > select');
    const input = field.locator(':scope > input, :scope > textarea');
    if (await select.count() > 0) {
      if (name in values) await select.selectOption(String(values[name]));
      else if (isRequired && await select.inputValue() === '') await select.selectOption({ index: 1 });
    } else if (await input.count() > 0) {
      if (name in values) await input.fill(String(values[name]));
      else if (isRequired && await input.inputValue() === '') await input.fill(await somethingFor(input));
    } else if (name in values) {
      await field.locator('input[type=checkbox]').first().setChecked(Boolean(values[name]));
    }
  }
}

/** @param {import('playwright-core').Locator} input */
async function somethingFor(input) {
  const type = await input.getAttribute('type');
  const mode = await input.getAttribute('inputmode');
  if (mode) return '2';
  return { date: '2026-12-01', time: '10:30', 'datetime-local': '2026-12-01T10:30', email: 'ann@example.org', url: 'https://example.org/' }[type ?? ''] ?? 'something';
}
