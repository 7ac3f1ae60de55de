// @ts-check
/**
 * The gateway's REST interface, one function per call. Every failure is an ApiError whose message is a sentence that can be
 * shown as it is.
 *
 * @typedef {{id: string, title: string}} Within   a conversation inside the workflow's own
 * @typedef {{uuid: string, sender?: string | null, recipient?: string | null, auto_reply?: boolean, type: string,
 *   content?: Record<string, any>, html?: string | null, within?: Within[]}} Message
 * @typedef {{llm_calls?: number, prompt_tokens?: number, completion_tokens?: number, cost_usd?: number}} Usage
 * @typedef {object} RunRecord
 * @property {number} seq
 * @property {string} at
 * @property {string} kind
 * @property {string} [workflow]
 * @property {unknown} [params]
 * @property {string | null} [user]
 * @property {Message} [message]
 * @property {string} [question]
 * @property {string | null} [text]
 * @property {unknown} [value]           what was answered, as JSON; null for a password
 * @property {string | null} [by]
 * @property {boolean} [on_timeout]
 * @property {string | null} [arguments_text]   the arguments that a call was allowed with instead, as exact JSON text
 * @property {string | null} [refused]   why the worker could not take the answer; it asks again
 * @property {'completed' | 'failed' | 'cancelled'} [outcome]
 * @property {string | null} [reason]
 * @property {unknown} [result]
 * @property {Usage} [usage]
 *
 * @typedef {{message: string, attempt: number, offset: number, text: string, sender?: string, recipient?: string,
 *   within?: Within[]}} Delta
 * @typedef {{name: string, title: string | null, description: string | null, params: Record<string, any> | null,
 *   available: boolean}} Workflow
 * @typedef {{id: string, workflow: string, title: string | null, state: 'queued' | 'running' | 'waiting' | 'ended',
 *   outcome: 'completed' | 'failed' | 'cancelled' | null, question: {id: string, prompt: string} | null,
 *   user: string | null, created_at: string, updated_at: string}} Run
 */
import { exactText } from './exact-json.js';
import { sentenceOf } from '../text/words.js';

const PATIENCE_MS = 30_000;
const START_ATTEMPTS = 3;

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
 * `token` proves to the server that a page of its own asks; `renew` fetches it anew for the same person.
 * @typedef {{visit: () => number, letIn: (visit: number) => Promise<boolean>, token: () => Promise<string | null>,
 *   renew: () => Promise<void>}} Doorkeeper
 */
/** @type {Doorkeeper} */
let doorkeeper = { visit: () => 0, letIn: async () => false, token: async () => null, renew: async () => {} };
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

/** @param {{search?: string, limit?: number}} filter @returns {Promise<Run[]>} */
export async function listRuns({ search = '', limit = 50 } = {}) {
  const query = new URLSearchParams({ limit: String(limit) });
  if (search) query.set('search', search);
  return (await call('GET', `/api/runs?${query}`)).runs;
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
  return text ? JSON.parse(text) : undefined;
}

/**
 * Fetches, once more after each sign-in that was needed for it: what somebody was about to do when their session ended is done
 * when they are back.
 * @param {string} path @param {() => RequestInit} init made anew for each attempt
 */
export async function request(path, init) {
  for (let isRenewed = false; ;) {
    const visit = doorkeeper.visit();
    const wanted = init();
    const token = (wanted.method ?? 'GET') === 'GET' ? null : await doorkeeper.token();
    const headers = {
      ...wanted.headers, ...(token ? { 'X-CSRF-Token': token } : {}), ...(adminToken ? { Authorization: `Bearer ${adminToken}` } : {}),
    };
    let response;
    try {
      response = await fetch(path, { cache: 'no-store', ...wanted, headers });
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
