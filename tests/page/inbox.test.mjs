// @ts-check
/** Who is asked: a customer, a colleague and an admin before the real tiers. What each is offered, and the colleague's inbox. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { becomes } from './becomes.mjs';
import { launchBrowser, whatIsMissing } from './browser.mjs';
import { startRealHouse, whatRealNeeds } from './real-house.mjs';

const PASSWORD = 'open sesame';
const REFUNDS = `version: 1
name: refunds
title: Refunds
params: { type: object, properties: { number: { type: string, title: Invoice } }, required: [number] }
tools:
  refund:
    description: Refund an invoice
    params: { type: object, required: [number, amount], properties: { number: { type: string }, amount: { type: number, maximum: 500 } } }
    approve: { by: { groups: [support] }, not_by_starter: true }
    do: [ { return: "refunded {{ args.amount }} of {{ args.number }}" } ]
steps:
  - { id: done, call: { tool: refund, args: { number: "{{ params.number }}", amount: 120 } } }
  - text_input: { prompt: "{{ steps.done }}. Anything else?" }
  - return: done
`;
const PATIENT = REFUNDS.replace('name: refunds', 'name: patient').replace('not_by_starter: true', 'not_by_starter: true, remind: 2, escalate: { after: 6, to: { groups: [leads] } }');
const DESK = `version: 1
name: desk
title: Help desk
steps:
  - { id: what, text_input: { prompt: How can we help? } }
  - return: "{{ steps.what }}"
`;
const AUTH = `auth:
  mode: basic
  file: access.yaml
  admins: { groups: [operators] }
  access:
    - { workflows: ["*"] }
    - { workflows: ["*"], groups: [support, leads], may: [see, answer] }
    - { workflows: ["*"], groups: [viewers], may: [see] }
`;

const missing = await whatIsMissing() ?? whatRealNeeds();
if (missing) console.log(`skipped: who is asked, because ${missing}`);

describe('who is asked', { skip: missing ?? false, timeout: 180_000 }, () => {
  /** @type {import('playwright-core').Browser} */
  let browser;
  /** @type {Awaited<ReturnType<typeof startRealHouse>>} */
  let house;
  before(async () => {
    browser = /** @type {any} */ (await launchBrowser());
    const people = { 'ann/customers': PASSWORD, 'sue/support': PASSWORD, 'lea/leads': PASSWORD, 'root/operators': PASSWORD, 'vic/viewers': PASSWORD };
    house = await startRealHouse({ refunds: REFUNDS, patient: PATIENT, desk: DESK }, '', people, AUTH);
  });
  after(async () => {
    await browser?.close();
    await house?.close();
  });

  /** @param {string} name @param {string} path @param {Parameters<typeof browser.newContext>[0]} [more] */
  const visit = async (name, path, more = {}) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', ...more });
    context.setDefaultTimeout(30_000);
    const page = await context.newPage();
    await page.goto(house.url + path);
    await page.getByLabel('User').fill(name);
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.locator('#account .account-name').waitFor({ state: 'attached' });
    return page;
  };
  /** @param {import('playwright-core').Page} page @param {string} name */
  const shoot = async (page, name) => {
    if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${name}.png` });
  };
  /** @param {import('playwright-core').Page} page */
  const axeFindsNothing = async (page) => {
    await page.evaluate(readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
    const { violations } = await page.evaluate(() => /** @type {any} */ (window).axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
    assert.deepEqual(violations.map((/** @type {any} */ each) => `${each.id}: ${each.nodes.map((/** @type {any} */ node) => node.html).join(' ')}`), []);
  };
  /** Starts a run as the customer's page does. @param {import('playwright-core').Page} page @param {string} workflow @param {object} params */
  const start = (page, workflow, params) => page.evaluate(async ([name, values]) => {
    const { csrf } = await (await fetch('/auth/me')).json();
    for (;;) {
      const response = await fetch('/api/runs', { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-CSRF-Token': csrf }, body: JSON.stringify({ workflow: name, params: values }) });
      if (response.ok) return (await response.json()).id;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }, /** @type {const} */ ([workflow, params]));
  /** What a page offers to answer a question with. @param {import('playwright-core').Page} page */
  const offeredAnswers = (page) => page.locator('[data-decision], .asking, .composer textarea, .is-open input, .is-open textarea, .is-open button').evaluateAll((all) => all.map((each) => each.outerHTML));
  const rows = (/** @type {import('playwright-core').Page} */ page) => page.locator('.inbox .run-title').allInnerTexts();

  test('the customer sees whom it waits for, the colleague finds it in the inbox and decides, and each is offered what they may do', async () => {
    const ann = await visit('ann', '/');
    assert.equal(await ann.locator('.inbox-link').count(), 0, 'a customer has no inbox');
    const run = await start(ann, 'refunds', { number: 'INV-1001' });
    await ann.goto(`${house.url}/runs/${run}`);
    const forOthers = 'You can close this page; the conversation waits for the group "support".';
    await becomes(() => ann.locator('.run-status').innerText(), forOthers);
    await becomes(() => ann.locator('.asks').innerText(), 'asks the group "support"');
    await becomes(() => ann.locator('.state-chip').first().innerText(), 'waiting for the group "support"');
    await becomes(() => ann.locator('.approval-arguments').innerText(), /"number": "INV-1001"/);
    assert.equal(await ann.locator('[data-decision]').count(), 0, 'nothing to decide with');
    await shoot(ann, 'customer');
    await axeFindsNothing(ann);
    // Her list does not say that it waits for her.
    await becomes(() => ann.locator('#runs h2').allInnerTexts(), ['Today']);

    const root = await visit('root', `/runs/${run}`);
    await becomes(() => root.locator('.run-status').innerText(), forOthers);
    assert.ok(await root.locator('#stop').isVisible(), 'an admin may stop it');
    assert.deepEqual(await offeredAnswers(root), [], 'an admin who is not named decides nothing');
    await root.goto(`${house.url}/admin`);
    const waiting = root.locator('#questions li', { hasText: 'refunds · ann' });
    await waiting.waitFor();
    assert.deepEqual(await offeredAnswers(root), [], 'nor on the page of operators');
    await waiting.locator('.run-link').click();
    await becomes(() => root.locator('#timeline').innerText(), /May I call `refund`\?/);
    assert.deepEqual(await offeredAnswers(root), [], 'nor in what the run did');
    await root.context().close();

    const sue = await visit('sue', '/');
    const filters = sue.getByRole('search');
    await becomes(() => sue.locator('.inbox-link .state-chip').innerText(), '1');
    await sue.locator('.inbox-link').click();
    await becomes(() => rows(sue), ['May I call refund? (Refund an invoice)']);
    await becomes(() => sue.locator('.inbox .run-meta').innerText(), /^started by ann · asked /);
    await shoot(sue, 'inbox');
    await axeFindsNothing(sue);
    // What comes now is there without a reload.
    await start(ann, 'desk', {});
    await becomes(() => rows(sue), ['May I call refund? (Refund an invoice)', 'How can we help?']);
    await filters.getByLabel('Workflow').selectOption({ label: 'Help desk' });
    await becomes(() => rows(sue), ['How can we help?']);
    await filters.getByLabel('Workflow').selectOption('');
    await filters.getByLabel('Text').fill('refund');
    await becomes(() => rows(sue), ['May I call refund? (Refund an invoice)']);
    await filters.getByLabel('Started by').selectOption('ann');
    await filters.getByLabel('Asked').selectOption({ label: 'Over an hour ago' });
    await becomes(() => rows(sue), []);
    await becomes(() => sue.locator('.list-note[role=status]').innerText(), 'Nothing found.');
    await filters.getByLabel('Asked').selectOption({ label: 'Any time' });
    await sue.locator('.inbox a').first().click();
    await sue.waitForURL(new RegExp(`/runs/${run}`));
    await becomes(() => sue.locator('.bar-under').innerText(), /started by ann$/);
    await becomes(() => sue.locator('.state-chip').last().innerText(), 'waiting for you');
    await becomes(() => sue.locator('#stop').isVisible(), false, 'she may not stop it');
    await sue.locator('.menu summary').click();
    await becomes(() => sue.locator('.menu-entries button:visible').allInnerTexts(), ['Start another like it', 'Start another with changes…', 'Copy the link', 'Copy as Markdown', 'Download Markdown', 'Download HTML', 'Download JSON']);
    await sue.keyboard.press('Escape');
    await shoot(sue, 'colleague');
    await sue.locator('.is-open [data-decision=once]').click();
    await becomes(() => ann.locator('.answer-meta bdi').innerText(), 'sue');
    await ann.locator('.is-open textarea').waitFor();
    // What is ann's is not for sue by name, but she may answer for ann.
    await becomes(() => sue.locator('.is-open .asks').innerText(), 'asks ann');
    await Promise.all([ann.context().close(), sue.context().close()]);
  });

  test('who may only see is offered nothing to answer with', async () => {
    const ann = await visit('ann', '/');
    const [refund, desk] = [await start(ann, 'refunds', { number: 'INV-3003' }), await start(ann, 'desk', {})];
    const vic = await visit('vic', '/');
    assert.equal(await vic.locator('.inbox-link').count(), 0, 'whoever may answer nothing has no inbox');
    for (const [run, whom] of [[refund, 'asks the group "support"'], [desk, 'asks the user "ann"']]) {
      await vic.goto(`${house.url}/runs/${run}`);
      await becomes(() => vic.locator('.asks').innerText(), whom);
      assert.deepEqual(await offeredAnswers(vic), []);
      await becomes(() => vic.locator('#stop').isVisible(), false);
    }
    await ann.goto(`${house.url}/runs/${desk}`);
    await ann.locator('.is-open textarea').waitFor();
    assert.notDeepEqual(await offeredAnswers(ann), [], 'ann is asked');
    await Promise.all([ann.context().close(), vic.context().close()]);
  });

  test('who leads gets it when nobody answers, on a phone and in the dark, too', async () => {
    const ann = await visit('ann', '/');
    const run = await start(ann, 'patient', { number: 'INV-2002' });
    const lea = await visit('lea', `/runs/${run}`);
    await becomes(() => lea.locator('.asks').innerText(), 'asks the group "support"');
    await becomes(() => lea.locator('.run-status').innerText(), /^A reminder at [\d:]+.*: nobody has answered\./);
    const reminded = await ann.evaluate(async (run) => (await fetch(`/api/runs/${run}`)).json(), run);
    assert.match(reminded.question.reminded_at, /^\d{4}-/);
    await lea.locator('.is-open [data-decision=once]').waitFor();
    await becomes(() => lea.locator('.is-open .asks').innerText(), 'asks you');
    await ann.goto(`${house.url}/runs/${run}`);
    await becomes(() => ann.locator('.asks').innerText(), 'asks the group "support" or the group "leads"');
    const phone = await visit('lea', '/inbox', { viewport: { width: 390, height: 800 }, colorScheme: 'dark' });
    await becomes(() => phone.locator('.inbox .state-chip').allInnerTexts(), ['escalated']);
    await becomes(() => phone.locator('.inbox li', { hasText: 'escalated' }).locator('.run-detail').innerText(), 'Refunds', 'its title, not its name');
    assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than the phone');
    await becomes(() => phone.locator('.inbox li', { hasText: 'escalated' }).locator('.run-meta').innerText(), /reminded \d/);
    await shoot(phone, 'inbox-phone-dark');
    await axeFindsNothing(phone);
    await lea.locator('.is-open [data-decision=deny]').click();
    await lea.locator('.is-open [data-decision=deny]').click();
    await becomes(() => ann.locator('.ending .reason, .ending').first().innerText(), /did not allow this call|failed/i);
    await Promise.all([ann.context().close(), lea.context().close(), phone.context().close()]);
  });
});
