// @ts-check
/**
 * What one run looks like, told from its log: a pure function from (view, event) to the next view.
 *
 * Nothing here knows the DOM, the network or the clock, so that a reload, a second tab and a test all arrive at the same
 * view from the same log. Everything else on the page only draws what it finds here.
 *
 * Two rules keep the page from ever showing anything twice:
 * - a record whose `seq` (and `step`, of several with one `seq`) was already applied changes nothing;
 * - what a model is still writing lives apart, in `writing`, and leaves it the moment the log has the finished message.
 */

import { hueFor } from '../elements/agents.js';
import { exactText } from '../gateway/exact-json.js';

/**
 * @typedef {import('../gateway/api.js').RunRecord} RunRecord
 * @typedef {import('../gateway/api.js').Message} Message
 * @typedef {import('../gateway/api.js').Delta} Delta
 * @typedef {import('../gateway/api.js').Usage} Usage
 *
 * @typedef {{type: 'record', record: RunRecord} | {type: 'delta', delta: Delta} | {type: 'caught_up'}} RunEvent
 *
 * @typedef {object} ItemBase
 * @property {string} key         the message's uuid; the same before and after it is finished
 * @property {string} sender      '' if the message names nobody
 * @property {string} recipient
 * @property {string} at          RFC 3339, when the log took it
 * @property {readonly Within[]} within   the conversations inside the workflow's own that it belongs to, outermost first
 *
 * @typedef {import('../gateway/api.js').Within} Within
 * @typedef {ItemBase & {kind: 'text', text: string, html: string | null, stopped: boolean, cut: string | null, standsInQuestion: boolean}} TextItem
 * @typedef {ItemBase & {kind: 'tool', callId: string | null, name: string, arguments: unknown, argumentsText: string | null, asked: boolean,
 *   executed: boolean, executor: string, result: unknown, failed: boolean, executedAt: string | null, abandoned: boolean,
 *   approval: 'asked' | 'allowed' | 'denied' | null, person: 'asked' | 'answered' | null, batch: number, behind?: boolean}} ToolItem   `person`: the tool asks somebody;
 *   `batch` is the same for the calls of one reply; `behind`: another of them comes first
 * @typedef {'text_input' | 'multiple_choice' | 'form' | 'approval'} QuestionType
 * @typedef {{text: string | null, value: any, argumentsText: string | null, by: string | null, at: string, onTimeout: boolean, refused: string | null}} Answer
 * @typedef {ItemBase & {kind: 'question', question: QuestionType, content: Record<string, any>, html: string | null,
 *   answer: Answer | null, open: boolean, saidTo: string | null, call: string | null}} QuestionItem   `saidTo`: what was answered was then
 *   said to somebody; `call`: the key of the call that it is about, or that asks it
 * @typedef {ItemBase & {kind: 'system', message: unknown, html: string | null}} SystemItem
 * @typedef {ItemBase & {kind: 'started', name: string, description: string | null, params: unknown}} StartedItem
 * @typedef {ItemBase & {kind: 'error', short: string, long: string | null}} ErrorItem
 * @typedef {ItemBase & {kind: 'unknown', type: string, raw: unknown, html: string | null}} UnknownItem
 * @typedef {TextItem | ToolItem | QuestionItem | SystemItem | StartedItem | ErrorItem | UnknownItem} Item
 *
 * @typedef {object} Writing      a text that a model is writing now
 * @property {'writing'} kind
 * @property {string} key
 * @property {string} sender
 * @property {string} recipient
 * @property {readonly Within[]} within
 * @property {number} attempt
 * @property {number} from        how many scalar values of the start were never seen here
 * @property {number} end         the offset after the last scalar value in `text`
 * @property {string} text
 *
 * @typedef {object} Ending
 * @property {'completed' | 'failed' | 'cancelled'} outcome
 * @property {string | null} reason
 * @property {unknown} result
 * @property {string | null} html
 * @property {Usage | null} usage
 * @property {string} at
 *
 * @typedef {object} RunView
 * @property {number} lastSeq     what to resume after; -1 before anything came
 * @property {number} stepSeq     the `seq` of the last record that had a `step`
 * @property {number} lastStep    its `step`
 * @property {boolean} caughtUp   history is complete, what comes now is live
 * @property {string | null} workflow
 * @property {unknown} params
 * @property {string | null} user
 * @property {string | null} createdAt
 * @property {boolean} claimed    a worker has, or had, this run
 * @property {boolean} parked
 * @property {string | null} remindedAt   when it was last told that nobody had answered
 * @property {readonly Item[]} items       in the order of the log
 * @property {readonly Writing[]} writing
 * @property {Readonly<Record<string, number>>} hues   one per agent, in the order in which they came
 * @property {Ending | null} ending
 */

/** @returns {RunView} */
export function emptyRun() {
  return {
    lastSeq: -1, stepSeq: -1, lastStep: 0, caughtUp: false, workflow: null, params: null, user: null, createdAt: null,
    claimed: false, parked: false, remindedAt: null, items: [], writing: [], hues: {}, ending: null,
  };
}

/**
 * @param {RunView} view
 * @param {RunEvent} event
 * @returns {RunView}
 */
export function apply(view, event) {
  switch (event.type) {
    case 'record': return applyRecord(view, event.record);
    case 'delta': return applyDelta(view, event.delta);
    case 'caught_up': return view.caughtUp ? view : { ...view, caughtUp: true };
    default: return view;
  }
}

/** @param {RunView} view @returns {QuestionItem[]} */
export function openQuestions(view) {
  return /** @type {QuestionItem[]} */ (view.items.filter((item) => item.kind === 'question' && item.open));
}

/** @param {RunView} view @returns {'queued' | 'running' | 'waiting' | 'ended'} */
export function phaseOf(view) {
  if (view.ending) return 'ended';
  if (openQuestions(view).length > 0) return 'waiting';
  return view.claimed ? 'running' : 'queued';
}

/** @param {RunView} view */
export function totalsOf(view) {
  const usage = view.ending?.usage;
  return {
    messages: view.items.filter((item) => item.kind === 'text' ? !item.standsInQuestion : item.kind === 'question' && item.saidTo !== null).length,
    // FastAgency's workers count nothing; what hands over is counted as no tool.
    toolCalls: usage?.llm_calls ? usage.tool_calls : view.items.filter((item) => item.kind === 'tool').length,
    milliseconds: view.createdAt && view.ending ? Date.parse(view.ending.at) - Date.parse(view.createdAt) : null,
  };
}

/** What is so short stands below an error at once; the rest is folded. */
const SHORT_DETAIL = 300;

/** The details of an error that stand below it at once. @param {ErrorItem} item */
export function plainDetailOf(item) {
  const long = item.long?.trim() ?? '';
  return long && !item.short.includes(long) && long.length <= SHORT_DETAIL && !long.includes('\n') ? long : null;
}

/** Why a run ended, unless that was said already: by the word for the end, or by the last error. @param {RunView} view */
export function reasonOf(view) {
  const reason = view.ending?.reason?.trim() ?? '';
  if (reason === '' || /^(the run (was |has )?)?(completed|failed|stopped|cancelled)[.!]?$/i.test(reason)) return null;
  // What is said inside of a conversation inside is folded.
  const error = view.items.findLast((item) => item.kind === 'error' && item.within.length === 0);
  if (error?.kind === 'error' && (error.short.includes(reason) || plainDetailOf(error)?.includes(reason))) return null;
  return reason;
}

/** @param {RunView} view @param {RunRecord} record @returns {RunView} */
function applyRecord(view, record) {
  if (record.seq <= view.lastSeq || (record.step && record.seq === view.stepSeq && record.step <= view.lastStep)) return view;
  // Only behind the last of several with one `seq` is gone on.
  const place = record.step ? { stepSeq: record.seq, lastStep: record.step } : { lastSeq: record.seq };
  const next = { ...view, ...place, parked: false };
  switch (record.kind) {
    case 'created':
      return {
        ...next, workflow: record.workflow ?? null, params: record.params ?? null,
        user: record.user ?? null, createdAt: record.at,
      };
    case 'claimed': {
      // A new claim means that the worker which was writing is gone: the text begins again, or is already in the log.
      const claimed = { ...next, claimed: true, writing: [] };
      return record.message ? withMessage(claimed, record.message, record.at) : claimed;
    }
    case 'said':
      return record.message ? withMessage({ ...next, claimed: true }, record.message, record.at) : next;
    case 'answered':
      return withAnswer(next, record);
    case 'reminded':
      return withReminder(next, record);
    case 'parked':
      return { ...next, parked: true };
    case 'ended':
      return withEnding(next, record);
    default:
      // A kind from a newer gateway: shown folded, because silence would hide something that happened.
      return withItem(next, unknownItem(`record-${record.seq}${record.step ? `.${record.step}` : ''}`, record.at, record.kind, record));
  }
}

/** @param {RunView} view @param {Message} message @param {string} at @returns {RunView} */
function withMessage(view, message, at) {
  const seen = withAgents(view, message);
  const finished = { ...seen, writing: seen.writing.filter((writing) => writing.key !== message.uuid) };
  if (message.type === 'keep_alive') return finished;
  // The `ended` record carries the same message and tells more about the end.
  if (message.type === 'workflow_completed') return finished;
  if (message.type === 'function_call_execution') return withExecution(finished, message, at);
  const item = itemOf(message, at);
  if (item.kind === 'text') return withText(finished, item);
  if (item.kind === 'question') {
    const question = { ...item, call: callOf(finished, item) };
    return withItem(withCall(withoutList(finished, question), question, 'asked', 'asked'), question);
  }
  if (item.kind !== 'tool') return withItem(finished, item);
  const batch = batchOf(finished, item);
  return withItem(finished, { ...item, batch, behind: batch <= finished.items.length });
}

/**
 * A person who speaks for an agent is asked for the agent's words, and then the agent says them: they are shown once, as theirs.
 * @param {RunView} view @param {TextItem} item @returns {RunView}
 */
function withText(view, item) {
  const asked = view.items.at(-1);
  if (asked?.kind !== 'question' || !asked.content.in_short || asked.sender !== item.sender || asked.answer?.text !== item.text) return withItem(view, item);
  return withItem({ ...view, items: view.items.with(-1, { ...asked, saidTo: item.recipient }) }, { ...item, standsInQuestion: true });
}

/**
 * Who is asked for a speaker by buttons needs no list with numbers before it.
 * @param {RunView} view @param {QuestionItem} question @returns {RunView}
 */
function withoutList(view, question) {
  const listed = view.items.at(-1);
  const asks = question.content.in_short?.prompt;
  if (!asks || listed?.kind !== 'text' || listed.sender !== question.sender || !listed.text.startsWith(`${asks}\n\n1. `)) return view;
  return { ...view, items: view.items.with(-1, { ...listed, standsInQuestion: true }) };
}

/** @param {RunView} view @param {Item} item @returns {RunView} */
function withItem(view, item) {
  const known = view.items.findLastIndex((other) => other.key === item.key);
  if (known < 0) return { ...view, items: [...view.items, item] };
  return { ...view, items: view.items.with(known, item) };
}

/** @param {Message} message @param {string} at @returns {Item} */
function itemOf(message, at) {
  const content = message.content ?? {};
  const html = message.html ?? null;
  const base = baseOf(message, at);
  switch (message.type) {
    case 'text_message':
      return { ...base, kind: 'text', text: asText(content.body), html, stopped: content.stopped === true, cut: content.cut ?? null, standsInQuestion: false };
    case 'suggested_function_call':
      return {
        ...base, kind: 'tool', callId: content.call_id ?? null, name: asText(content.function_name),
        arguments: content.arguments, argumentsText: content.arguments_text ?? null, asked: true, executed: false, executor: '', result: undefined, failed: false,
        executedAt: null, abandoned: false, approval: null, person: null, batch: 0,
      };
    case 'text_input':
    case 'multiple_choice':
    case 'form':
    case 'approval':
      return { ...base, kind: 'question', question: message.type, content, html, answer: null, open: true, saidTo: null, call: null };
    case 'system_message':
      return { ...base, kind: 'system', message: content.message ?? content, html };
    case 'workflow_started':
      return {
        ...base, kind: 'started', name: asText(content.name),
        description: content.description ?? null, params: content.params ?? null,
      };
    case 'error':
      return {
        ...base, kind: 'error', short: asText(content.short) || 'Something went wrong.',
        long: content.long ? asText(content.long) : null,
      };
    default:
      return { ...unknownItem(message.uuid, at, message.type, content), ...base, html };
  }
}

/** @param {string} key @param {string} at @param {string} type @param {unknown} raw @returns {UnknownItem} */
function unknownItem(key, at, type, raw) {
  return { key, sender: '', recipient: '', at, within: [], kind: 'unknown', type, raw, html: null };
}

/** @param {Message} message @param {string} at @returns {ItemBase} */
function baseOf(message, at) {
  return { key: message.uuid, sender: message.sender ?? '', recipient: message.recipient ?? '', at, within: withinOf(message.within) };
}

/** What a foreign or newer worker wrote may be anything; only whole entries count. @param {unknown} within @returns {Within[]} */
function withinOf(within) {
  return Array.isArray(within) ? within.filter((inner) => typeof inner?.id === 'string' && typeof inner?.title === 'string') : [];
}

/**
 * Joins a result to the call that asked for it; a result without one (a foreign worker's) makes a card of its own.
 * @param {RunView} view @param {Message} message @param {string} at @returns {RunView}
 */
function withExecution(view, message, at) {
  const content = message.content ?? {};
  const result = {
    executed: true, executor: message.sender ?? '', result: content.retval, failed: isFailure(content.retval), executedAt: at,
  };
  const base = baseOf(message, at);
  const asked = content.call_id == null ? -1 : waitingCall(view, base, (call) => call.callId === content.call_id && isNamed(call, content.function_name));
  if (asked >= 0) {
    const call = /** @type {ToolItem} */ (view.items[asked]);
    const items = view.items.with(asked, { ...call, ...result });
    const next = items.findIndex((item) => item.kind === 'tool' && item.batch === call.batch && item.behind);
    return { ...view, items: next < 0 ? items : items.with(next, { .../** @type {ToolItem} */ (items[next]), behind: false }) };
  }
  return withItem(view, {
    ...base, kind: 'tool', callId: content.call_id ?? null, name: asText(content.function_name),
    arguments: undefined, argumentsText: null, asked: false, abandoned: false, approval: null, person: null, batch: 0, ...result,
  });
}

/** AG2 gives a tool's failure to the model as a text that begins so; there is no other sign of it. @param {unknown} result */
function isFailure(result) {
  return typeof result === 'string' && /^error:/i.test(result.trimStart());
}

/**
 * Where the next of the calls that are meant stands, and has no result yet; -1: nowhere. A call's id is the provider's, and no name:
 * calls of one reply and of several may have the same. But the calls of a reply are made one after the other, in its order, and those
 * of an earlier reply are made before a later one comes, or never. What is said in another conversation has nothing to do with it.
 * @param {RunView} view @param {ItemBase} base @param {(call: ToolItem) => boolean} isMeant
 */
function waitingCall({ items }, base, isMeant) {
  /** @param {Item} item @returns {item is ToolItem} */
  const isCandidate = (item) => item.kind === 'tool' && item.asked && !item.executed && isInside(item, base) && isMeant(item);
  const latest = items.findLast(isCandidate);
  return latest === undefined ? -1 : items.findIndex((item) => isCandidate(item) && item.batch === latest.batch);
}

/** Whether it belongs to the same conversation. @param {ItemBase} item @param {ItemBase} other */
const isInside = ({ within }, other) => within.length === other.within.length && within.every(({ id }, depth) => id === other.within[depth].id);

/** @param {ToolItem} call @param {unknown} name none: a foreign worker did not say */
const isNamed = (call, name) => name == null || call.name === '' || call.name === asText(name);

/** A reply's calls stand one behind the other, before anything comes of them; what others say meanwhile may stand between them.
 * @param {RunView} view @param {ToolItem} call */
function batchOf({ items }, call) {
  const before = items.findLast((item) => isInside(item, call) && (item.sender === call.sender || item.recipient === call.sender));
  const isSame = before?.kind === 'tool' && before.asked && !before.executed && before.approval === null && before.sender === call.sender && before.recipient === call.recipient;
  return isSame ? before.batch : items.length + 1;
}

/** The key of the call that a question is about, or that asks it: the tool waits for the person then. @param {RunView} view @param {QuestionItem} question */
function callOf(view, question) {
  const { call_id: id, function_name: name } = question.content;
  if (question.question === 'approval' && id == null) return null;
  const position = question.question === 'approval'
    ? waitingCall(view, question, (call) => call.callId === id && isNamed(call, name) && call.approval !== 'allowed' && call.approval !== 'denied')
    : waitingCall(view, question, (call) => call.approval !== 'asked');
  return position < 0 ? null : view.items[position].key;
}

/**
 * Tells the card of a call how the question about it stands, or the one that it asks; that time does not count for the tool.
 * @param {RunView} view @param {QuestionItem} question @param {'asked' | 'allowed' | 'denied'} approval @param {ToolItem['person']} person
 * @returns {RunView}
 */
function withCall(view, question, approval, person) {
  const position = question.call === null ? -1 : view.items.findLastIndex((item) => item.key === question.call);
  const call = view.items[position];
  if (call?.kind !== 'tool') return view;
  return { ...view, items: view.items.with(position, question.question === 'approval' ? { ...call, approval } : { ...call, person }) };
}

/** @param {RunView} view @param {RunRecord} record @returns {RunView} */
function withAnswer(view, record) {
  const position = view.items.findLastIndex((item) => item.kind === 'question' && item.key === record.question);
  if (position < 0) return view;
  const question = /** @type {QuestionItem} */ (view.items[position]);
  /** @type {Answer} */
  const answer = {
    text: record.text ?? null, value: record.value ?? null, by: record.by ?? null, at: record.at,
    argumentsText: record.arguments_text ?? null, onTimeout: record.on_timeout === true, refused: record.refused ?? null,
  };
  const answered = { ...view, remindedAt: null, items: view.items.with(position, { ...question, answer, open: false }) };
  // A refused answer is asked for again, and the question that does it says so of the call.
  if (answer.refused !== null) return answered;
  return withCall(answered, question, answer.value?.decision === 'deny' ? 'denied' : 'allowed', 'answered');
}

/** Others may answer now. Who could before is not disturbed at what they write. @param {RunView} view @param {RunRecord} record @returns {RunView} */
function withReminder(view, record) {
  const position = view.items.findLastIndex((item) => item.kind === 'question' && item.key === record.question);
  const question = view.items[position];
  if (question?.kind !== 'question') return view;
  const reminded = { ...view, remindedAt: record.at };
  if (question.content.waits_for === record.waits_for) return reminded;
  return { ...reminded, items: view.items.with(position, { ...question, content: { ...question.content, waits_for: record.waits_for } }) };
}

/**
 * Who is waited for, if not the reader: of several questions those that the reader may answer come first.
 * @param {RunView} view @param {string | null} other whose run it is, if not the reader's
 */
export function waitedFor(view, other) {
  const open = openQuestions(view);
  return open.length > 0 ? askedOf(open.find(({ content }) => !content.waits_for) ?? open[0], other) : other;
}

/** Who is asked, if not the reader. @param {QuestionItem} question @param {string | null} other */
export function askedOf({ content }, other) {
  return content.waits_for ?? (content.answerers ? null : other);
}

/** @param {RunView} view @param {RunRecord} record @returns {RunView} */
function withEnding(view, record) {
  const items = view.items.map((item) => {
    if (item.kind === 'question' && item.open) return { ...item, open: false };
    if (item.kind === 'tool' && !item.executed) return { ...item, abandoned: true };
    return item;
  });
  /** @type {Ending} */
  const ending = {
    outcome: record.outcome ?? 'completed', reason: record.reason ?? null,
    result: record.result ?? record.message?.content?.result ?? null, html: record.message?.html ?? null,
    usage: record.usage ?? null, at: record.at,
  };
  // Text that never reached the log would be gone after a reload, so it goes now: the log is the only truth.
  return { ...view, items, writing: [], ending };
}

/** @param {RunView} view @param {Delta} delta @returns {RunView} */
function applyDelta(view, delta) {
  // A delta is passed on as its worker wrote it; one that is none must not end the stream.
  if (view.ending || typeof delta?.text !== 'string' || !Number.isInteger(delta.offset)) return view;
  const position = view.writing.findIndex((writing) => writing.key === delta.message);
  if (position < 0) {
    if (view.items.some((item) => item.key === delta.message)) return view;
    return { ...view, claimed: true, writing: [...view.writing, freshWriting(delta)] };
  }
  const before = view.writing[position];
  const after = extended(before, delta);
  return after === before ? view : { ...view, writing: view.writing.with(position, after) };
}

/** @param {Delta} delta @returns {Writing} */
function freshWriting(delta) {
  return {
    kind: 'writing', key: delta.message, sender: delta.sender ?? '', recipient: delta.recipient ?? '', within: withinOf(delta.within),
    attempt: delta.attempt ?? 1, from: delta.offset, end: delta.offset + scalarCount(delta.text), text: delta.text,
  };
}

/** @param {Writing} writing @param {Delta} delta @returns {Writing} */
function extended(writing, delta) {
  const attempt = delta.attempt ?? 1;
  if (attempt < writing.attempt) return writing;
  if (attempt > writing.attempt) return freshWriting(delta);
  const end = delta.offset + scalarCount(delta.text);
  if (delta.offset < writing.from && end >= writing.end) return freshWriting(delta);
  if (end <= writing.end) return writing;
  // A hole (a piece was lost on the way): what follows is shown alone until the log brings the whole text.
  if (delta.offset > writing.end) return freshWriting(delta);
  const fresh = delta.offset === writing.end ? delta.text : [...delta.text].slice(writing.end - delta.offset).join('');
  return { ...writing, text: writing.text + fresh, end };
}

/** @param {RunView} view @param {Message} message @returns {RunView} */
function withAgents(view, message) {
  let hues = view.hues;
  for (const name of [message.sender, message.recipient]) {
    if (name && !Object.hasOwn(hues, name)) hues = { ...hues, [name]: hueFor(name, Object.values(hues)) };
  }
  return hues === view.hues ? view : { ...view, hues };
}

/** Offsets on the wire count Unicode scalar values; JavaScript's length counts UTF-16 units. @param {string} text */
function scalarCount(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

/** @param {unknown} value */
function asText(value) {
  if (value == null) return '';
  return typeof value === 'string' ? value : exactText(value, 2);
}
