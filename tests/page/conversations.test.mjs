// @ts-check
/** Approvals, conversations inside the conversation, tool cards and what a text looks like while it is written. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { becomes } from './becomes.mjs';
import { describePage, flat } from './house.mjs';

await describePage('tools and conversations inside the conversation', (onNew) => {
  /** @type {import('./house.mjs').House} */
  let house;
  onNew((made) => { house = made; });

  /** Up to the question whether money may be paid. */
  async function openRefund() {
    const run = await house.open('refund');
    house.gateway.open(run.id, 'inside');
    await house.page.locator('.is-open .approval').waitFor();
    return run;
  }
  const answersOf = (run) => run.log.filter((record) => record.kind === 'answered').map((record) => record.value);

  test('an approval allows nothing by a key that was meant for something else', async () => {
    const { page } = house;
    const run = await openRefund();
    await page.keyboard.press('Enter');
    await page.keyboard.press('Space');
    await page.keyboard.press('1');
    await becomes(() => page.evaluate(() => document.activeElement?.getAttribute('data-decision')), 'once');
    assert.deepEqual(answersOf(run), []);
    await page.locator('.tool-state.is-asked', { hasText: 'waits for approval' }).waitFor();
    await page.keyboard.press('Enter');
    await page.locator('.answer-text', { hasText: 'Allowed once' }).waitFor();
    assert.deepEqual(answersOf(run), [{ decision: 'once' }]);
    await page.locator('.tool-state.is-done', { hasText: 'allowed, done' }).waitFor();
  });

  test('arguments are changed in a form, checked at the field, and shown as changed', async () => {
    const { page } = house;
    const run = await openRefund();
    await page.getByRole('button', { name: 'Change the arguments' }).click();
    await page.getByLabel('Amount').fill('400');
    await page.getByRole('button', { name: 'Allow once' }).click();
    await becomes(() => page.locator('[data-field=amount] .problem').innerText(), 'It must be 100 or less.');
    assert.deepEqual(answersOf(run), []);
    await page.getByLabel('Amount').fill('40');
    await page.getByRole('button', { name: 'Allow always in this run' }).click();
    await page.getByText('With other arguments').waitFor();
    assert.deepEqual(answersOf(run), [{ decision: 'always', arguments: { customer: 'Ann', order: 4711, amount: 40 } }]);
    await page.reload();
    await page.locator('.tool-result', { hasText: 'paid: 40' }).waitFor();
    // Without a schema they are changed as JSON.
    await page.getByRole('button', { name: 'Change the arguments' }).click();
    await page.getByLabel('Arguments, as JSON').fill('{ "to": ');
    await page.getByRole('button', { name: 'Allow once' }).click();
    await page.getByText('This is not JSON').waitFor();
    await page.getByLabel('Arguments, as JSON').fill('{ "to": "Ben" }');
    await page.getByRole('button', { name: 'Allow once' }).click();
    await page.locator('.ending').waitFor();
    assert.deepEqual(answersOf(run)[1], { decision: 'once', arguments: { to: 'Ben' } });
  });

  test('a denial asks why, and the agents are told', async () => {
    const { page } = house;
    const run = await openRefund();
    await page.getByRole('button', { name: 'Deny' }).click();
    await page.keyboard.type('too much');
    assert.deepEqual(answersOf(run), []);
    await page.keyboard.press('Enter');
    await page.locator('.answer-text', { hasText: 'Denied: too much' }).waitFor();
    assert.deepEqual(answersOf(run), [{ decision: 'deny', reason: 'too much' }]);
    await page.locator('.tool-state.is-denied').waitFor();
  });

  test('what failed is unfolded; what worked says its result in one line', async () => {
    const { page } = house;
    await openRefund();
    await page.getByRole('button', { name: 'Allow once' }).click();
    await page.locator('.is-open .approval', { hasText: 'write_letter' }).waitFor();
    await page.getByRole('button', { name: 'Allow once' }).click();
    await page.locator('.ending').waitFor();
    await becomes(() => page.locator('.log > .stretch > article .tool-card').evaluateAll((cards) => cards.map((card) => [card.getAttribute('data-tool-state'), card.hasAttribute('open')])), [['done', false], ['failed', true]]);
    await becomes(async () => flat(await page.locator('.tool-result').nth(1).innerText()), 'paid: 49.9, to: "Ann"');
    await page.locator('.tool-inside', { hasText: 'the printer is out of paper' }).waitFor();
  });

  test('a conversation inside is folded, says what goes on in it, and can be unfolded', async () => {
    const { page, gateway } = house;
    const run = await house.open('refund');
    const fold = page.locator('.log > .stretch > .nested');
    // What is written inside is not shown outside.
    await fold.locator('.nested-tail .writing').waitFor({ state: 'attached' });
    await becomes(() => page.locator('.writing-area .writing').count(), 0);
    await becomes(() => fold.evaluate((node) => /** @type {HTMLDetailsElement} */ (node).open), false);
    gateway.open(run.id, 'inside');
    await fold.locator('.nested-count', { hasText: '6 messages' }).waitFor();
    await becomes(async () => flat(await fold.locator('> summary .nested-last').innerText()), 'Lawyer: We have done so eleven times this year. Pay.');
    await fold.locator('> summary').click();
    await becomes(() => fold.locator('.nested-title').allInnerTexts(), ['Is this covered by our terms?', 'Have we done so before?']);
    await fold.locator('.nested > summary').click();
    await fold.locator('.prose').getByText('Eleven times this year, each within a day.', { exact: true }).waitFor();
    await becomes(() => page.locator('.log > .stretch > .is-text').count(), 2);
    await page.locator('.menu summary').click();
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download Markdown' }).click()]);
    assert.match(readFileSync(await download.path(), 'utf8'), /## Lawyer → Archivist \(inside Is this covered by our terms\? › Have we done so before\?\)/);
  });

  test('a text looks while it is written as it will look, and what is done is not touched again', async () => {
    const { page, gateway } = house;
    const run = await house.open('held_stream');
    await page.locator('.writing strong', { hasText: 'Ünïcödé 😀' }).waitFor();
    const [delta] = run.writing.values();
    const send = (text) => {
      gateway.whisper(run.id, { ...delta, offset: [...delta.text].length, text });
      delta.text += text;
    };
    send('\n\n- first\n- second\n\n```js\nlet a');
    await page.locator('.writing pre', { hasText: 'let a' }).waitFor();
    const list = await page.locator('.writing ul').elementHandle();
    send(' = 1;\n\nlet b = 2;\n```\n\n| x | y |\n|---|---|\n| 1 |');
    await page.locator('.writing td', { hasText: '1' }).waitFor();
    await becomes(() => page.locator('.writing pre').innerText(), 'let a = 1;\n\nlet b = 2;');
    assert.ok(await list?.evaluate((node) => node.isConnected), 'the list was drawn anew');
    send('\n\n- [x] done\n- [ ] op');
    await becomes(() => page.locator('.writing .task').allInnerTexts(), ['☑ done', '☐ op']);
    await becomes(() => page.locator('.writing ul').count(), 2);
    await becomes(() => page.locator('.caret').count(), 1);
    for (const gate of ['first', 'second', 'third', 'fourth']) gateway.open(run.id, gate);
    await page.locator('.ending').waitFor();
  });

  test('formulas are drawn; what is none stays as it was written; none of it is markup', async () => {
    const { page } = house;
    await page.goto(house.gateway.url);
    const drawn = await page.evaluate(async () => {
      const { mathOf } = await import(/** @type {any} */ ('/assets/text/math.js'));
      /** @param {string} text */
      const shape = (text) => {
        const math = mathOf(text, false);
        math?.removeAttribute('alttext');
        return math?.innerHTML.replace(/ xmlns="[^"]*"/g, '') ?? null;
      };
      return [
        '\\frac{a}{2}', 'x_i^2', '\\sqrt[3]{8}', '\\alpha\\le\\infty', '\\text{if } x', '\\mathbb{R}', '\\begin{pmatrix} a & b \\\\ c & d \\end{pmatrix}',
        '\\frac{1}', '{', 'a & b', '\\left( x', 'x'.repeat(5000), '{'.repeat(60) + '}'.repeat(60), '\\begin{tikzpicture}\\end{tikzpicture}', '<img>', '\\constructor',
      ].map(shape);
    });
    assert.deepEqual(drawn, [
      '<mfrac><mi>a</mi><mn>2</mn></mfrac>', '<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>', '<mroot><mn>8</mn><mn>3</mn></mroot>',
      '<mrow><mi>α</mi><mo>≤</mo><mi>∞</mi></mrow>', '<mrow><mtext>if&nbsp;</mtext><mi>x</mi></mrow>', '<mi mathvariant="normal">ℝ</mi>',
      '<mrow><mo stretchy="true" fence="true">(</mo><mtable><mtr><mtd><mi>a</mi></mtd><mtd><mi>b</mi></mtd></mtr><mtr><mtd><mi>c</mi></mtd><mtd><mi>d</mi></mtd></mtr></mtable><mo stretchy="true" fence="true">)</mo></mrow>',
      null, null, null, null, null, null, null, '<mrow><mo>&lt;</mo><mi>i</mi><mi>m</mi><mi>g</mi><mo>&gt;</mo></mrow>', '<mtext>\\constructor</mtext>',
    ]);
    const run = await house.open('simple_learning');
    for (const answer of ['triangles', 'Heron’s formula']) {
      const question = [...run.questions.entries()].find(([, each]) => !each.answered);
      if (question) house.gateway.answer(run, question[0], answer);
      await page.waitForFunction((count) => document.querySelectorAll('.answer').length >= count, answer === 'triangles' ? 1 : 2);
      if (answer === 'triangles') await page.locator('.is-open .choices').waitFor();
    }
    await page.locator('.ending').waitFor();
    await becomes(() => page.locator('.log .formula math msqrt').count(), 1);
    await becomes(() => page.locator('.log p > span:not(.formula) > math').count(), 4);
  });

  for (const scheme of /** @type {const} */ (['light', 'dark'])) {
    test(`axe finds nothing at an approval and inside folds in ${scheme}`, async () => {
      const { page } = house;
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
      await openRefund();
      for (const summary of await page.locator('.log summary').all()) if (await summary.isVisible()) await summary.click();
      await page.getByRole('button', { name: 'Deny' }).click();
      const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => /** @type {any} */ (window).axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
      assert.deepEqual(violations.map((each) => `${each.id}: ${each.nodes.map((node) => `${node.html.slice(0, 140)} ${node.failureSummary}`).join('\n')}`), []);
    });
  }
});
