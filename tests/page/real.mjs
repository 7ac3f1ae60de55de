// @ts-check
/**
 * Drives a running ui as a person does: starts a workflow from its card, answers what is asked, waits for the end, and prints
 * the conversation as the page shows it, one JSON object per line. Exits with 1 if anything failed: the run, the page, or the
 * browser complained (console errors, breaches of the content security policy).
 *
 *   node tests/page/real.mjs --url http://127.0.0.1:8888 --workflow NAME
 *     [--params '{"city": "Zagreb"}'] [--answers '["first", ["a", "b"], {"field": "value"}]']
 *     [--outcome completed] [--screenshot-dir DIR] [--timeout-secs 120]
 */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { answerOpenQuestion, fillForm, launchBrowser } from './browser.mjs';

const { values: options } = parseArgs({ options: {
  url: { type: 'string', default: 'http://127.0.0.1:8888' }, workflow: { type: 'string' }, params: { type: 'string', default: '{}' },
  answers: { type: 'string', default: '[]' }, outcome: { type: 'string', default: 'completed' },
  'screenshot-dir': { type: 'string' }, 'timeout-secs': { type: 'string', default: '120' },
} });
if (!options.workflow) {
  console.error('which workflow? give --workflow NAME');
  process.exit(2);
}
const answers = JSON.parse(options.answers);
const patience = Number(options['timeout-secs']) * 1000;
/** @type {string[]} */
const faults = [];

const browser = await launchBrowser();
if (!browser) process.exit(2);
const page = await browser.newPage({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce' });
page.setDefaultTimeout(patience);
page.on('pageerror', (error) => faults.push(`error in the page: ${error}`));
page.on('console', (message) => { if (message.type() === 'error') faults.push(`console: ${message.text()} (${message.location().url})`); });
await page.addInitScript(() => document.addEventListener('securitypolicyviolation',
  (event) => console.error(`the content security policy was breached: ${event.violatedDirective} ${event.blockedURI}`)));

let pictures = 0;
/** @param {string} name */
async function picture(name) {
  const folder = options['screenshot-dir'];
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  pictures += 1;
  await page.screenshot({ path: join(folder, `${String(pictures).padStart(2, '0')}-${name}.png`) });
}

try {
  await page.goto(options.url);
  const card = page.locator(`[data-workflow="${options.workflow}"]`);
  await card.waitFor();
  await picture('start');
  await card.click();
  await page.locator('[data-workflow-form], #stop, .ending').first().waitFor();
  const form = page.locator('[data-workflow-form]');
  if (await form.count() > 0) {
    await fillForm(form, JSON.parse(options.params));
    await picture('parameters');
    await form.locator('button[type=submit]').click();
  }
  await page.waitForURL(/\/runs\//);
  for (;;) {
    await page.locator('.is-question.is-open, .ending').first().waitFor();
    if (await page.locator('.ending').count() > 0) break;
    await picture('question');
    await answerOpenQuestion(page, answers.length > 0 ? answers.shift() : await firstSuggestion());
  }
  await picture('end');
  const outcome = await page.locator('.ending').getAttribute('data-outcome');
  if (outcome !== options.outcome) faults.push(`the run ended as ${outcome}: ${await page.locator('.ending').innerText()}`);
} catch (error) {
  faults.push(String(error));
  await picture('failure').catch(() => {});
}

for (const line of await conversation()) console.log(JSON.stringify(line));
for (const fault of faults) console.error(fault);
await browser.close();
process.exit(faults.length > 0 ? 1 : 0);

/** What to answer when nobody said what. */
async function firstSuggestion() {
  const suggestion = page.locator('.is-question.is-open .suggestions button').first();
  return await suggestion.count() > 0 ? suggestion.innerText() : '1';
}

/** The conversation as it stands on the screen. */
function conversation() {
  return page.locator('.log > .stretch > *').evaluateAll((nodes) => nodes.flatMap((node) => {
    const { kind, sender = null, recipient = null, question } = /** @type {HTMLElement} */ (node).dataset;
    /** The text without the heads of code blocks, which are the page's. @param {string} selector */
    const text = (selector) => {
      const copy = /** @type {Element | undefined} */ (node.querySelector(selector)?.cloneNode(true));
      copy?.querySelectorAll('.code-head').forEach((head) => head.remove());
      return copy?.textContent?.trim() ?? '';
    };
    const base = { sender, recipient };
    switch (kind) {
      case 'text': return [{ type: 'text_message', ...base, text: text('.prose') }];
      case 'question': return [
        { type: question, ...base, text: text('.prompt') },
        ...(node.querySelector('.answer-text') ? [{ type: 'answer', sender: text('.answer-meta').split(' · ')[0], recipient: sender, text: text('.answer-text') }] : []),
      ];
      case 'tool': return [{ type: 'tool_call', ...base, text: text('.tool-name'), state: /** @type {HTMLElement | null} */ (node.querySelector('.tool-card'))?.dataset.toolState, detail: text('.tool-inside') }];
      case 'started': return [{ type: 'workflow_started', ...base, text: text('h2') }];
      case 'error': return [{ type: 'error', ...base, text: text('.problem-words') }];
      case 'system': return [{ type: 'system_message', ...base, text: text('.prose') || text('pre') }];
      default: return [{ type: kind, ...base, text: text('summary'), detail: text('pre') }];
    }
  }).concat([...document.querySelectorAll('.ending')].map((node) => ({
    type: 'workflow_completed', sender: null, recipient: null, text: node.querySelector('.result .prose')?.textContent?.trim() ?? '',
    outcome: /** @type {HTMLElement} */ (node).dataset.outcome,
  })))).catch(() => []);
}
