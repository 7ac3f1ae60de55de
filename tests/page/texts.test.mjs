// @ts-check
/** Texts that are no English prose, before the real tiers: which way they run, their lines, prices and addresses, while they are written and after. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { becomes } from './becomes.mjs';
import { launchBrowser, whatIsMissing } from './browser.mjs';
import { startRealHouse, whatRealNeeds } from './real-house.mjs';

const missing = await whatIsMissing() ?? whatRealNeeds();
if (missing) console.log(`skipped: texts before the real tiers, because ${missing}`);

/** What a model writes, and the lines that people see of it, while it is written and after. */
const TEXTS = /** @type {[string, string, string[]][]} */ ([
  ['an address of three lines', 'Lamps & Co\nElm Street 5\n10000 Zagreb', ['Lamps & Co', 'Elm Street 5', '10000 Zagreb']],
  ['a poem with two spaces, and with backslashes', 'Roses  \nViolets\\\nSugar', ['Roses', 'Violets', 'Sugar']],
  ['lines in a list, and in a quotation', '- Ann\n  Elm Street\n- Ben\n\n> one\n> two', ['Ann', 'Elm Street', 'Ben', 'one', 'two']],
  ['lines with bold over their ends', '**one\ntwo** three\nfour', ['one', 'two three', 'four']],
  ['prices', 'US$20–US$30, or A$5/NZ$6\n$10/$20/$30; was **$19** (~$5)', ['US$20–US$30, or A$5/NZ$6', '$10/$20/$30; was $19 (~$5)']],
  ['emphasis beside full-width marks', '**注意：**请看**“说明”**，*强调（重）*的\n**마크다운(Markdown)**을', ['注意：请看“说明”，强调（重）的', '마크다운(Markdown)을']],
  ['addresses', 'See https://example.org/a_b?x=1, www.example.org.\nann@example.org（邮箱）https://example.com/docs了解', ['See https://example.org/a_b?x=1, www.example.org.', 'ann@example.org（邮箱）https://example.com/docs了解']],
  ['lines of both directions', 'مرحبا! استخدم FastAgency (v2).\nElm Street 5\nשלום, עולם!', ['مرحبا! استخدم FastAgency (v2).', 'Elm Street 5', 'שלום, עולם!']],
]);
const LINKS = ['https://example.org/a_b?x=1', 'http://www.example.org/', 'mailto:ann@example.org', 'https://example.com/docs'];

const RIGHT_TO_LEFT = `# عنوان FastAgency

مرحبا! استخدم \`FastAgency\` (v2).

\`npm ci\` ثم أعد التشغيل.

[الوثائق](https://example.org/docs)

https://example.org/صفحة هنا

- البند الأول
- second item
  - متداخل

1. أولا

   فقرة ثانية

> اقتباس (1)

| الاسم | السعر |
|---|---|
| مصباح | 12.50 |

\`\`\`js
f(x); // تعليق
\`\`\`

English again, with שלום inside.

2026-11-29`;

const WORKFLOWS = {
  writes: `version: 1
name: writes
agents: { Writer: { system_message: You write. } }
steps:
  - agent: { agent: Writer, message: Write. }
  - return: done
`,
  asks: `version: 1
name: asks
title: "שאלון (1)"
description: "תיאור של FastAgency."
tools:
  pay_back:
    description: Pays money back
    params: { type: object, properties: { customer: { type: string, title: "לקוח" } } }
    approve: always
    do: [ { return: ok } ]
steps:
  - message: ${JSON.stringify(RIGHT_TO_LEFT)}
  - text_input: { prompt: "مرحبا! ما اسمك؟", suggestions: ["أحمد (1)"] }
  - multiple_choice: { prompt: "أي غرفة؟", choices: ["صغيرة!", large] }
  - form: { prompt: "لمن؟", schema: { type: object, required: [street], properties: { street: { type: string, title: "الشارع", description: "مع الرقم." }, note: { type: string, maxLength: 500, title: Note } } } }
  - { call: { tool: pay_back, args: { customer: "دانا" } }, on_error: { value: denied } }
  - text_input: { prompt: And now? }
  - return: done
`,
};

describe('texts before the real tiers', { skip: missing ?? false, timeout: 240_000 }, () => {
  /** @type {import('playwright-core').Browser} */
  let browser;
  /** @type {Awaited<ReturnType<typeof startRealHouse>>} */
  let house;
  before(async () => {
    browser = /** @type {any} */ (await launchBrowser());
    house = await startRealHouse(WORKFLOWS);
    for (const name of Object.keys(WORKFLOWS)) await house.knows(name);
  });
  after(async () => {
    await browser?.close();
    await house?.close();
  });

  /** @param {string} workflow */
  async function start(workflow) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce' });
    context.setDefaultTimeout(30_000);
    const page = await context.newPage();
    await page.goto(house.url);
    await page.locator(`[data-workflow=${workflow}]`).click();
    await page.waitForURL(/\/runs\//);
    return page;
  }
  const lines = async (/** @type {import('playwright-core').Locator} */ place) => (await place.innerText()).split('\n').map((line) => line.trim()).filter(Boolean);

  for (const [what, text, expected] of TEXTS) {
    test(`${what}: the same lines while it is written and after`, async () => {
      const page = await start('writes');
      await becomes(() => house.model.isAsked(), true);
      for (let from = 0; from < text.length; from += 7) house.model.write(text.slice(from, from + 7));
      await becomes(() => lines(page.locator('.writing')), expected, 'while it is written');
      const directionsWhile = await lineDirections(page, '.writing');
      if (what === 'addresses') assert.equal(await page.locator('.writing .link-to-be').count(), 4);
      house.model.finish();
      const finished = page.locator('.is-text .prose');
      await finished.waitFor();
      await becomes(() => lines(finished), expected, 'after');
      assert.deepEqual(await lineDirections(page, '.is-text .prose'), directionsWhile);
      if (what === 'lines of both directions') assert.deepEqual(directionsWhile, ['right', 'left', 'right']);
      if (what === 'addresses') assert.deepEqual(await finished.locator('a').evaluateAll((links) => links.map((link) => /** @type {HTMLAnchorElement} */ (link).href)), LINKS);
      assert.equal(await finished.locator('math, code').count(), 0);
      await page.context().close();
    });
  }

  /** To which side each line of a text stands. @param {import('playwright-core').Page} page @param {string} selector */
  const lineDirections = (page, selector) => page.locator(selector).evaluate((place) => {
    const box = place.getBoundingClientRect();
    const range = document.createRange();
    range.selectNodeContents(place);
    /** @type {Map<number, {left: number, right: number}>} */
    const found = new Map();
    for (const { bottom, left, right, width } of range.getClientRects()) {
      // Blocks have boxes, too, as wide as the text.
      if (width < 2 || width > box.width * 0.9) continue;
      const line = Math.round(bottom / 12);
      const known = found.get(line) ?? { left, right };
      found.set(line, { left: Math.min(left, known.left), right: Math.max(right, known.right) });
    }
    return [...found.values()].map(({ left, right }) => left - box.left <= box.right - right ? 'left' : 'right');
  });

  test('right-to-left texts run from the right: every block, prompt, field and answer', async () => {
    const page = await start('asks');
    const text = page.locator('.is-text .prose');
    await text.waitFor();
    const directions = (/** @type {string} */ selector, place = text) => place.locator(selector).evaluateAll((all) => all.map((each) => getComputedStyle(each).direction));
    assert.deepEqual(await directions('h1'), ['rtl']);
    assert.deepEqual(await directions(':scope > p'), ['rtl', 'rtl', 'rtl', 'rtl', 'ltr', 'ltr'], 'words, code first, a link alone, an address first, English, a date');
    assert.deepEqual(await directions('ul, ol'), ['rtl', 'rtl', 'rtl']);
    assert.deepEqual(await directions('li'), ['rtl', 'ltr', 'rtl', 'rtl']);
    assert.deepEqual(await directions('ol p'), ['rtl', 'rtl']);
    assert.deepEqual(await directions('blockquote, blockquote p'), ['rtl', 'rtl']);
    assert.deepEqual(await directions('table, th, td'), ['rtl', 'rtl', 'rtl', 'rtl', 'rtl']);
    assert.deepEqual(await directions('pre, pre code, .code-head'), ['ltr', 'ltr', 'ltr']);
    assert.deepEqual(await directions('p > code'), ['ltr', 'ltr']);
    // The line of a quotation, and the marks of a list, stand at the side where its words begin.
    assert.equal(await text.locator('blockquote').evaluate((quote) => parseFloat(getComputedStyle(quote).borderRightWidth) > 0), true);
    const [first, second] = await text.locator('ul > li').evaluateAll((items) => items.slice(0, 2).map((item) => [getComputedStyle(item).marginLeft, getComputedStyle(item).marginRight].map(parseFloat)));
    assert.ok(first[0] === 0 && first[1] > 10 && second[0] > 10 && second[1] === 0, `${first} ${second}`);
    // The full stop stands behind the words, which is at their left.
    assert.ok(await text.locator('p').first().evaluate((paragraph) => {
      const end = document.createRange();
      const last = /** @type {Text} */ (paragraph.lastChild);
      end.setStart(last, last.length - 1);
      end.setEnd(last, last.length);
      const begin = document.createRange();
      begin.setStart(/** @type {Text} */ (paragraph.firstChild), 0);
      begin.setEnd(/** @type {Text} */ (paragraph.firstChild), 1);
      return end.getBoundingClientRect().right <= begin.getBoundingClientRect().left;
    }));

    if (process.env.PICTURES) {
      await page.locator('.scroller').evaluate((each) => each.scrollTo(0, 0));
      await page.screenshot({ path: `${process.env.PICTURES}/right-to-left.png` });
    }
    const open = page.locator('.is-open');
    assert.deepEqual(await directions('.prompt p, .chip', open), ['rtl', 'rtl']);
    const field = open.locator('textarea');
    await field.fill('اسمي أحمد.\nElm Street');
    assert.equal(await field.evaluate((each) => getComputedStyle(each).direction), 'rtl');
    assert.equal(await field.evaluate((each) => getComputedStyle(each).unicodeBidi), 'plaintext');
    await field.press('Enter');
    const answer = page.locator('.answer-text .prose').first();
    await answer.waitFor();
    assert.equal(await answer.evaluate((each) => getComputedStyle(each).direction), 'rtl');
    assert.equal(await answer.evaluate((each) => getComputedStyle(each).unicodeBidi), 'plaintext', 'each line by its own letters');

    await open.locator('.choice').first().waitFor();
    assert.deepEqual(await directions('.prompt p, .choice-words > span', open), ['rtl', 'rtl', 'ltr']);
    await open.locator('.choice').first().click();
    await open.locator('button[type=submit]').click();
    await open.locator('[data-field=street]').waitFor();
    await open.locator('[data-field=street] input').fill('شارع 5');
    await open.locator('[data-field=note] textarea').fill('שלום');
    assert.deepEqual(await directions('.prompt p, [data-field=street] :is(label, .help, input), [data-field=note] :is(label, textarea)', open), ['rtl', 'rtl', 'rtl', 'rtl', 'ltr', 'rtl']);
    await open.locator('button[type=submit]').click();
    await page.locator('.filled-in dd').first().waitFor();
    assert.deepEqual(await directions('dt, dd .prose', page.locator('.filled-in')), ['rtl', 'rtl', 'ltr', 'rtl']);
    await open.getByRole('button', { name: 'Change the arguments' }).click();
    assert.deepEqual(await directions('[data-field=customer] :is(label, input)', open), ['rtl', 'rtl']);
    await open.locator('[data-decision=deny]').click();
    await open.locator('.approval-reason input').fill('לא, תודה!');
    assert.deepEqual(await directions('.approval-reason input', open), ['rtl']);
    await open.locator('[data-decision=deny]').click();
    await page.locator('.prompt', { hasText: 'And now?' }).waitFor();
    assert.deepEqual(await page.locator('.answer-text bdi').evaluateAll((all) => all.map((each) => [each.textContent, getComputedStyle(each).direction])), [['לא, תודה!', 'rtl']]);

    assert.deepEqual(await directions('.opening h2, .opening p, .bar-title', page.locator('body')), ['rtl', 'rtl', 'rtl']);
    if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/right-to-left-end.png` });
    await page.locator('.menu summary').click();
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download HTML' }).click()]);
    const file = await readFile(await download.path(), 'utf8');
    const kept = await browser.newPage();
    await kept.setContent(file);
    assert.deepEqual(await directions(':scope > p', kept.locator('.is-text .prose')), ['rtl', 'rtl', 'rtl', 'rtl', 'ltr', 'ltr'], 'in what is taken away, too');
    await kept.close();
    await page.goto(house.url);
    await page.locator('[data-workflow=asks]').waitFor();
    assert.deepEqual(await directions('[data-workflow=asks] :is(.card-title, .card-words)', page.locator('body')), ['rtl', 'rtl']);
    await page.context().close();
  });
});
