// @ts-check
/**
 * A gateway and ui in one, played: it serves the page's files and speaks docs/reference/api.md over runs that follow a script.
 * For looking at the page while working on it (`node tests/page/mock-gateway.mjs`, then open what it prints) and for the
 * browser tests, which hold a script at a gate until they have seen what they wanted to see.
 */

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { renderMarkdown } from './mock-markdown.mjs';
import { scripts } from './mock-scripts.mjs';

const ASSETS = new URL('../../src/ui/assets/', import.meta.url);
const TYPES = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', html: 'text/html; charset=utf-8' };
/** As src/ui/brand.rs has it. @param {string[]} embedIn */
const csp = (embedIn) => "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
  + `font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors ${embedIn.length > 0 ? `'self' ${embedIn.join(' ')}` : "'none'"}`;

const id = () => randomBytes(16).toString('hex');
class Cancelled extends Error {}

/** @param {{pace?: number, embedIn?: string[], brand?: Record<string, unknown>, css?: string, listed?: string[], login?: 'form' | 'key' | 'oidc' | null,
 *   areColleagues?: boolean}} options
 *   `pace`: milliseconds between two pieces of a streamed text; `listed`: the workflows that are offered; `login`: how people sign in;
 *   `areColleagues`: everybody may see, answer and stop the runs of all */
export function createMockGateway({ pace = 0, listed = Object.keys(scripts), embedIn = [], brand = {}, css = '', login = null, areColleagues = false } = {}) {
  /** @type {Map<string, any>} */
  const runs = new Map();
  /** @type {Map<string, string>} */
  const startKeys = new Map();
  /** @type {Set<string>} gates that are open, as "run/gate" */
  const openGates = new Set();
  let sequence = 100;
  /** @type {import('node:http').Server} */
  let server;
  let origin = '';
  const faults = { refuseNext: 0, deny: false };
  /** What pages are told once they may hear it; null: at once. @type {(() => void)[] | null} */
  let held = null;
  /** @type {string[]} */
  const requests = [];
  const doors = playedDoors(login);

  function append(run, kind, fields) {
    // Growing but not consecutive: a page that counts instead of remembering fails here.
    sequence += 1 + (sequence % 3);
    const record = { seq: sequence, at: new Date().toISOString(), kind, ...fields };
    run.log.push(record);
    run.updated_at = record.at;
    if (record.message) run.writing.delete(record.message.uuid);
    broadcast(run, 'record', record, record.seq);
    return record;
  }

  function broadcast(run, event, data, eventId) {
    if (held) {
      held.push(() => broadcast(run, event, data, eventId));
      return;
    }
    for (const response of run.listeners) {
      writeEvent(response, event, data, eventId);
      if (event === 'record' && data.kind === 'ended') response.end();
    }
  }

  function createRun(workflow, params, user = null) {
    const now = new Date().toISOString();
    const run = {
      id: id(), workflow, title: null, state: 'queued', outcome: null, question: null, user, created_at: now, updated_at: now,
      params, log: [], listeners: new Set(), writing: new Map(), questions: new Map(), cancelled: false, onCancel: new Set(),
    };
    runs.set(run.id, run);
    append(run, 'created', { workflow, params, user });
    if (scripts[workflow].available !== false) setImmediate(() => play(run));
    return run;
  }

  async function play(run) {
    const script = scripts[run.workflow];
    run.state = 'running';
    const started = message({ type: 'workflow_started', content: { name: run.workflow, description: script.description, params: run.params } });
    append(run, 'claimed', { worker: 'mock-1', epoch: 1, message: started });
    try {
      const result = await script.play(director(run));
      end(run, 'completed', null, result ?? null);
    } catch (error) {
      if (error instanceof Cancelled) end(run, 'cancelled', run.stopper ? `stopped by ${run.stopper}` : 'stopped', null);
      else end(run, 'failed', error instanceof Error ? error.message : String(error), null);
    }
  }

  function end(run, outcome, reason, result) {
    run.state = 'ended';
    run.outcome = outcome;
    run.question = null;
    // As the engine has it: the message of another end tells that end in words.
    const told = outcome === 'completed' ? result : outcome === 'failed' ? `The run failed: ${reason}` : 'The run was stopped.';
    append(run, 'ended', {
      outcome, reason, result, usage: { llm_calls: 5, prompt_tokens: 1834, completion_tokens: 612, cost_usd: 0.0184, ...scripts[run.workflow].usage },
      message: message({ type: 'workflow_completed', content: { result: told }, html: typeof told === 'string' ? renderMarkdown(told) : null }),
    });
  }

  const message = ({ sender = null, recipient = null, type, content, html = null, uuid = id(), within = [] }) =>
    ({ uuid, sender, recipient, auto_reply: false, type, content, ...(html === null ? {} : { html }), ...(within.length > 0 ? { within } : {}) });

  /** What a script can do, in the conversation itself or in one inside it. */
  function director(run, within = []) {
    const tired = () => { if (run.cancelled) throw new Cancelled(); };
    /** @param {Promise<any>} promise */
    const orCancel = (promise) => new Promise((resolve, reject) => {
      const stop = () => reject(new Cancelled());
      if (run.cancelled) stop();
      run.onCancel.add(stop);
      promise.then(resolve, reject).finally(() => run.onCancel.delete(stop));
    });
    const say = (sender, recipient, type, content, html = null, uuid = id()) => {
      append(run, 'said', { message: message({ sender, recipient, type, content, html, uuid, within }) });
    };
    const self = {
      params: run.params,
      pause: async (milliseconds) => { tired(); if (pace > 0) await orCancel(new Promise((resolve) => setTimeout(resolve, milliseconds))); },
      gate: (name) => orCancel(waitForGate(`${run.id}/${name}`)),
      say,
      text: (sender, recipient, body) => say(sender, recipient, 'text_message', { body }, renderMarkdown(body)),
      record: (kind, fields) => append(run, kind, fields),
      /** Streams a text word by word; `at` names gates by the number of words before them. */
      stream: async (sender, recipient, body, { at = {}, attempt = 1, uuid = id() } = {}) => {
        const words = body.match(/\S+\s*|\s+/g) ?? [];
        let written = '';
        try {
          for (const [count, word] of words.entries()) {
            if (at[count]) await self.gate(at[count]);
            tired();
            const delta = { message: uuid, attempt, offset: [...written].length, text: word, sender, recipient, ...(within.length > 0 ? { within } : {}) };
            written += word;
            run.writing.set(uuid, { ...delta, offset: 0, text: written });
            broadcast(run, 'delta', delta);
            await orCancel(pace > 0 ? new Promise((resolve) => setTimeout(resolve, pace)) : new Promise((resolve) => setImmediate(resolve)));
          }
        } catch (error) {
          if (error instanceof Cancelled && written) say(sender, recipient, 'text_message', { body: written, stopped: true }, renderMarkdown(written), uuid);
          throw error;
        }
        say(sender, recipient, 'text_message', { body }, renderMarkdown(body), uuid);
      },
      /** A delta as it is, for a text that never gets finished as it began. */
      delta: (delta) => broadcast(run, 'delta', delta),
      within: (inner) => director(run, inner),
      /** Suggests a call, asks whether it may be made, and makes it or not. */
      approve: async (sender, executor, name, args, { prompt, schema, digest }, result) => {
        const callId = `call_${id().slice(0, 8)}`;
        say(sender, executor, 'suggested_function_call', { function_name: name, call_id: callId, arguments: args });
        const answered = await self.ask(sender, 'approval', { prompt, function_name: name, call_id: callId, arguments: args, schema, digest, deadline: null, on_timeout: null });
        const retval = answered.decision === 'deny' ? `Error: a person said no${answered.reason ? `: ${answered.reason}` : ''}` : result(answered.arguments ?? args);
        say(executor, sender, 'function_call_execution', { function_name: name, call_id: callId, retval });
        return answered;
      },
      tool: async (sender, executor, name, args, result, gate = null) => {
        const callId = `call_${id().slice(0, 8)}`;
        say(sender, executor, 'suggested_function_call', { function_name: name, call_id: callId, arguments: args });
        if (gate) await self.gate(gate);
        await self.pause(900);
        say(executor, sender, 'function_call_execution', { function_name: name, call_id: callId, retval: result });
      },
      ask: async (sender, type, content) => {
        const uuid = id();
        const defaults = { text_input: { suggestions: [], password: false, multiline: false, pattern: null, value_type: 'string', deadline: null, on_timeout: null } };
        const full = { ...defaults[type], ...content };
        const promise = new Promise((resolve) => run.questions.set(uuid, { type, content: full, answered: null, resolve }));
        run.state = 'waiting';
        run.question = { id: uuid, prompt: full.prompt };
        say(sender, 'User', type, full, renderMarkdown(full.prompt), uuid);
        append(run, 'parked', {});
        return orCancel(promise);
      },
    };
    return self;
  }

  /** @type {Map<string, () => void>} */
  const waitingAtGates = new Map();
  /** @type {Map<string, string>} the gate that each run came to last */
  const lastGates = new Map();
  function waitForGate(name) {
    if (openGates.has(name) || pace > 0) return Promise.resolve();
    lastGates.set(name.split('/')[0], name.split('/')[1]);
    return new Promise((resolve) => waitingAtGates.set(name, () => resolve(undefined)));
  }

  function answer(run, questionId, value, by = null) {
    const question = run.questions.get(questionId);
    if (!question) return refusal(404, 'unknown_question', 'this run never asked that question');
    if (question.answered) return refusal(409, 'already_answered', 'this question was already answered', { by: question.answered.by, at: question.answered.at });
    const problem = problemOf(question, value);
    if (problem) return refusal(422, 'invalid_answer', problem);
    const text = question.content.password ? null : question.type === 'approval' ? wordsOfDecision(value) : typeof value === 'string' ? value : Array.isArray(value) ? value.join(', ')
      : Object.entries(value).map(([key, part]) => `${key}: ${typeof part === 'string' ? part : JSON.stringify(part)}`).join('\n');
    close(run, questionId, { text, value: question.content.password ? null : value, by, on_timeout: false, refused: null });
    question.resolve(value);
    return { status: 202 };
  }

  function close(run, questionId, fields) {
    const question = run.questions.get(questionId);
    question.answered = { by: fields.by, at: new Date().toISOString() };
    if (question.type !== 'approval') run.title ??= fields.text;
    const open = [...run.questions].filter(([, each]) => !each.answered);
    run.state = open.length > 0 ? 'waiting' : 'running';
    run.question = open.length > 0 ? { id: open[0][0], prompt: open[0][1].content.prompt } : null;
    append(run, 'answered', { question: questionId, ...fields });
  }

  async function handle(request, response) {
    const url = new URL(request.url, 'http://mock');
    requests.push(`${request.method} ${url.pathname}${url.search}`);
    if (faults.refuseNext > 0 && url.pathname.startsWith('/api/')) {
      faults.refuseNext -= 1;
      return send(response, 503, { error: { code: 'broker_unavailable', message: 'the broker is out of reach; nothing was done, try again' } });
    }
    if (url.pathname.startsWith('/auth/')) return doors.answer(request, url, await bodyOf(request), response);
    const user = doors.userOf(request);
    if (user && request.method !== 'GET' && !doors.hasToken(request)) return send(response, 403, { error: { code: 'csrf_token', message: 'the page belongs to another session; load it again' } });
    if (login && !user && url.pathname.startsWith('/api/')) return send(response, 401, { error: { code: 'unauthorized', message: 'authentication required' } });
    if (faults.deny && url.pathname.startsWith('/api/')) return send(response, 401, { error: { code: 'unauthorized', message: 'authentication required' } });
    if (url.pathname === '/' || url.pathname.startsWith('/runs/')) return sendAsset(response, 'index.html', csp(embedIn), themeOf(request), isOwnLink(request));
    if (url.pathname.startsWith('/assets/')) return sendAsset(response, url.pathname.slice('/assets/'.length), csp(embedIn));
    if (url.pathname === '/ui/config.json') return send(response, 200, { title: 'Geometry desk', version: '0.1.0', logo: null, footer: null, links: [], ...brand });
    if (url.pathname === '/ui/brand.css') return response.writeHead(200, { 'Content-Type': 'text/css' }).end(css);
    const body = await bodyOf(request);
    const reply = route(request, url, body, response, user);
    if (reply) send(response, reply.status, reply.body);
  }

  function route(request, url, body, response, user) {
    const [, , resource, runId, action, questionId] = url.pathname.split('/');
    if (resource === 'workflows') {
      return { status: 200, body: { workflows: Object.entries(scripts).filter(([name]) => listed.includes(name)).map(([name, { title = null, description, params = null, available = true }]) => ({ name, title, description, params, available })) } };
    }
    if (resource !== 'runs') return refusal(404, 'not_found', 'there is nothing at this address');
    if (!runId && request.method === 'POST') return start(request, body, user);
    if (!runId) return { status: 200, body: { runs: listOf(url.searchParams, user) } };
    const run = runs.get(decodeURIComponent(runId));
    if (!run || (user && run.user !== user && !areColleagues)) return refusal(404, 'unknown_run', 'there is no run with this id', { hint: 'it may have been deleted' });
    if (action === 'events') return void follow(run, request, url, response);
    if (action === 'answers') return answer(run, questionId, body?.value, user);
    if (action === 'cancel') {
      if (run.state === 'ended') return refusal(409, 'run_ended', 'this run has already ended');
      run.cancelled = true;
      run.stopper = user;
      for (const stop of [...run.onCancel]) stop();
      if (run.state === 'queued') end(run, 'cancelled', user ? `stopped by ${user}` : 'stopped', null);
      return { status: 202 };
    }
    if (request.method === 'PATCH') {
      if (body.title.length > 120) return refusal(422, 'invalid_title', 'title: must be one line of at most 120 characters');
      run.title = body.title;
      return { status: 200, body: publicRun(run) };
    }
    if (request.method === 'DELETE') {
      if (run.state !== 'ended') return refusal(409, 'run_not_ended', 'this run is still alive; cancel it first');
      runs.delete(run.id);
      return { status: 204 };
    }
    return { status: 200, body: publicRun(run) };
  }

  function start(request, body, user) {
    const key = request.headers['idempotency-key'];
    if (key && startKeys.has(key)) return { status: 200, body: publicRun(runs.get(startKeys.get(key))) };
    const script = scripts[body.workflow];
    if (!script) return refusal(404, 'unknown_workflow', `there is no workflow named "${body.workflow}"`);
    const missing = (script.params?.required ?? []).find((name) => body.params?.[name] === undefined);
    if (missing) return refusal(422, 'invalid_params', `the parameter "${missing}" is missing`);
    if (body.params?.city === 'Atlantis') return refusal(422, 'invalid_params', 'there is no weather in "Atlantis"', { hint: 'try a city above water' });
    const run = createRun(body.workflow, body.params, user);
    if (key) startKeys.set(key, run.id);
    return { status: 201, body: publicRun(run) };
  }

  function listOf(query, user) {
    const search = (query.get('search') ?? '').toLowerCase();
    const rank = (run) => run.state === 'waiting' ? 0 : 1;
    return [...runs.values()].reverse().sort((one, other) => rank(one) - rank(other))
      .filter((run) => !user || run.user === user)
      .filter((run) => `${run.title ?? ''} ${run.workflow}`.toLowerCase().includes(search))
      .slice(0, Number(query.get('limit') ?? 50)).map(publicRun);
  }

  function follow(run, request, url, response) {
    const after = Number(url.searchParams.get('after') ?? request.headers['last-event-id'] ?? -1);
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    response.write(': hello\n\n');
    for (const record of run.log) if (record.seq > after) writeEvent(response, 'record', record, record.seq);
    writeEvent(response, 'caught_up', { seq: run.log.at(-1).seq });
    if (run.state === 'ended' || url.searchParams.get('follow') === 'false') return response.end();
    for (const delta of run.writing.values()) writeEvent(response, 'delta', delta);
    run.listeners.add(response);
    response.on('close', () => run.listeners.delete(response));
  }

  const self = {
    runs, requests, faults, doors,
    /** Pages hear nothing of what happens now, until they are told. */
    holdEvents: () => { held ??= []; },
    tellEvents: () => {
      const told = held ?? [];
      held = null;
      for (const tell of told) tell();
    },
    /** Stops a run, as somebody. @param {string} runId @param {string | null} user */
    cancel: (runId, user) => route({ method: 'POST', headers: {} }, new URL(`/api/runs/${runId}/cancel`, 'http://mock'), undefined, undefined, user),
    get url() { return origin; },
    run: (runId) => runs.get(runId),
    start: (workflow, params = {}, user = null) => createRun(workflow, params, user),
    answer, close: closeServer, closeQuestion: close,
    /** @param {string} runId @param {string} gate */
    open: (runId, gate) => { const name = `${runId}/${gate}`; openGates.add(name); waitingAtGates.get(name)?.(); },
    /** Sends a piece of text that no script wrote. @param {string} runId @param {any} delta */
    whisper: (runId, delta) => broadcast(runs.get(runId), 'delta', delta),
    /** The gate that a run waits at, or waited at last. @param {string} runId */
    gateOf: (runId) => lastGates.get(runId) ?? null,
    /** The text of every message as the log has it. */
    texts: (runId) => runs.get(runId).log.filter((record) => record.message?.type === 'text_message').map((record) => record.message.content.body),
    listen: (port = 0) => new Promise((resolve) => {
      server = createServer((request, response) => handle(request, response).catch((error) => {
        console.error(error);
        response.destroy();
      }));
      server.listen(port, '127.0.0.1', () => {
        origin = `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
        resolve(origin);
      });
    }),
    goodbye: () => {
      for (const run of runs.values()) {
        for (const response of run.listeners) {
          writeEvent(response, 'goodbye', { after: run.log.at(-1).seq });
          response.end();
        }
      }
    },
    dropConnections: () => server.closeAllConnections(),
  };
  function closeServer() {
    return new Promise((resolve) => { server.close(() => resolve(undefined)); server.closeAllConnections(); });
  }
  return self;
}

/** Who comes in, as the ui tier has it: a cookie for the right password, the right key, or a visit at the provider. @param {'form' | 'key' | 'oidc' | null} login */
function playedDoors(login) {
  const people = /** @type {Record<string, {password: string, key: string, groups: string[]}>} */ ({
    ann: { password: 'sesame', key: 'fak_ann', groups: ['teachers'] }, ben: { password: 'simsim', key: 'fak_ben', groups: [] },
  });
  /** @type {Map<string, string>} */
  const sessions = new Map();
  const cookieOf = (request) => /(?:^|; )session=(\w+)/.exec(request.headers.cookie ?? '')?.[1] ?? '';
  const userOf = (request) => sessions.get(cookieOf(request)) ?? null;
  const letIn = (user) => {
    const cookie = id();
    sessions.set(cookie, user);
    return { 'Set-Cookie': `session=${cookie}; HttpOnly; SameSite=Lax; Path=/` };
  };
  const tokenOf = (request) => `token-of-${cookieOf(request)}`;
  const self = {
    userOf,
    hasToken: (request) => request.headers['x-csrf-token'] === tokenOf(request),
    /** Who the provider says it is. */
    provider: 'ann',
    isThrottled: false,
    endAll: () => sessions.clear(),
    answer: (request, url, body, response) => {
      if (url.pathname === '/auth/me') {
        const user = userOf(request);
        const mode = { form: 'basic', key: 'api_key', oidc: 'oidc' }[login ?? ''] ?? 'none';
        return send(response, 200, { mode, user: user ? { name: user, groups: people[user].groups } : null, login, ...(user ? { csrf: tokenOf(request) } : {}) });
      }
      if (url.pathname === '/auth/oidc') {
        response.writeHead(303, { ...letIn(self.provider), Location: url.searchParams.get('return') });
        return response.end();
      }
      if (url.pathname === '/auth/logout') {
        sessions.delete(cookieOf(request));
        return response.writeHead(204).end();
      }
      if (self.isThrottled) {
        response.setHeader('Retry-After', '6');
        return send(response, 429, { error: { code: 'too_many_requests', message: 'too many wrong attempts; wait a while' } });
      }
      const [user] = Object.entries(people).find(([name, each]) => login === 'form' ? name === body.user && each.password === body.password : each.key === body.key) ?? [];
      if (!user) return send(response, 401, { error: { code: 'unauthorized', message: 'authentication failed' } });
      response.writeHead(204, letIn(user)).end();
    },
  };
  return self;
}

/** As the server says it. */
function wordsOfDecision({ decision, reason }) {
  if (decision === 'deny') return reason ? `Denied: ${reason}` : 'Denied';
  return { same: 'Allowed, always with these arguments', always: 'Allowed, always in this run' }[decision] ?? 'Allowed once';
}

function problemOf({ type, content }, value) {
  if (type === 'text_input') {
    if (typeof value !== 'string') return 'the answer must be a text';
    if (content.value_type === 'integer' && !/^-?\d+$/.test(value)) return `"${value}" is not a whole number`;
    if (content.pattern && !new RegExp(`^(?:${content.pattern})$`).test(value)) return `"${value}" does not look like ${content.pattern}`;
  }
  if (type === 'multiple_choice') {
    const values = content.single === false ? value : [value];
    if (!Array.isArray(values) || !values.every((each) => content.choices.includes(each))) return 'the answer must be one of the choices';
  }
  if (type === 'approval' && !['once', 'same', 'always', 'deny'].includes(value?.decision)) return 'the decision must be once, same, always or deny';
  if (type === 'form' && !(content.can_decline && ['decline', 'cancel'].includes(value))) {
    const missing = (content.schema.required ?? []).find((name) => value?.[name] === undefined);
    if (missing) return `"${missing}" is missing`;
    if (value.guests > 40) return 'there are only 40 chairs';
  }
  return null;
}

const publicRun = ({ id: runId, workflow, title, state, outcome, question, user, created_at, updated_at }) =>
  ({ id: runId, workflow, title, state, outcome, question, user, created_at, updated_at });

const refusal = (status, code, message, more = {}) => ({ status, body: { error: { code, message, ...more } } });

function writeEvent(response, event, data, eventId) {
  response.write(`${eventId === undefined ? '' : `id: ${eventId}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

function send(response, status, body) {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  response.end(body === undefined ? undefined : JSON.stringify(body));
}

/** What was chosen for the page, as the server reads it. */
const themeOf = (request) => /(?:^|; )fastagency_theme=(light|dark)(?:;|$)/.exec(request.headers.cookie ?? '')?.[1] ?? null;

/** As src/ui/page.rs has it. */
const isOwnLink = ({ headers }) => headers['sec-fetch-site'] === 'same-origin' && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document';

async function sendAsset(response, name, policy, theme = null, isOwn = false) {
  try {
    if (!/^(?:[\w-]+\/)?[\w.-]+$/.test(name)) throw new Error('not a file name');
    const content = await readFile(new URL(name, ASSETS));
    response.writeHead(200, { 'Content-Type': TYPES[name.split('.').pop()] ?? 'application/octet-stream', 'Content-Security-Policy': policy, 'Cache-Control': 'no-cache', 'X-Content-Type-Options': 'nosniff' });
    const marks = `${isOwn ? ' data-link="own"' : ''}${theme ? ` data-theme="${theme}"` : ''}`;
    response.end(marks ? content.toString().replace('<html lang="en"', `<html lang="en"${marks}`) : content);
  } catch {
    send(response, 404, { error: { code: 'not_found', message: 'there is no such file' } });
  }
}

async function bodyOf(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text ? JSON.parse(text) : undefined;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const gateway = createMockGateway({ pace: 35 });
  console.log(`the played gateway listens at ${await gateway.listen(Number(process.env.PORT ?? 8888))}`);
}
