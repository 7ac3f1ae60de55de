// @ts-check
/**
 * The ways that people go most, in the browsers that are not Chromium: signing in, starting, a text that is written, answers, a choice, a
 * form, an approval, a reload, and out again; before the real tiers, with keys and a pointer.
 *
 * PICTURES=FOLDER node run.mjs browsers.test.mjs   keeps what was to be seen
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { join } from 'node:path';
import { becomes } from './becomes.mjs';
import { startRealHouse, whatRealNeeds } from './real-house.mjs';
import { BROWSERS } from './web-drivers.mjs';

const missing = whatRealNeeds();
if (missing) console.log(`skipped: the page in other browsers, because ${missing}`);

const LETTER = 'שלום! ברוכים הבאים ל-FastAgency.\nElm Street 5\n\n- פריט ראשון\n- second item\n\n请看**注意：**这里 https://example.org/docs，US$20–US$30.\n\n$a^2$';

const WORKFLOWS = {
  journey: `version: 1
name: journey
title: A journey
params: { type: object, required: [place], properties: { place: { type: string, title: Place } } }
agents: { Writer: { system_message: You write. } }
tools:
  pay_back:
    description: Pays money back
    params: { type: object, required: [customer, amount], properties: { customer: { type: string, title: Customer }, amount: { type: number, title: Amount } } }
    approve: always
    do: [ { return: "{{ args.amount }} for {{ args.customer }}" } ]
steps:
  - { id: text, agent: { agent: Writer, message: "Write of {{ params.place }}." } }
  - { id: name, text_input: { prompt: "مرحبا! ما اسمك؟", suggestions: [Ann] } }
  - { id: room, multiple_choice: { prompt: Which room?, choices: [small, large] } }
  - { id: where, form: { prompt: Where to?, schema: { type: object, required: [street], properties: { street: { type: string, title: Street }, floor: { type: integer, title: Floor } } } } }
  - { id: first, call: { tool: pay_back, args: { customer: Ann, amount: 49.5 } } }
  - { id: second, call: { tool: pay_back, args: { customer: Ben, amount: 3 } }, on_error: { value: "{{ error.message }}" } }
  - message: "{{ steps.name }}, {{ steps.room }}, {{ steps.where.street }}: {{ steps.first }}; {{ steps.second }}"
  - return: done
`,
};

describe('the page in other browsers', { skip: missing ?? false }, () => {
  for (const [name, { missing: whatIsMissing, launch }] of Object.entries(BROWSERS)) {
    const away = whatIsMissing();
    if (away) console.log(`skipped: the page in ${name}, because ${away}`);
    describe(name, { skip: away ?? false, timeout: 120_000 }, () => {
      /** @type {Awaited<ReturnType<typeof startRealHouse>>} */
      let house;
      /** @type {import('./web-drivers.mjs').Person} */
      let person;
      before(async () => {
        [house, person] = await Promise.all([startRealHouse(WORKFLOWS, '', { ann: 'open sesame' }), launch()]);
      });
      after(async () => {
        await Promise.all([person?.close(), house?.close()]);
      });
      const picture = async (/** @type {string} */ what) => {
        if (process.env.PICTURES) await person.photograph(join(process.env.PICTURES, `${name.split(' ')[0]}-${what}.png`));
      };
      const signIn = async (/** @type {string} */ password) => {
        await person.click('dialog input[name=username]');
        await person.evaluate(() => { for (const field of document.querySelectorAll('dialog input')) /** @type {HTMLInputElement} */ (field).value = ''; });
        await person.write('dialog input[name=username]', 'ann');
        await person.write('dialog input[name=password]', password);
        await person.click('dialog button[type=submit]');
      };

      test('sign-in: a wrong password is said, the right one shows the workflows', async () => {
        await person.goTo(house.url);
        await person.sees('dialog h1', 'Sign in to');
        await signIn('wrong');
        await person.sees('dialog .problem', 'Wrong user name or password.');
        await picture('sign-in');
        await signIn('open sesame');
        await person.sees('.account-name', 'ann');
        await person.sees('[data-workflow=journey]');
        assert.equal(await person.evaluate(() => document.cookie), '', 'scripts cannot read the session');
      });

      test('start: a card, its form, and the run has an address', async () => {
        await person.click('[data-workflow=journey]');
        await person.click('.start-form button[type=submit]');
        await person.sees('[data-field=place] .problem', 'This is needed.');
        await person.write('[data-field=place] input', 'חיפה');
        assert.equal(await direction('[data-field=place] input'), 'rtl');
        await picture('form');
        await person.click('.start-form button[type=submit]');
        await person.until('the address of the run', () => location.pathname.startsWith('/runs/'));
        await person.sees('.bar-under', 'started by you');
      });

      test('stream: a text is written live, and stands there once when it is finished', async () => {
        await becomes(() => house.model.isAsked(), true);
        const half = LETTER.indexOf('second');
        house.model.write(LETTER.slice(0, half));
        await person.sees('.writing li', 'פריט ראשון');
        await picture('writing');
        assert.deepEqual(await directions('.writing'), [['P', 'rtl', 2], ['LI', 'rtl', 1], ['LI', 'ltr', 1]]);
        house.model.write(LETTER.slice(half));
        await person.sees('.writing p', 'a^2');
        assert.ok(await person.evaluate(() => document.querySelector('.writing .link-to-be')?.textContent === 'https://example.org/docs'));
        house.model.finish();
        await person.sees('.is-text .prose', '请看注意：这里');
        assert.equal(await person.evaluate(() => document.querySelectorAll('.writing').length), 0);
        assert.deepEqual(await directions('.is-text .prose'), [['P', 'rtl', 2], ['LI', 'rtl', 1], ['LI', 'ltr', 1], ['P', 'ltr', 1]]);
        assert.deepEqual(await person.evaluate(() => [...document.querySelectorAll('.is-text .prose :is(strong, a)')].map((each) => [each.textContent, each.getAttribute('href')])),
          [['注意：', null], ['https://example.org/docs', 'https://example.org/docs']]);
        assert.match(String(await person.text('.is-text .prose')), /US\$20–US\$30/);
        await person.until('the formula', () => document.querySelector('.is-text math msup')?.getBoundingClientRect().width);
        await picture('text');
      });

      test('answer: what is written is sent with Enter, and is not lost by a reload before', async () => {
        assert.equal(await direction('.is-open .prompt'), 'rtl');
        await person.write('.composer textarea', 'Ann of Elm Street');
        const before = await person.evaluate(() => location.pathname);
        await person.reload();
        await person.until('the draft', () => /** @type {HTMLTextAreaElement | null} */ (document.querySelector('.composer textarea'))?.value === 'Ann of Elm Street');
        assert.equal(await person.evaluate(() => location.pathname), before);
        assert.equal(await person.evaluate(() => document.querySelectorAll('.log .is-text').length), 1, 'the text stands there once');
        await person.click('.composer textarea');
        await person.key('Enter');
        await person.sees('.answer-text', 'Ann of Elm Street');
        await person.sees('.answer-meta', 'You');
      });

      test('a choice, and a form', async () => {
        await person.click('.choice', 'large');
        await person.click('.is-open button[type=submit]');
        await person.sees('.answer-text', 'large');
        await person.write('.is-open [data-field=street] input', 'Elm Street');
        await person.write('.is-open [data-field=floor] input', 'second');
        await person.click('.is-open button[type=submit]');
        await person.sees('[data-field=floor] .problem', 'Write a');
        await person.click('.is-open [data-field=floor] input');
        for (let letter = 0; letter < 'second'.length; letter += 1) await person.key('Backspace');
        await person.write('.is-open [data-field=floor] input', '2');
        await person.click('.is-open button[type=submit]');
        await person.sees('.filled-in dd', 'Elm Street');
      });

      test('approval: one call is allowed with another argument, one is denied with a reason', async () => {
        await person.sees('.approval-arguments', '49.5');
        await picture('approval');
        await person.click('.is-open button', 'Change the arguments');
        await person.click('.is-open [data-field=amount] input');
        for (let letter = 0; letter < '49.5'.length; letter += 1) await person.key('Backspace');
        await person.write('.is-open [data-field=amount] input', '45');
        await person.click('.is-open [data-decision=once]');
        await person.sees('.answer-text', 'Allowed once');
        await person.sees('.is-open .approval-arguments', 'Ben');
        await person.click('.is-open [data-decision=deny]');
        await person.write('.approval-reason input', 'not Ben');
        await person.key('Enter');
        await person.sees('.ending', 'Completed');
        await person.sees('.is-text .prose', 'Ann of Elm Street, large, Elm Street: 45');
        await person.sees('.is-text .prose', 'not Ben');
      });

      test('reload: the same conversation, and nothing was moved sideways', async () => {
        const shown = () => person.evaluate(() => [...document.querySelectorAll('.log article')].map((each) => /** @type {HTMLElement} */ (each).innerText.replace(/\s+/g, ' ')));
        const before = await shown();
        assert.ok(before.length >= 8, `${before.length} messages`);
        await person.reload();
        await person.sees('.ending', 'Completed');
        await becomes(shown, before);
        assert.deepEqual(await person.evaluate(() => [document.documentElement, document.querySelector('.scroller')].map((each) => each && each.scrollWidth - each.clientWidth)), [0, 0]);
        await picture('end');
      });

      test('out again: nothing is shown after it, also on the way back', async () => {
        await person.click('#sign-out');
        await person.sees('dialog h1', 'Sign in to');
        await person.back();
        await person.sees('dialog h1', 'Sign in to');
        assert.equal(await person.evaluate(() => document.querySelectorAll('.log article').length), 0);
        assert.deepEqual(person.complaints.filter((words) => !/401|409/.test(words)), [], 'the browser complained');
      });

      /** @param {string} selector */
      const direction = (selector) => person.evaluate((css) => {
        const element = document.querySelector(css);
        return getComputedStyle(element?.querySelector('p') ?? element).direction;
      }, selector);
      /** Blocks of a text, each with its direction and the number of its lines. @param {string} selector */
      const directions = (selector) => person.evaluate((css) => [...document.querySelectorAll(`${css} :is(p, li)`)].filter((block) => !block.querySelector('math, .language-math')).map((block) => {
        const { innerText } = /** @type {HTMLElement} */ (block);
        return [block.tagName, getComputedStyle(block).direction, innerText.trim().split('\n').length];
      }), selector);
    });
  }
});
