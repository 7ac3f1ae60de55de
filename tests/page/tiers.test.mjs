// @ts-check
/**
 * The shipped `simple_learning` over four processes (nats-server, worker, gateway, ui) against an HTTP server that speaks
 * OpenAI's chat completions, driven in the browser as a person does. What that server was asked must equal what AG2 asks in
 * the same conversation, recorded in tests/ag2. Streaming apart: ours asks for it, AG2's recording did not.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { becomes } from './becomes.mjs';
import { answerOpenQuestion, launchBrowser, whatIsMissing } from './browser.mjs';
import { freePort } from './real-house.mjs';

const root = join(import.meta.dirname, '..', '..');
const { FASTAGENCY_BIN, NATS_SERVER } = process.env;
/** Longer than anything here takes, on the slowest machine. */
const PATIENCE = 60_000;

const missing = !FASTAGENCY_BIN ? 'FASTAGENCY_BIN names no program' : !NATS_SERVER ? 'no nats-server' : await whatIsMissing();
if (missing) console.log(`SKIPPED simple_learning over four processes: ${missing}`);

test('simple_learning over four processes asks the model what AG2 asks it', { skip: missing ?? false, timeout: PATIENCE * 2 }, async (t) => {
  const trace = JSON.parse(await readFile(join(root, 'tests/ag2/a01_fastagency_reflection_3_turns.json'), 'utf8'));
  const folder = await mkdtemp(join(tmpdir(), 'tiers-'));
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  const model = await scriptedModel(trace.setup.llm_replies);
  t.after(() => model.server.close());

  const port = await freePort();
  const nats = start(t, String(NATS_SERVER), ['-js', '-a', '127.0.0.1', '-p', String(port), '-sd', folder, '--user', 'fastagency', '--pass', 'of the test']);
  await nats.says('Server is ready');
  const environment = {
    NATS_URL: `nats://127.0.0.1:${port}`, FASTAGENCY_NATS_PASSWORD: 'of the test', OPENAI_API_KEY: 'no key is needed here', OPENAI_BASE_URL: `${model.url}/v1`,
  };
  /** @param {string[]} args */
  const tier = (...args) => start(t, String(FASTAGENCY_BIN), args, environment);
  const worker = tier('worker');
  const gateway = tier('gateway', '--port', '0');
  const gatewayUrl = (await gateway.says('gateway: http')).slice('gateway: '.length);
  const ui = tier('ui', '--port', '0', '--gateway-url', gatewayUrl);
  const pageUrl = (await ui.says('page: http')).slice('page: '.length);
  await worker.says('worker ready');

  const browser = await launchBrowser();
  assert.ok(browser);
  t.after(() => browser.close());
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(pageUrl);
  await page.locator('[data-workflow="simple_learning"]').click();
  await answerOpenQuestion(page, trace.setup.pattern.message);
  await page.locator('.ending').waitFor();
  await becomes(() => page.locator('.ending').getAttribute('data-outcome'), 'completed');
  const conversation = await page.locator('main').innerText();
  for (const reply of trace.setup.llm_replies) assert.ok(conversation.includes(reply), `the page does not show ${reply}`);

  assert.deepEqual(model.requests.map(withoutStreaming), trace.requests.map(withoutStreaming));
  // The key goes to the model, and nowhere else.
  assert.ok(model.authorizations.every((value) => value === 'Bearer no key is needed here'));
});

/** @param {Record<string, unknown>} request */
function withoutStreaming({ stream, stream_options, ...rest }) {
  return rest;
}

/**
 * An HTTP server that answers chat completions with these texts in turn, streamed where that is asked for.
 * @param {string[]} replies
 */
async function scriptedModel(replies) {
  /** @type {Record<string, unknown>[]} */
  const requests = [];
  /** @type {(string | undefined)[]} */
  const authorizations = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = JSON.parse(text);
    const content = replies[requests.length];
    requests.push(body);
    authorizations.push(request.headers.authorization);
    if (request.url !== '/v1/chat/completions' || content === undefined) {
      response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ error: { message: 'the script has no reply to this' } }));
      return;
    }
    const usage = { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 };
    const base = { id: `reply-${requests.length}`, created: 1_700_000_000, model: body.model };
    if (!body.stream) {
      const choices = [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }];
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ ...base, object: 'chat.completion', choices, usage }));
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    /** @param {object} rest */
    const chunk = (rest) => response.write(`data: ${JSON.stringify({ ...base, object: 'chat.completion.chunk', ...rest })}\n\n`);
    /** @param {object} delta @param {string | null} finish_reason */
    const delta = (delta, finish_reason = null) => chunk({ choices: [{ index: 0, delta, finish_reason }] });
    delta({ role: 'assistant', content: '' });
    for (const word of content.match(/\S+\s*/g) ?? []) delta({ content: word });
    delta({}, 'stop');
    if (body.stream_options?.include_usage) chunk({ choices: [], usage });
    response.end('data: [DONE]\n\n');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = /** @type {import('node:net').AddressInfo} */ (server.address());
  return { server, requests, authorizations, url: `http://127.0.0.1:${address.port}` };
}

/**
 * Starts a process in the project's folder; it is killed when the test is over.
 * @param {import('node:test').TestContext} t @param {string} program @param {string[]} args @param {Record<string, string>} environment
 */
function start(t, program, args, environment = {}) {
  const child = spawn(program, args, { cwd: root, env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  /** @type {string[]} */
  const lines = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      child.emit('said');
    });
  }
  child.on('exit', () => child.emit('said'));
  /** The first line with `what` in it. @param {string} what */
  async function says(what) {
    for (;;) {
      const line = lines.find((line) => line.includes(what));
      if (line !== undefined) return line.trim();
      if (child.exitCode !== null) throw new Error(`${program} ${args[0]} ended without "${what}":\n${lines.join('\n')}`);
      await once(child, 'said', { signal: AbortSignal.timeout(PATIENCE) });
    }
  }
  return { says };
}
