// @ts-check
/**
 * The gateway's REST interface, one function per call. Every failure is an ApiError whose message is a sentence that can be
 * shown as it is.
 *
 * The types of the interface, from its schemas: `BLESS=1 cargo nextest run page_types` writes them.
 *
 * @typedef {object} Within
 * @property {string} id   What tells it from others in the same conversation.
 * @property {string} title   What it is about, in a few words.
 *
 * @typedef {object} Message
 * @property {string} uuid   Its id.
 * @property {string | null} sender   Who says it.
 * @property {string | null} recipient   To whom.
 * @property {boolean} auto_reply   Whether an agent said it by itself, as AG2 tells it.
 * @property {string} type   text_message, suggested_function_call, function_call_execution, text_input, multiple_choice, form, approval, system_message, workflow_started, workflow_completed, error, keep_alive, or what a foreign worker sent
 * @property {Record<string, any>} content   What belongs to its type; docs/reference/api.md lists it.
 * @property {Within[]} [within]   The conversations inside the workflow's own that it belongs to, outermost first.
 * @property {string} [html]   The text, rendered and made safe.
 *
 * @typedef {object} Usage
 * @property {number} llm_calls   Requests to models that were answered.
 * @property {number} tool_calls   Calls of tools.
 * @property {number} [estimated_calls]   Requests among those to models whose tokens the server did not count: they are estimated. Left out if none.
 * @property {number} prompt_tokens   Tokens read.
 * @property {number} completion_tokens   Tokens written.
 * @property {number} [cost_usd]   What they cost, as far as the models have prices; left out if nothing.
 *
 * @typedef {object} RunRecord
 * @property {number} seq   Its place in the log. Records that were stored as one have one place.
 * @property {number} [step]   Which of the records with its place it is, counted from 1; left out of the last, which most often is the only one.
 * @property {string} at   When it was stored.
 * @property {'answered' | 'claimed' | 'created' | 'ended' | 'parked' | 'reminded' | 'said'} kind
 * @property {string} [workflow]   The name of its workflow.
 * @property {Record<string, any>} [params]   Its parameters.
 * @property {string | null} [user]   The user that it belongs to.
 * @property {string} [worker]   The id of the worker.
 * @property {number} [epoch]   How often the run was taken, this time included.
 * @property {Message} [message]   In the first claim: the message `workflow_started`.
 * @property {string} [question]   The id of the question.
 * @property {string | null} [text]   The answer as a text to show; null for a password.
 * @property {unknown} [value]   The answer; null for a password.
 * @property {string | null} [refused]   Why the answer does not fit; the question is asked again.
 * @property {string | null} [by]   The user who answered.
 * @property {boolean} [on_timeout]   Nobody answered in time, and the workflow goes on without an answer.
 * @property {string} [arguments_text]   The arguments that a call was allowed with instead of the model's, as exact JSON text.
 * @property {{users?: string[], groups?: string[], starter?: boolean}} [escalated_to]   Who may answer, too, from now on.
 * @property {string} [waits_for]   Whom it waits for, in words; left out if the caller may answer it.
 * @property {RunOutcome} [outcome]   Well or not.
 * @property {string | null} [reason]   Why, if not well.
 * @property {string} [place]   The line of the workflow at which it failed, for its author; left out if none is known.
 * @property {unknown} [result]   What the workflow returned.
 * @property {Usage} [usage]   What the run used.
 *
 * @typedef {object} Delta
 * @property {string} message   The message that it will be.
 * @property {number} attempt   Counts from 1; a later attempt replaces the text of an earlier one.
 * @property {number} offset   Where the piece begins, in Unicode scalar values.
 * @property {string} text   The piece.
 * @property {string | null} sender   Who writes.
 * @property {string | null} recipient   To whom.
 * @property {Within[]} [within]   The conversations inside the workflow's own that the message will belong to.
 *
 * @typedef {object} Workflow
 * @property {string} name   Its name.
 * @property {string | null} title   What people see instead of the name.
 * @property {string | null} description   What it is for.
 * @property {Record<string, any> | null} params   A JSON Schema of its parameters; null: it has none, or a Python worker does not say.
 * @property {boolean} available   Whether a living worker serves it now.
 *
 * @typedef {'queued' | 'running' | 'waiting' | 'ended'} RunState
 * @typedef {'completed' | 'failed' | 'cancelled'} RunOutcome
 * @typedef {object} Run
 * @property {string} id   Its id: 32 hexadecimal digits.
 * @property {string | null} workflow   The name of its workflow; null: how the run began cannot be read.
 * @property {string | null} title   What it is about: the first answer that says something, or the title that a person gave it.
 * @property {RunState} state   How it is doing.
 * @property {RunOutcome | null} outcome   How it ended; null: it has not.
 * @property {string | null} reason   Why it did not end well.
 * @property {{id: string, prompt: string, reminded_at?: string, waits_for?: string} | null} question   The oldest question that it waits with, those first that the caller may answer.
 * @property {string | null} user   The user that it belongs to.
 * @property {string} created_at   When it was created.
 * @property {string} updated_at   When something last happened to it.
 * @property {('answer' | 'cancel' | 'rename' | 'remove')[]} [may]   What the caller may do with it; left out in the audit.
 * @property {string[]} [unreadable]   What of its log cannot be read, in sentences; left out if all of it can.
 *
 * @typedef {object} Question
 * @property {string} id   Its id: the uuid of the message that asks.
 * @property {string} prompt   What it asks, shortened.
 * @property {string} asked_at   When it was asked.
 * @property {boolean} approval   Whether it asks if a tool may be called.
 * @property {{by?: {users?: string[], groups?: string[], starter?: boolean}, not_by_starter?: boolean, remind_at?: string[], escalate?: {at: string, to: {users?: string[], groups?: string[], starter?: boolean}}[]}} [answerers]   Who may answer it, where that is not everybody who may answer in the run.
 * @property {number} escalated   How many of its escalations have come.
 * @property {string} [reminded_at]   When nobody had answered it for a while, the last time that this was told; left out if it was not.
 * @property {string} [waits_for]   Whom it waits for, in words; left out if the caller may answer it.
 * @property {{id: string, workflow: string | null, title: string | null, user: string | null}} run   The run that asks.
 *
 * @typedef {object} AuditRun
 * @property {string} id   Its id: 32 hexadecimal digits.
 * @property {string | null} workflow   The name of its workflow; null: how the run began cannot be read.
 * @property {string | null} title   What it is about: the first answer that says something, or the title that a person gave it.
 * @property {RunState} state   How it is doing.
 * @property {RunOutcome | null} outcome   How it ended; null: it has not.
 * @property {string | null} reason   Why it did not end well.
 * @property {{id: string, prompt: string, reminded_at?: string, waits_for?: string} | null} question   The oldest question that it waits with, those first that the caller may answer.
 * @property {string | null} user   The user that it belongs to.
 * @property {string} created_at   When it was created.
 * @property {string} updated_at   When something last happened to it.
 * @property {('answer' | 'cancel' | 'rename' | 'remove')[]} [may]   What the caller may do with it; left out in the audit.
 * @property {string[]} [unreadable]   What of its log cannot be read, in sentences; left out if all of it can.
 * @property {string | null} worker   The worker that claimed it last.
 * @property {{at: string | null, by: string | null, reason: string | null, rule: string | null, erased: {by?: string, reason: string, at: string} | null}} [removed]   Of a run that was removed or erased: when, by whom or by which rule, and why.
 * @property {Usage | null} [usage]   Of a run that was removed or erased: what it used; null: it is not known any more.
 *
 * @typedef {object} AuditEvent
 * @property {string} run   The run.
 * @property {number | null} seq   Its place in the log; null for what lies beside the log (`renamed`).
 * @property {string} at   When it was stored.
 * @property {string} [workflow]   The workflow of the run: with `created` and `removed`, and with every event of the live tail and of exports.
 * @property {string | null} [user]   The user that the run belongs to, where `workflow` is there; null or empty: an anonymous caller.
 * @property {number} [took_ms]   With the reply of a model, or its failure: how long it took, in milliseconds.
 * @property {{llm: string, took_ms: number, after?: string, common?: number, messages: Record<string, any>[], tools?: unknown[], response_format?: unknown, parameters?: Record<string, any>}} [asked]   With the reply of a model, or its failure: what was asked.
 * @property {{messages: Record<string, any>[], tools: unknown[], response_format: unknown, parameters: Record<string, any>}} [prompt]   With `prompts=true`: the request to the model whole, as it was sent.
 * @property {'answered' | 'asked' | 'calling' | 'claimed' | 'created' | 'ended' | 'failed' | 'made' | 'parked' | 'part' | 'redacted' | 'reminded' | 'removed' | 'renamed' | 'replied' | 'said' | 'unreadable'} kind
 * @property {string} [definition]   The hash of the workflow's definition.
 * @property {Record<string, any>} [params]   Its parameters.
 * @property {string[]} [groups]   What its user belonged to.
 * @property {string} [origin]   Where it came from: gateway, fast_agency or foreign_worker.
 * @property {string} [trace]   The place in a trace that it was started from.
 * @property {string} [signature]   The signature of the gateway that started it.
 * @property {string} [worker]   The id of the worker.
 * @property {number} [epoch]   How often the run was taken, this time included.
 * @property {{uuid: string, sender: string | null, recipient: string | null, type: string, content: Record<string, any>, within?: Within[]}} [message]   In the first claim: the message `workflow_started`.
 * @property {string} [key]   The key of the effect.
 * @property {string} [question]   The id of the question.
 * @property {unknown} [value]   The answer.
 * @property {string} [text]   The answer as a text to show.
 * @property {string} [refused]   Why the answer does not fit; the question is asked again.
 * @property {string | null} [by]   The user who answered.
 * @property {boolean} [on_timeout]   Nobody answered in time.
 * @property {boolean} [secret]   A password was given; it is shown nowhere.
 * @property {string} [content]   Its text.
 * @property {Record<string, any>[]} [tool_calls]   What it wants to be called, in the shape of OpenAI's chat completions.
 * @property {string} [refusal]   Why it refused.
 * @property {string} [finish_reason]   Why it stopped: stop, length, tool_calls, and others.
 * @property {Usage | {prompt_tokens: number, completion_tokens: number, cached_tokens?: number, cache_write_tokens?: number, reasoning_tokens?: number, estimated?: boolean, cost_usd?: number}} [usage]   What the request used.
 * @property {string} [model]   The name of the model that answered.
 * @property {string} [error]   The kind of failure.
 * @property {string} [reason]   In a sentence.
 * @property {{users?: string[], groups?: string[], starter?: boolean}} [escalated_to]   Who may answer, too, from now on.
 * @property {string} [digest]   The digest of the call that a person allowed.
 * @property {string} [until]   Until when, if that is known.
 * @property {RunOutcome} [outcome]   Well or not.
 * @property {unknown} [result]   What the workflow returned; left out if it is null.
 * @property {string} [removed_at]   When it was removed.
 * @property {string} [rule]   The rule by which it was removed.
 * @property {{by?: string, reason: string, at: string}} [erased]   Who erased what was said in it.
 * @property {string} [created_at]   When it began.
 * @property {string} [ended_at]   When it ended.
 * @property {number} [records]   How many records there were.
 * @property {{by?: string, at: string, dropped?: number}[]} [renamed]   Who gave it another title, and when.
 * @property {string | null} [from]   The title before; null: the first answer.
 * @property {string | null} [to]   The title after; null: the first answer.
 * @property {number} [dropped]   How many renames came after it that are not kept.
 *
 * @typedef {object} Overview
 * @property {string[]} warnings   What an operator should change.
 * @property {{queued: number, running: number, waiting: number, ended: number}} runs   How many runs are in which state.
 * @property {{completed: number, failed: number, cancelled: number}} outcomes   How many runs ended in which way.
 * @property {{workflow: string, waiting: number, taken: number}[]} queue   What waits in the queue, by workflow.
 * @property {boolean} cleaner   Whether anybody may remove runs for ever.
 * @property {{by_workflow: {workflow: string | null, runs: number, tokens: number, cost_usd: number, estimated?: boolean}[], by_user: {user: string | null, runs: number, tokens: number, cost_usd: number, estimated?: boolean}[]}} costs   What runs cost, the dearest first; removed runs are counted.
 * @property {{open: number, oldest: {run: string, workflow: string | null, user: string | null, prompt: string, asked_at: string}[]}} questions   What people are waited for.
 *
 * @typedef {object} Worker
 * @property {string} id   Its id.
 * @property {string[]} workflows   The workflows that it serves.
 * @property {string} started_at   When it began.
 * @property {string} version   The version of its program.
 * @property {number} runs   Runs in its memory.
 * @property {number} max_runs   Runs that it can hold there.
 * @property {boolean} cleans   Whether it may remove runs for ever.
 *
 * Here end the types from the schemas.
 */
import { exactParse, exactText } from './exact-json.js';
import { at } from '../page/base.js';
import { sentenceOf } from '../text/words.js';

const PATIENCE_MS = 30_000;
const START_ATTEMPTS = 3;
// What the server lists at most in one answer, and how many answers are asked for at once where a search finds little.
const MOST_LISTED = 500;
const MOST_PAGES = 10;

export class ApiError extends Error {
  /** @param {string} code @param {string} message @param {number} status @param {Record<string, any>} [body] */
  constructor(code, message, status, body = {}) {
    super(message);
    this.code = code;
    this.status = status;
    /** @type {string | null} */
    this.hint = body.hint ?? null;
    /** @type {string | null} */
    this.id = body.id ?? null;
    /** @type {string | null} */
    this.by = body.by ?? null;
    /** @type {string | null} */
    this.at = body.at ?? null;
  }

  /** From the body of an error of the gateway. @param {any} body @param {number} status */
  static from(body, status) {
    return new ApiError(body?.error?.code ?? 'unknown', body?.error?.message ?? 'the gateway could not go on', status, body?.error);
  }

  /** The whole of it as a person reads it. */
  get words() {
    const sentence = sentenceOf(this.message);
    return [sentence, this.hint && sentenceOf(this.hint), this.id && `Its number in the server's log is ${this.id}.`]
      .filter(Boolean).join(' ');
  }
}

/** Errors that another try may cure, because nothing was done. @param {unknown} error */
export function mayBeTriedAgain(error) {
  return error instanceof ApiError && (error.code === 'unreachable' || [502, 503, 504].includes(error.status));
}

/**
 * Lets in who is not known, or not known any more (session.js). `visit` counts the sign-ins; `letIn` resolves once there has been
 * one after the given visit, and to false where nobody can sign in from this page.
 * `token` proves to the server that a page of its own asks; `renew` fetches it anew for the same person, who has the name `person`.
 * @typedef {{visit: () => number, letIn: (visit: number) => Promise<boolean>, token: () => Promise<string | null>,
 *   renew: () => Promise<void>, person: () => string}} Doorkeeper
 */
/** @type {Doorkeeper} */
let doorkeeper = { visit: () => 0, letIn: async () => false, token: async () => null, renew: async () => {}, person: () => '' };
/** @type {string | null} what opens the operator's page where nobody signs in (admin.js) */
let adminToken = null;
/** @param {string | null} token */
export const setAdminToken = (token) => { adminToken = token; };
/** @param {Doorkeeper} keeper */
export const setDoorkeeper = (keeper) => { doorkeeper = keeper; };

/** Whether somebody was not let in. Asking again by itself would only be refused again. @param {unknown} error */
export function isNotLetIn(error) {
  return error instanceof ApiError && (error.status === 401 || error.status === 403);
}

/** @param {unknown} error @returns {string} */
export function wordsOf(error) {
  return error instanceof ApiError ? error.words : `Something went wrong in this page: ${String(error)}`;
}

/**
 * @typedef {{title: string, version: string, logo: string | null, footer: string | null,
 *   links: {title: string, url: string}[]}} PageConfig
 * @returns {Promise<PageConfig>}
 */
export const getConfig = () => call('GET', '/ui/config.json');

/** @returns {Promise<Workflow[]>} */
export const listWorkflows = async () => (await call('GET', '/api/workflows')).workflows;

/**
 * The runs of a list, as many as are wanted: a server sends so many of them at once, or looks through so many for a search, and
 * says where to go on.
 * @param {{search?: string, limit?: number}} filter @returns {Promise<{runs: Run[], isMore: boolean}>}
 */
export async function listRuns({ search = '', limit = 50 } = {}) {
  const query = new URLSearchParams();
  if (search) query.set('search', search);
  /** @type {Run[]} */
  const runs = [];
  for (let request = 0; request < MOST_PAGES; request += 1) {
    query.set('limit', String(Math.min(limit - runs.length, MOST_LISTED)));
    const page = await call('GET', `/api/runs?${query}`);
    runs.push(...page.runs);
    if (!page.next) return { runs, isMore: false };
    if (runs.length >= limit) break;
    query.set('cursor', page.next);
  }
  return { runs, isMore: true };
}

/** Open questions. @param {Record<string, string | number | boolean>} filter what is empty is left out @returns {Promise<Question[]>} */
export async function listQuestions(filter) {
  const query = new URLSearchParams(Object.entries(filter).filter(([, value]) => value !== '').map(([name, value]) => [name, String(value)]));
  return (await call('GET', `/api/questions?${query}`)).questions;
}

/** @param {string} id @returns {Promise<Run>} */
export const getRun = (id) => call('GET', runPath(id));

/**
 * Starts a run, once: the key makes a repeated call return the run that the first one made, so a lost answer costs nothing.
 * @param {string} workflow @param {unknown} params @param {string} key @returns {Promise<Run>}
 */
export async function startRun(workflow, params, key = randomKey()) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await call('POST', '/api/runs', { workflow, params: params ?? {} }, { 'Idempotency-Key': key });
    } catch (error) {
      if (attempt >= START_ATTEMPTS || !mayBeTriedAgain(error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 400 * attempt));
    }
  }
}

/** @param {string} id @param {string} title @returns {Promise<Run>} */
export const renameRun = (id, title) => call('PATCH', runPath(id), { title });

/** @param {string} id @returns {Promise<void>} */
export const deleteRun = (id) => call('DELETE', runPath(id));

/** @param {string} id @returns {Promise<void>} */
export const cancelRun = (id) => call('POST', `${runPath(id)}/cancel`);

/** @param {string} run @param {string} question @param {unknown} value @returns {Promise<void>} */
export const answerQuestion = (run, question, value) =>
  call('POST', `${runPath(run)}/answers/${encodeURIComponent(question)}`, { value });

/** @param {string} id @param {{after?: number, follow?: boolean}} options */
export function eventsUrl(id, { after = -1, follow = true } = {}) {
  const query = new URLSearchParams();
  if (after >= 0) query.set('after', String(after));
  if (!follow) query.set('follow', 'false');
  const text = query.toString();
  return `${runPath(id)}/events${text ? `?${text}` : ''}`;
}

/** Turns a refusal into an ApiError, whatever stands in its body. @param {Response} response */
export async function refusalOf(response) {
  const body = await response.json().catch(() => null);
  if (body?.error?.message) return ApiError.from(body, response.status);
  // Not ours: a proxy in between, most likely.
  return new ApiError('no_gateway', `the server answered ${response.status} ${response.statusText}`.trim(), response.status);
}

/** `crypto.randomUUID` exists only under https; in a closed network the page is often served by plain http. */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * @param {string} method @param {string} path @param {unknown} [body] @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
async function call(method, path, body, headers = {}) {
  const response = await request(path, () => ({
    method, signal: AbortSignal.timeout(PATIENCE_MS),
    headers: body === undefined ? headers : { 'Content-Type': 'application/json', ...headers },
    body: body === undefined ? undefined : exactText(body),
  }));
  if (!response.ok) throw await refusalOf(response);
  if (response.status === 204) return undefined;
  const text = await response.text();
  return text ? exactParse(text) : undefined;
}

/**
 * Fetches, once more after each sign-in that was needed for it: what somebody was about to do when their session ended is done
 * when they are back. `share` asks in place of `fetch`, for all pages of this person.
 * @param {string} path of the page (base.js) @param {() => RequestInit} init made anew for each attempt
 * @param {(path: string, person: string, headers: Record<string, string>) => Promise<Response>} [share]
 */
export async function request(path, init, share) {
  for (let isRenewed = false; ;) {
    const visit = doorkeeper.visit();
    const wanted = init();
    const token = (wanted.method ?? 'GET') === 'GET' && !share ? null : await doorkeeper.token();
    /** @type {Record<string, string>} */
    const headers = {
      .../** @type {Record<string, string> | undefined} */ (wanted.headers), ...(token ? { 'X-CSRF-Token': token } : {}), ...(adminToken ? { Authorization: `Bearer ${adminToken}` } : {}),
    };
    let response;
    try {
      response = share ? await share(at(path), doorkeeper.person(), headers) : await fetch(at(path), { cache: 'no-store', ...wanted, headers });
      if (response.type === 'error') throw response;
    } catch {
      throw new ApiError('unreachable', 'the server cannot be reached; check your connection and try again', 0);
    }
    if (!isRenewed && response.status === 403 && await isOfAnotherSession(response)) {
      isRenewed = true;
      await doorkeeper.renew();
      continue;
    }
    if (response.status !== 401 || !await doorkeeper.letIn(visit)) return response;
  }
}

/** Whether the server does not know the page's token: it, or the session, is another one by now. @param {Response} response */
async function isOfAnotherSession(response) {
  const body = await response.clone().json().catch(() => null);
  return body?.error?.code === 'csrf_token';
}

/** @param {string} id */
const runPath = (id) => `/api/runs/${encodeURIComponent(id)}`;
