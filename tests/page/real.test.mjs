// @ts-check
/** The page before the real tiers: what no played gateway can show. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import typescript from 'typescript';
import { becomes } from './becomes.mjs';
import { launchBrowser, whatIsMissing } from './browser.mjs';
import { flat, shownTexts, until } from './house.mjs';
import { playedProvider, tokenOf } from './played-provider.mjs';
import { startRealHouse, whatRealNeeds } from './real-house.mjs';

const missing = await whatIsMissing() ?? whatRealNeeds();
if (missing) console.log(`skipped: the page before the real tiers, because ${missing}`);

const EVIL = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>

[a link](javascript:window.hacked=1) [another](data:text/html,<script>window.hacked=1</script>) ![a cat](https://elsewhere.example/spy.png?what-was-said)
![here](/api/runs) <a href="#" onclick="window.hacked=1">click</a> <style>body{display:none}</style> <iframe src="https://elsewhere.example"></iframe>
<https://elsewhere.example/plain> \\u001b[31mred\\u202Eback

| <script>window.hacked=1</script> | b |
|---|---|
| \`<svg onload=window.hacked=1>\` | <br> |

\`\`\`js" onload="window.hacked=1
code
\`\`\``;

const WORKFLOWS = {
  writer: `version: 1
name: writer
agents: { Writer: { system_message: You write. } }
steps:
  - message: I begin.
  - id: text
    agent: { agent: Writer, message: Write. }
  - message: "It is written: {{ steps.text }}"
  - return: done
`,
  inner: `version: 1
name: inner
title: A look inside
steps:
  - message: { body: Deep **inside**., sender: Reviewer, recipient: Lawyer }
  - form:
      prompt: Where to?
      schema: { type: object, required: [street], properties: { street: { type: string, title: Street }, floor: { type: integer, title: Floor } } }
  - return: seen
`,
  outer: `version: 1
name: outer
steps:
  - workflow: { name: inner }
  - message: Outside again.
  - return: "**All** seen <i>here</i>."
`,
  pays: `version: 1
name: pays
tools:
  pay_back:
    description: Pays money back
    params: { type: object, required: [customer, amount], properties: { customer: { type: string, title: Customer }, amount: { type: number, title: Amount, maximum: 100 } } }
    approve: always
    do: [ { return: "{{ args.amount }} for {{ args.customer }}" } ]
steps:
  - { id: first, call: { tool: pay_back, args: { customer: Ann, amount: 49.5 } } }
  - { id: second, call: { tool: pay_back, args: { customer: Ben, amount: 3 } }, on_error: { value: "{{ error.message }}" } }
  - message: "First: {{ steps.first }}. Second: {{ steps.second }}"
  - return: done
`,
  wires: `version: 1
name: wires
tools:
  wire:
    description: Wires money
    params: { type: object, required: [account], properties: { account: { type: integer, title: Account }, to: { type: string, title: To }, amount: { type: number, title: Amount } } }
    approve: always
    do: [ { return: "{{ args.amount }} to {{ args.account }} of {{ args.to }}" } ]
steps:
  - { id: first, call: { tool: wire, args: { account: 9007199254740993, to: "p\\u0430ypal\\u3164", amount: 3 } } }
  - { id: second, call: { tool: wire, args: { account: 1234567890123456789, to: Ben, amount: 4 } } }
  - message: "First: {{ steps.first }}. Second: {{ steps.second }}"
  - return: done
`,
  figures: `version: 1
name: figures
params:
  type: object
  required: [order, count]
  properties: { order: { type: integer, title: Order }, rate: { type: number, title: Rate }, count: { type: integer, title: Count } }
agents: { Clerk: { system_message: You pay., tools: [pay] } }
tools:
  pay:
    description: Pays
    params: { type: object, properties: { order: { type: integer, title: Order }, rate: { type: number, title: Rate }, amount: { type: number, title: Amount } } }
    approve: always
    do: [ { return: "{{ args.amount }} at {{ args.rate }} for {{ args.order }}" } ]
steps:
  - message: "Given: {{ params.order }}, {{ params.rate }}, {{ params.count }}"
  - id: filled
    form: { prompt: Fill in, schema: { type: object, required: [whole, share], properties: { whole: { type: integer, title: Whole }, share: { type: number, title: Share } } } }
  - id: paid
    agent: { agent: Clerk, message: Pay. }
  - message: "Paid: {{ steps.paid }}, {{ steps.filled.whole }}"
  - return: { order: "{{ params.order }}", rate: "{{ params.rate }}", count: "{{ params.count }}", filled: "{{ steps.filled }}", paid: "{{ steps.paid }}" }
`,
  total: `version: 1
name: total
tools: { add: { description: Adds, approve: always, do: [ { return: 12345678901234567890 } ] } }
agents: { Clerk: { system_message: You add., tools: [add] } }
steps:
  - agent: { agent: Clerk, message: Add. }
  - return: 19.90
`,
  pays_often: `version: 1
name: pays_often
tools:
  pay_back: { description: Pays money back, params: { type: object, properties: { amount: { type: number } } }, approve: always, do: [ { return: "{{ args.amount }}" } ] }
steps:
  - { call: { tool: pay_back, args: { amount: 1 } } }
  - { call: { tool: pay_back, args: { amount: 2 } } }
  - message: All is paid.
  - return: done
`,
  secret: `version: 1
name: secret
steps:
  - id: word
    text_input: { prompt: The pass phrase?, password: true }
  - message: "Thank you; it has {{ steps.word | length }} letters."
  - return: done
`,
  notes: `version: 1
name: notes
steps:
  - message: ${JSON.stringify('- [x] sand is ordered\n- [ ] beach is swept\n- no task\n\nSee the rules.[^1]\n\n[^1]: Those of *today*.')}
  - return: done
`,
  hostile: `version: 1
name: hostile
description: ${JSON.stringify('<script>window.hacked=1</script>')}
steps:
  - message: { body: "${EVIL.replace(/\\(?!u)/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')}", sender: "<b>Mallory</b>", recipient: User }
  - text_input: { prompt: "${'**Name?** <img src=x onerror=window.hacked=1>'}", suggestions: ["<script>window.hacked=1</script>"] }
  - return: "<script>window.hacked=1</script>"
`,
};

describe('the page before the real tiers', { skip: missing ?? false, timeout: 120_000 }, () => {
  /** @type {import('playwright-core').Browser} */
  let browser;
  /** @type {Awaited<ReturnType<typeof startRealHouse>>} */
  let house;
  before(async () => {
    browser = /** @type {any} */ (await launchBrowser());
    house = await startRealHouse(WORKFLOWS, '  footer: Ours\n  embed_in: ["https://intranet.example.org", "http://localhost:*"]\n');
    for (const name of Object.keys(WORKFLOWS)) await house.knows(name);
  });
  after(async () => {
    await browser?.close();
    await house?.close();
  });

  async function newPage() {
    const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce' });
    context.setDefaultTimeout(30_000);
    const page = await context.newPage();
    return page;
  }
  /** @param {import('playwright-core').Page} page @param {string} workflow */
  async function start(page, workflow) {
    await page.goto(house.url);
    await page.locator(`[data-workflow=${workflow}]`).click();
    await page.waitForURL(/\/runs\//);
    return new URL(page.url()).pathname.split('/')[2];
  }

  // Before there are runs: how long their list is, is nothing of the page's.
  test('the first visit is quick and small', async () => {
    const page = await newPage();
    const session = await page.context().newCDPSession(page);
    await session.send('Network.enable');
    let bytes = 0;
    session.on('Network.loadingFinished', (event) => { bytes += event.encodedDataLength; });
    await page.goto(house.url);
    await page.locator('[data-workflow]').first().waitFor();
    const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0].startTime);
    // With what comes behind the start, for the first conversation.
    await page.waitForLoadState('networkidle');
    console.log(`first visit: ${(bytes / 1000).toFixed(0)} kB with everything, first paint after ${paint.toFixed(0)} ms`);
    assert.ok(bytes < 100_000, `${bytes} bytes`);
    await page.reload();
    await page.locator('[data-workflow]').first().waitFor();
    const again = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0].startTime);
    console.log(`second visit: first paint after ${again.toFixed(0)} ms`);
    const { headers } = await fetch(house.url);
    assert.match(headers.get('content-security-policy') ?? '', /frame-ancestors 'self' https:\/\/intranet\.example\.org http:\/\/localhost:\*$/);
    await page.getByText('Ours', { exact: true }).waitFor();
    await page.context().close();
  });

  test('a gateway killed in the middle of a text, and a new one: nothing is lost, nothing twice', async () => {
    const page = await newPage();
    const run = await start(page, 'writer');
    await until(() => house.model.isAsked());
    const words = Array.from({ length: 60 }, (_, position) => `word${position} `);
    const write = (from, to) => { for (const word of words.slice(from, to)) house.model.write(word); };
    write(0, 20);
    await page.locator('.writing', { hasText: 'word19' }).waitFor();
    await house.killGateway();
    write(20, 40);
    await page.locator('[data-connection=reconnecting]').waitFor();
    await house.startGateway();
    // Who comes late asks the run for what it has written so far, from its beginning.
    await page.locator('.writing', { hasText: 'word39' }).waitFor();
    await becomes(async () => flat(await page.locator('.writing').innerText()), words.slice(0, 40).join('').trim());
    await page.reload();
    await page.locator('.writing', { hasText: 'word39' }).waitFor();
    write(40, 60);
    house.model.finish();
    await page.locator('.ending').waitFor();
    const whole = words.join('').trim();
    const texts = (await house.log(run)).filter((record) => record.message?.type === 'text_message').map((record) => flat(record.message.content.body));
    await becomes(() => shownTexts(page), texts);
    assert.ok(texts.includes(whole));
    await page.context().close();
  });

  test('a tool call is allowed with another argument, and another one is denied with a reason', async () => {
    const page = await newPage();
    const run = await start(page, 'pays');
    await page.locator('.is-open .approval', { hasText: 'pay_back' }).waitFor();
    await becomes(() => page.locator('.approval-arguments').innerText(), /49\.5/);
    await page.getByRole('button', { name: 'Change the arguments' }).click();
    await page.getByLabel('Amount').fill('40');
    await page.getByRole('button', { name: 'Allow once' }).click();
    await page.locator('.is-open .approval', { hasText: 'Ben' }).waitFor();
    await page.getByRole('button', { name: 'Deny' }).click();
    await page.getByLabel(/^Why not/).fill('he has it already');
    await page.getByRole('button', { name: 'Deny it' }).click();
    await page.locator('.ending').waitFor();
    const said = (await shownTexts(page)).at(-1) ?? '';
    assert.match(said, /^First: 40(\.0)? for Ann\. Second: .*he has it already/);
    const answers = (await house.log(run)).filter((record) => record.kind === 'answered');
    assert.deepEqual(answers.map((record) => record.value?.decision), ['once', 'deny']);
    await page.context().close();
  });

  test('the digits and letters that are shown are those of the call, and what nobody touched stays as it is', async () => {
    const page = await newPage();
    const run = await start(page, 'wires');
    const shown = page.locator('.is-open .approval-arguments');
    await becomes(async () => flat(await shown.innerText()), /"account": 9007199254740993, "to": "p\\u0430ypal\\u3164", "amount": 3/);
    const marks = page.locator('.is-open .approval mark.written-out');
    assert.deepEqual(await marks.allInnerTexts(), ['\\u0430', '\\u3164']);
    assert.match(await marks.nth(1).getAttribute('title') ?? '', /^U\+3164: /);
    // The card of the call does not say another number than the question.
    await page.getByRole('button', { name: 'Change the arguments' }).click();
    await becomes(() => page.getByLabel('Account').inputValue(), '9007199254740993');
    await becomes(() => marks.count(), 2);
    await page.getByLabel('Amount').fill('5');
    // An answer to something else than what is shown counts for nothing.
    const answers = '**/api/runs/*/answers/*';
    await page.route(answers, (route) => {
      const body = route.request().postDataJSON();
      return route.continue({ postData: JSON.stringify({ value: { ...body.value, digest: '0'.repeat(64) } }) });
    });
    await page.getByRole('button', { name: 'Allow once' }).click();
    await page.getByText(/look at the question again/i).waitFor();
    await page.unroute(answers);
    await page.getByRole('button', { name: 'Allow once' }).click();
    const second = page.locator('.is-open .approval', { hasText: 'Ben' });
    await second.waitFor();
    await second.getByRole('button', { name: 'Change the arguments' }).click();
    // While it is edited, the name is in a field.
    await page.getByLabel('Account').fill('1234567890123456788');
    await page.getByRole('button', { name: 'Allow once' }).click();
    await page.locator('.ending').waitFor();
    const said = (await shownTexts(page)).at(-1) ?? '';
    assert.match(said, /^First: 5(\.0)? to 9007199254740993 of p\u0430ypal\u3164\. Second: 4(\.0)? to 1234567890123456788 of Ben/);
    const log = (await house.log(run)).filter((record) => record.kind === 'answered');
    assert.deepEqual(log.map((record) => /"account": (\d+)/.exec(record.arguments_text)?.[1]), ['9007199254740993', '1234567890123456788']);
    assert.ok(log.every((record) => /^[0-9a-f]{64}$/.test(record.value.digest)));
    await page.context().close();
  });

  test('numbers are digit for digit those of a link, a field or a call, wherever they are shown, changed or taken away', async () => {
    const page = await newPage();
    const [order, rate, count, whole, share, amount] = ['2512292042121000001', '0.10', '1.0', '123456789012345678901234567890', '0.1234567890123456789012345678901', '20.50000000000000000001'];
    const field = (/** @type {string} */ label) => page.getByLabel(new RegExp(`^${label}`));
    await page.goto(`${house.url}/?workflow=figures&order=${order}&rate=${rate}`);
    await becomes(() => Promise.all([field('Order').inputValue(), field('Rate').inputValue()]), [order, rate], 'of the link');
    await field('Count').fill(count);
    await page.getByRole('button', { name: 'Start', exact: true }).click();
    await page.locator('.is-open').waitFor();
    await page.getByText(`Given: ${order}, ${rate}, ${count}`).waitFor();
    await field('Whole').fill(whole);
    await field('Share').fill(share);
    await page.getByRole('button', { name: 'Send' }).click();
    await until(() => house.model.isAsked());
    house.model.call('pay', `{"order": ${order}, "rate": ${rate}, "amount": ${share}}`);
    house.model.finish();
    const shown = page.locator('.is-open .approval-arguments');
    await becomes(async () => flat(await shown.innerText()), new RegExp(`"order": ${order}, "rate": ${rate}, "amount": ${share}`));
    await becomes(() => page.locator('.filled-in').locator('dd').allInnerTexts(), [whole, share], 'the form that was filled in');
    await page.getByRole('button', { name: 'Change the arguments' }).click();
    await becomes(() => Promise.all(['Order', 'Rate', 'Amount'].map((label) => field(label).inputValue())), [order, rate, share], 'the fields of the call');
    await field('Amount').fill(amount);
    await page.getByRole('button', { name: 'Allow once' }).click();
    await until(() => house.model.isAsked());
    house.model.write(`${amount} for ${order}`);
    house.model.finish();
    await page.locator('.ending').waitFor();
    await page.getByText(`Paid: ${amount} for ${order}, ${whole}`).waitFor();
    const cards = (await page.locator('.tool-card').allTextContents()).join();
    for (const number of [order, rate, amount]) assert.ok(cards.includes(number), `${number} in the card of the call: ${cards}`);
    const result = await page.locator('.ending').evaluate((ending) => ending.textContent ?? '');
    for (const number of [order, rate, count, whole, share, amount]) assert.ok(result.includes(number), `${number} in the result: ${result}`);
    for (const name of ['Download Markdown', 'Download HTML', 'Download JSON']) {
      await page.getByLabel('More').click();
      const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name }).click()]);
      const taken = await readFile(await download.path(), 'utf8');
      for (const number of [order, rate, count, whole, share, amount]) assert.ok(taken.includes(number), `${number} in ${name}`);
    }
    await page.context().close();
  });

  test('a number alone is a result, of a call and of a run', async () => {
    const page = await newPage();
    await start(page, 'total');
    await until(() => house.model.isAsked());
    house.model.call('add', '{}');
    house.model.finish();
    await page.getByRole('button', { name: 'Allow once' }).click();
    await until(() => house.model.isAsked());
    house.model.write('It is added.');
    house.model.finish();
    await becomes(async () => flat(await page.locator('.ending .result').innerText()), 'Result 19.90');
    await becomes(() => page.locator('.tool-card .tool-result').innerText(), '12345678901234567890');
    await page.context().close();
  });

  test('what is allowed always is not asked again in this run', async () => {
    const page = await newPage();
    const run = await start(page, 'pays_often');
    await page.getByRole('button', { name: 'Allow always in this run' }).click();
    await page.locator('.ending').waitFor();
    assert.deepEqual((await shownTexts(page)).slice(-1), ['All is paid.']);
    const asked = (await house.log(run)).filter((record) => record.kind === 'answered');
    assert.deepEqual(asked.map((record) => record.value.decision), ['always']);
    await page.context().close();
  });

  test('a password is in nothing that can be taken away', async () => {
    const page = await newPage();
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    const run = await start(page, 'secret');
    await page.locator('input[type=password]').fill('open-sesame');
    await page.keyboard.press('Enter');
    await page.locator('.ending').waitFor();
    await page.getByText('Thank you; it has 11 letters.').waitFor();
    const taken = [await page.content()];
    for (const name of ['Download Markdown', 'Download HTML', 'Download JSON']) {
      await page.getByLabel('More').click();
      const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name }).click()]);
      taken.push(await readFile(await download.path(), 'utf8'));
    }
    await page.getByLabel('More').click();
    await page.getByRole('button', { name: 'Copy as Markdown' }).click();
    await page.getByText('The conversation was copied.').waitFor();
    taken.push(await page.evaluate(() => navigator.clipboard.readText()));
    const admin = await house.adminToken();
    for (const path of [`/api/runs/${run}`, `/api/runs/${run}/events?follow=false`, `/api/audit/runs/${run}`, '/api/audit/export?format=jsonl', '/api/audit/export?format=csv']) {
      const answer = await fetch(`${house.url}${path}`, { headers: { Authorization: `Bearer ${admin}` } });
      assert.equal(answer.status, 200, path);
      taken.push(await answer.text());
    }
    for (const [position, text] of taken.entries()) {
      assert.ok(text.includes('pass phrase') || text.includes(run), `the ${position}th is of this run`);
      assert.ok(!text.includes('open-sesame'), `the ${position}th has the password`);
    }
    assert.equal(taken.filter((text) => text.includes('••• (given)')).length, 4, 'the page, Markdown twice, HTML');
    await page.context().close();
  });

  test('lists of tasks and footnotes', async () => {
    const page = await newPage();
    await start(page, 'notes');
    await page.locator('.ending').waitFor();
    const tasks = page.locator('.log .task');
    await becomes(() => tasks.allInnerTexts(), ['☑ sand is ordered', '☐ beach is swept']);
    assert.deepEqual(await tasks.evaluateAll((all) => all.map((each) => getComputedStyle(each).listStyleType)), ['none', 'none']);
    const note = page.locator('.log .footnote-definition');
    await becomes(async () => flat(await note.innerText()), '1 Those of today.');
    assert.equal(await note.locator('em').count(), 1);
    assert.equal(await page.locator('.log sup').first().innerText(), '1');
    await page.context().close();
  });

  test('a called workflow is folded, opens where it asks, and its form is answered', async () => {
    const page = await newPage();
    const run = await start(page, 'outer');
    const fold = page.locator('.log > .stretch > .nested');
    await fold.locator('.nested-title', { hasText: 'A look inside' }).waitFor();
    await fold.getByLabel('Street').fill('High St');
    await fold.getByLabel('Floor').fill('x');
    await page.getByRole('button', { name: 'Send' }).click();
    await becomes(() => fold.locator('[data-field=floor] .problem').innerText(), 'Write a number.');
    await fold.getByLabel('Floor').fill('3');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.locator('.ending').waitFor();
    await becomes(() => fold.locator('.filled-in').locator('dt, dd').allInnerTexts(), ['Street', 'High St', 'Floor', '3']);
    await becomes(() => page.locator('.log > .stretch > .is-text .prose').allInnerTexts(), ['Outside again.']);
    // A result is Markdown as a message is.
    await becomes(() => page.locator('.ending .result .prose').innerText(), 'All seen <i>here</i>.');
    await becomes(() => page.locator('.ending .result strong').innerText(), 'All');
    await becomes(async () => (await (await fetch(`${house.url}/api/runs/${run}`)).json()).title, 'High St, 3');
    await page.context().close();
  });

  test('ill will in Markdown: nothing runs, nothing comes from elsewhere, no policy is even asked', async () => {
    const page = await newPage();
    const hosts = new Set();
    /** @type {string[]} */
    const complaints = [];
    page.on('request', (request) => hosts.add(new URL(request.url()).host));
    page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()); });
    page.on('dialog', (dialog) => { complaints.push('a dialog'); dialog.dismiss(); });
    await start(page, 'hostile');
    await page.locator('.is-open').waitFor();
    for (const link of await page.locator('.log a[href]').all()) {
      assert.match(await link.getAttribute('href') ?? '', /^https:\/\/elsewhere\.example(\/|$)/);
      assert.equal(await link.getAttribute('rel'), 'noopener noreferrer nofollow');
    }
    await becomes(async () => await page.locator('.log a[href]').count() > 0, true, 'links that are none stay links');
    assert.equal(await page.locator('.log :is(img, script, style, iframe, svg[onload], [onclick])').count(), 0);
    await page.locator('.suggestions button').click();
    await page.locator('.ending').waitFor();
    assert.equal(await page.evaluate(() => 'hacked' in window), false);
    assert.deepEqual([[...hosts], complaints], [[new URL(house.url).host], []]);
    await page.context().close();
  });

  test('on a site of another origin, a conversation goes from its start to its end', async () => {
    const server = createServer((_, response) => response.writeHead(200, { 'Content-Type': 'text/html' })
      .end(`<!doctype html><title>A shop</title><script src="${house.url}/assets/embed.js"></script><fastagency-chat workflow="outer"></fastagency-chat>`));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const page = await newPage();
    await page.goto(`http://localhost:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`);
    const frame = page.frameLocator('iframe');
    await frame.getByRole('button', { name: 'Start', exact: true }).click();
    await frame.getByLabel('Street').fill('High St');
    await frame.getByRole('button', { name: 'Send' }).click();
    await frame.locator('.ending').waitFor();
    await page.context().close();
    server.closeAllConnections();
    server.close();
  });

  test('what is sent of a script does what its source does', async () => {
    const folder = new URL('../../src/ui/assets/', import.meta.url);
    const bare = (/** @type {string} */ source) =>
      typescript.transpile(source, { target: typescript.ScriptTarget.ESNext, module: typescript.ModuleKind.ESNext, removeComments: true });
    const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.js'));
    assert.ok(names.length > 30);
    let [written, sent] = [0, 0];
    for (const name of names) {
      const source = await readFile(new URL(name, folder), 'utf8');
      const served = await (await fetch(`${house.url}/assets/${name}`)).text();
      assert.equal(bare(served), bare(source), name);
      assert.equal(served.split('\n').length, source.split('\n').length, name);
      written += source.length;
      sent += served.length;
    }
    // Without the comments that have lines of their own.
    assert.ok(sent < written * 0.9, `${sent} of ${written}`);
  });
});

const ASKS = `version: 1
name: asks
steps:
  - text_input: { prompt: "What now?" }
  - return: done
`;

describe('signing in before the real tiers', { skip: missing ?? false, timeout: 240_000 }, () => {
  test('with a password; a session that ends in the middle; an answer that is given after all; and out again', async () => {
    const browser = /** @type {import('playwright-core').Browser} */ (await launchBrowser());
    const house = await startRealHouse({ asks: ASKS }, '', { ann: 'open sesame' });
    try {
      const context = await browser.newContext({ reducedMotion: 'reduce' });
      context.setDefaultTimeout(30_000);
      const page = await context.newPage();
      // A browser that puts a window of its own before the page would never get further than this.
      await page.goto(house.url);
      const signIn = async (password) => {
        await page.getByLabel('User').fill('ann');
        await page.getByLabel('Password', { exact: true }).fill(password);
        await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      };
      await signIn('wrong');
      await page.getByText('Wrong user name or password.').waitFor();
      await signIn('open sesame');
      await page.locator('[data-workflow=asks]').click();
      await becomes(() => page.locator('.account-name').innerText(), 'ann');
      await becomes(() => page.locator('.account-groups').innerText(), 'teachers');
      await page.locator('.composer textarea').fill('half an answer');
      const cookies = await context.cookies();
      assert.ok(cookies.length > 0 && cookies.every((cookie) => cookie.httpOnly && cookie.sameSite === 'Lax'));
      assert.equal(await page.evaluate(() => document.cookie), '');
      await context.clearCookies();
      await page.locator('form.asking').evaluate((form) => /** @type {HTMLFormElement} */ (form).requestSubmit());
      await page.getByRole('heading', { name: 'Sign in again' }).waitFor();
      await signIn('open sesame');
      await page.locator('.answer-text', { hasText: 'half an answer' }).waitFor();
      await page.locator('.ending').waitFor();
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.getByRole('heading', { name: /^Sign in to/ }).waitFor();
      await becomes(() => context.cookies(), []);
    } finally {
      await browser.close();
      await house.close();
    }
  });

  /**
   * The first visit, a session that ends in mid-conversation, and the way out, however it is that people sign in.
   * @param {string} auth @param {(page: import('playwright-core').Page) => Promise<void>} signIn @param {string} user
   * @param {boolean} elsewhere whether they leave the page for it
   */
  async function fromFirstVisitToSigningOut(auth, signIn, user, elsewhere) {
    const browser = /** @type {import('playwright-core').Browser} */ (await launchBrowser());
    const house = await startRealHouse({ asks: ASKS }, '', {}, auth);
    try {
      const context = await browser.newContext({ reducedMotion: 'reduce' });
      context.setDefaultTimeout(30_000);
      const page = await context.newPage();
      await page.goto(house.url);
      await page.getByRole('heading', { name: /^Sign in to/ }).waitFor();
      await signIn(page);
      await page.locator('[data-workflow=asks]').click();
      await becomes(() => page.locator('.account-name').innerText(), user);
      await becomes(() => page.locator('.account-groups').innerText(), 'teachers');
      await page.locator('.composer textarea').fill('half an answer');
      assert.equal(await page.evaluate(() => document.cookie), '');
      const run = new URL(page.url()).pathname;
      await context.clearCookies();
      await page.locator('form.asking').evaluate((form) => /** @type {HTMLFormElement} */ (form).requestSubmit());
      await page.getByRole('heading', { name: 'Sign in again' }).waitFor();
      await signIn(page);
      await page.waitForURL((url) => url.pathname === run);
      const answer = page.locator('.answer-text', { hasText: 'half an answer' });
      if (elsewhere) {
        // Back in the same place, with the draft; nothing was sent in between.
        const draft = page.locator('.composer textarea');
        await draft.waitFor();
        await becomes(() => draft.inputValue(), 'half an answer');
        await draft.press('Enter');
      }
      await answer.waitFor();
      await page.locator('.ending').waitFor();
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.getByRole('heading', { name: /^Sign in to/ }).waitFor();
      await becomes(async () => (await context.cookies()).filter((cookie) => house.url.includes(cookie.domain)), []);
    } finally {
      await browser.close();
      await house.close();
    }
  }

  test('with a token that another server has signed', async () => {
    const secret = 'a secret of two servers, long enough to be one';
    const token = (/** @type {string} */ key) => tokenOf({ sub: 'carol', groups: ['teachers'] }, 'HS256', (text) => createHmac('sha256', key).update(text).digest('base64url'));
    await fromFirstVisitToSigningOut(`auth: { mode: jwt, jwt: { algorithms: [HS256], secret: "${secret}" } }\n`, async (page) => {
      const field = page.getByLabel('Access key');
      await field.fill(token('of somebody else, who would like to come in, too'));
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await page.getByText('Wrong key or token.').waitFor();
      await field.fill(token(secret));
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    }, 'carol', false);
  });

  test('at a provider, and back to where one was', async () => {
    const provider = await playedProvider({ client: 'fastagency', user: { sub: '4711', email: 'carol@example.org', email_verified: true, groups: ['teachers'] } });
    try {
      await fromFirstVisitToSigningOut(`auth: { mode: oidc, oidc: { issuer: "${provider.issuer}", client_id: fastagency, user_claim: email } }\n`, async (page) => {
        await page.getByRole('button', { name: 'Sign in', exact: true }).click();
        await page.getByRole('link', { name: 'Go on as Carol' }).click();
      }, 'carol@example.org', true);
      assert.equal(provider.logins(), 2);
    } finally {
      provider.close();
    }
  });
});
