// @ts-check
/**
 * A question, where it was asked: open, with its controls, and afterwards, with its answer.
 *
 * An open question hands back a handle (`focus`, `choose`) for the keyboard, which also learns that the server can be reached again,
 * and that the question was closed. Sending is the same for all kinds: the controls rest while the answer is under way, a refusal is
 * said at them, and only the log's `answered` record closes the question, so that two tabs can never disagree.
 */

import { answerQuestion, ApiError, wordsOf } from '../gateway/api.js';
import { announce } from '../elements/dialogs.js';
import { freshId, h, isOfInputMethod } from '../elements/dom.js';
import { LATE, keepDraft, readDraft } from '../form/drafts.js';
import { icon } from '../elements/icons.js';
import { fold, messageFrame } from '../run/messages.js';
import { plainText, richText } from '../text/rich-text.js';
import { labelled } from '../form/schema.js';
import { schemaForm } from '../form/schema-form.js';
import { textBlock, valueBlock } from '../run/tool-card.js';
import { keepUnsent, lastText, rememberText, unsentNote } from './unsent.js';
import { answerText, answererWords, buttonLabel, duration, sentenceOf, timeOfDay, visible } from '../text/words.js';

/**
 * @typedef {import('../run/state.js').QuestionItem} QuestionItem
 * @typedef {{run: string, reader: string | null, other: string | null, ending: import('../run/state.js').Ending | null,
 *   hues: import('../elements/faces.js').Hues, onSent: () => void, onSending: () => void, onLate: () => void}} Context   `other`: whose run
 *   it is, if not the reader's; `onSending`: an answer is under way, or is not any more; `onLate`: it came too late for a question that
 *   is closed already
 *
 * @typedef {object} Asking          the controls of one kind of question
 * @property {HTMLElement} element
 * @property {() => {value: unknown} | null} read   null if something is missing; then it has been said
 * @property {() => void} focus
 * @property {(position: number) => boolean} [choose]   from 0; whether there was such a choice
 * @property {HTMLElement | null} invalid   the input that gets aria-invalid when the server refuses
 * @property {() => void} [afterSending]
 * @property {(answer: import('../run/state.js').Answer | null) => string} [unsent]   the words that stand there and not in the answer that
 *   was given elsewhere; never a password
 * @property {(message: string) => string | null} [refuse]   says at its fields what the server refused, and goes there; returns what
 *   is left to say, and null if no field was meant
 *
 * @typedef {{send: (value: unknown) => void, say: (words: string) => void, submit: () => void, promptId: string, problemId: string}} Means
 *
 * @typedef {{frame: HTMLElement, focus: () => void, choose: (position: number) => boolean, reconnected: () => void,
 *   isSending: () => boolean, closed: (item: QuestionItem) => void}} QuestionHandle
 */

/** Of a longer answer so much is shown at once: what was pasted must not bury what is said about it. */
const ANSWER_SHOWN_AT_ONCE = 1500;
const ANSWER_LINES_AT_ONCE = 12;

/** What is said while an answer takes its time, and after how long. */
const WHILE_SENDING = /** @type {const} */ ([[2000, 'Sending…'], [8000, 'This takes unusually long; keep this page open.']]);

/** @param {QuestionItem} item @param {Context} context @returns {QuestionHandle} */
export function openQuestion(item, context) {
  const prompt = promptOf(item);
  const problem = h('p', { class: 'problem', id: freshId('problem'), role: 'alert', tabindex: -1, hidden: true });
  const progress = h('p', { class: 'sending-words', role: 'status' });
  const controls = h('fieldset', { class: 'controls' });
  const form = h('form', { class: 'asking', novalidate: true }, controls, progress, problem);
  let isUnsent = false;
  let isTaken = false;
  let isLate = false;
  /** What has become of an answer that was under way when the question was closed. @type {(() => void) | null} */
  let whenRefused = null;
  const isSending = () => form.classList.contains('is-sending');

  /** @param {string} words */
  const say = (words) => {
    isUnsent = false;
    problem.textContent = words;
    problem.hidden = words === '';
    if (words) asking.invalid?.setAttribute('aria-invalid', 'true');
    else asking.invalid?.removeAttribute('aria-invalid');
  };

  /** @param {unknown} value */
  const send = async (value) => {
    if (controls.disabled) return;
    say('');
    controls.disabled = true;
    form.classList.add('is-sending');
    const calm = sayWhileSending(progress);
    context.onSending();
    try {
      await answerQuestion(context.run, item.key, value);
      isTaken = true;
      calm();
      asking.afterSending?.();
      keepDraft(context.run, item.key, null);
      context.onSent();
    } catch (error) {
      calm();
      form.classList.remove('is-sending');
      context.onSending();
      if (error instanceof ApiError && ['already_answered', 'run_ended'].includes(error.code)) {
        isLate = true;
        await keepLateSoon(context, item, value);
        keepDraft(context.run, item.key, null);
        if (typeof value === 'string' && !item.content.password) rememberText(value);
        // The log says who was first, and the question says it then. Until then:
        const words = error.code === 'run_ended' ? wordsOf(error) : alreadyAnswered(error, context.reader);
        if (frame.isConnected) say(words);
        else announce(words);
        context.onLate();
        return;
      }
      if (whenRefused) {
        whenRefused();
        return;
      }
      controls.disabled = false;
      const rest = error instanceof ApiError && error.status === 422 ? asking.refuse?.(error.message) ?? null : null;
      say(rest === null ? wordsOf(error) : rest && sentenceOf(rest));
      isUnsent = error instanceof ApiError && error.code === 'unreachable';
      if (rest === null) goToProblem();
    }
  };
  /** What is said of a whole form stands below it, maybe out of sight; elsewhere the field is right there. */
  const goToProblem = () => {
    if (asking.refuse) problem.focus({ preventScroll: true });
    else asking.focus();
    problem.scrollIntoView({ block: 'nearest' });
  };
  const reconnected = () => {
    if (isUnsent) say('You are connected again. Your answer was not sent: send it once more.');
  };

  const asking = askingOf(item, context, { send, say, submit: () => form.requestSubmit(), promptId: prompt.id, problemId: problem.id });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const read = asking.read();
    if (read) send(read.value);
  });
  controls.append(asking.element);
  const frame = messageFrame({ ...item, askedOf: context.other }, context.hues);
  const body = /** @type {HTMLElement} */ (frame.lastElementChild);
  // A fieldset's legend is its question; then the prompt stands there and not above.
  if (!asking.element.contains(prompt)) body.append(prompt);
  body.append(form);
  const deadline = deadlineLine(item);
  if (deadline) form.append(deadline);
  frame.classList.add('is-open');
  frame.dataset.question = item.question;
  frame.tabIndex = -1;

  /** @param {QuestionItem} question @param {Context} where @param {Means} means @returns {Asking} */
  function askingOf(question, where, means) {
    if (question.question === 'multiple_choice') return askForChoice(question, where, prompt, means);
    if (question.question === 'approval') return askForApprovalSoon(question, means);
    if (question.question === 'form') return askForForm(question, where, means);
    return question.content.password ? askForPassword(means) : askForText(question, where, means);
  }
  return {
    frame, reconnected, isSending, focus: asking.focus,
    choose: (position) => !controls.disabled && (asking.choose?.(position) ?? false),
    closed: ({ answer }) => {
      const words = isTaken || isLate ? '' : asking.unsent?.(answer) ?? '';
      // The log may tell of an answer before the server's word that it was this one, or another.
      const isUnderWay = !isTaken && isSending();
      keepUnsent(context.run, item.key, isUnderWay ? '' : words);
      if (isUnderWay) whenRefused = () => {
        keepUnsent(context.run, item.key, words);
        context.onLate();
      };
    },
  };
}

/** An open question that is for others. @param {QuestionItem} item @param {Context} context */
export function othersQuestion(item, context) {
  const { arguments: values, arguments_text: text } = item.content;
  const frame = messageFrame({ ...item, askedOf: visible(context.other ?? '') }, context.hues, promptOf(item),
    ...item.question === 'approval' ? [h('div', { class: 'approval-arguments' }, typeof text === 'string' ? textBlock('Arguments', text) : valueBlock('Arguments', values ?? {}))] : []);
  frame.dataset.question = item.question;
  return frame;
}

/** Says how an answer is getting on, once it takes longer than usual. Returns what ends it. @param {HTMLElement} place */
function sayWhileSending(place) {
  const timers = WHILE_SENDING.map(([after, words]) => setTimeout(() => { place.textContent = words; }, after));
  return () => {
    for (const timer of timers) clearTimeout(timer);
    place.textContent = '';
  };
}

/** @param {QuestionItem} item @param {Context} context */
export function closedQuestion(item, context) {
  const frame = item.saidTo === null ? messageFrame({ ...item, askedOf: context.other }, context.hues, promptOf(item))
    : messageFrame({ ...item, kind: 'text', recipient: item.saidTo }, context.hues);
  frame.dataset.question = item.question;
  const body = /** @type {HTMLElement} */ (frame.lastElementChild);
  if (item.answer === null) {
    body.append(h('p', { class: 'muted unanswered' }, 'The run ended before this was answered.'));
  } else {
    body.append(answerBubble(item, item.answer, context.reader));
  }
  const notes = [lateNoteSoon(context, item), item.content.password ? null : unsentNote(context.run, item)];
  body.append(...notes.filter((note) => note !== null));
  return frame;
}

/** @param {QuestionItem} item @param {import('../run/state.js').Answer} answer @param {string | null} reader */
function answerBubble(item, answer, reader) {
  if (answer.refused !== null) {
    return h('p', { class: 'problem unanswered' }, `This answer could not be taken: ${answer.refused}. The question is asked again.`);
  }
  const who = answer.onTimeout ? 'Nobody answered in time; this was taken instead' : answererWords(answer, reader);
  const text = buttonLabel(item.content, answer.text) ?? (answer.onTimeout && answer.text === null ? 'no answer' : answerText(answer));
  return h('div', { class: `answer${answer.onTimeout ? ' is-default' : ''}` },
    h('div', { class: 'answer-text' }, filledIn(item, answer) ?? denialWords(item, answer) ?? (text ? answerPart(text) : '(an empty answer)')),
    changedArguments(item, answer),
    h('div', { class: 'answer-meta' }, h('bdi', null, who), ' · ', h('time', { datetime: answer.at }, timeOfDay(answer.at))));
}

/** A reason runs as its own letters do. @param {QuestionItem} item @param {import('../run/state.js').Answer} answer */
function denialWords(item, { value }) {
  if (item.question !== 'approval' || value?.decision !== 'deny' || !value.reason) return null;
  return h('div', { class: 'prose plain' }, 'Denied: ', h('bdi', null, value.reason));
}

/** @param {string} text */
const answerPart = (text) => plainText(text, ANSWER_SHOWN_AT_ONCE, ANSWER_LINES_AT_ONCE);

/** A form as it was filled in, under the words that were asked. @param {QuestionItem} item @param {import('../run/state.js').Answer} answer */
function filledIn(item, answer) {
  if (item.question !== 'form' || !answer.value || typeof answer.value !== 'object') return null;
  return h('dl', { class: 'filled-in' },
    ...labelled(item.content.schema, answer.value).flatMap(({ label, words }) => [h('dt', { dir: 'auto' }, label), h('dd', null, answerPart(words))]));
}

/** @param {QuestionItem} item @param {import('../run/state.js').Answer} answer */
function changedArguments(item, answer) {
  if (item.question !== 'approval' || !answer.value?.arguments) return null;
  const { argumentsText: text, value } = answer;
  return fold('With other arguments', text === null ? valueBlock('Arguments', value.arguments) : textBlock('Arguments', text));
}

/** Answers that came too late in this tab. @type {Set<string>} */
const late = new Set();

/** What says so comes when it is needed first: few answers are late. @param {Context} context @param {QuestionItem} item @param {unknown} sent */
async function keepLateSoon(context, item, sent) {
  const module = await import('./late.js').catch(() => null);
  late.add(item.key);
  module?.keepLate(context.run, item, sent);
}

/** @param {Context} context @param {QuestionItem} item */
function lateNoteSoon(context, item) {
  if (!late.has(item.key) && readDraft(context.run, item.key + LATE) === null) return null;
  const place = h('div');
  import('./late.js').then(({ lateNote }) => place.replaceWith(lateNote(context, item) ?? ''), () => {});
  return place;
}

/** What asks whether a tool may be called comes when it is needed first: few conversations have it. @param {QuestionItem} item
 * @param {Means} means @returns {Asking} */
function askForApprovalSoon(item, means) {
  const element = h('div', { tabindex: -1 });
  /** @type {Asking | null} */
  let asking = null;
  import('./approval.js').then(({ askForApproval }) => {
    asking = askForApproval(item, means);
    const hadFocus = document.activeElement === element;
    element.replaceWith(asking.element);
    if (hadFocus) asking.focus();
  }, () => means.say('What is asked could not be loaded. Load the page again.'));
  return {
    element, invalid: null, read: () => null,
    focus: () => asking ? asking.focus() : element.focus({ preventScroll: true }),
    choose: (position) => asking?.choose?.(position) ?? false,
    unsent: (answer) => asking?.unsent?.(answer) ?? '',
    refuse: (message) => asking?.refuse?.(message) ?? null,
  };
}

/** @param {QuestionItem} item */
function promptOf(item) {
  const inShort = item.content.in_short;
  const prompt = inShort ? richText(null, inShort.prompt) : richText(item.html, item.content.prompt ?? '');
  prompt.classList.add('prompt');
  prompt.id = freshId('prompt');
  return prompt;
}

/** Answers that stand for something else than their words. @param {QuestionItem} item @returns {{label: string, answer: string}[]} */
function shortAnswers(item) {
  return item.content.in_short?.answers ?? [];
}

/** @param {ApiError} error @param {string | null} reader */
function alreadyAnswered(error, reader) {
  const by = error.by ? ` by ${error.by === reader ? 'you' : visible(error.by)}` : '';
  const at = error.at ? ` at ${timeOfDay(error.at)}` : '';
  return by || at ? `This was already answered${by}${at}; your answer was not taken.` : error.words;
}

/** @param {QuestionItem} item @param {Context} context @param {Means} means @returns {Asking} */
function askForText(item, context, means) {
  const { suggestions, suggestions_fill: isFilledIn, multiline, value_type: type } = item.content;
  const numeric = type === 'integer' || type === 'number';
  const described = { 'aria-labelledby': means.promptId, 'aria-describedby': means.problemId, placeholder: 'Your answer', dir: 'auto' };
  const input = numeric
    ? h('input', { ...described, type: 'text', inputmode: type === 'integer' ? 'numeric' : 'decimal', autocomplete: 'off' })
    : h('textarea', { ...described, rows: multiline ? 3 : 1, enterkeyhint: 'send' });
  const draft = readDraft(context.run, item.key);
  if (typeof draft === 'string') input.value = draft;
  let emptyOnce = false;

  input.addEventListener('input', () => {
    emptyOnce = false;
    means.say('');
    keepDraft(context.run, item.key, input.value);
  });
  input.addEventListener('keydown', (event) => {
    const key = /** @type {KeyboardEvent} */ (event);
    const last = lastText();
    if (key.key === 'ArrowUp' && input.value === '' && last !== null) {
      key.preventDefault();
      input.value = last;
      input.dispatchEvent(new Event('input', { bubbles: true }));
    }
    // Enter also ends the choice of a character in many Asian keyboards; that one is not ours. On a phone it is the only
    // way to a new line.
    const newLine = key.shiftKey || (multiline && matchMedia('(pointer: coarse)').matches);
    if (key.key !== 'Enter' || isOfInputMethod(key) || (newLine && !numeric)) return;
    key.preventDefault();
    means.submit();
  });

  /** As a beginning that the reader goes on with: the cursor stands behind it. @param {string} suggestion */
  const fillIn = (suggestion) => {
    input.value = suggestion;
    input.dispatchEvent(new Event('input', { bubbles: true }));
    input.focus();
    input.setSelectionRange(suggestion.length, suggestion.length);
  };
  const short = shortAnswers(item);
  const buttons = short.length > 0
    ? h('div', { class: 'suggestions', role: 'group', 'aria-label': 'Answers to pick from' },
      ...short.map(({ label, answer }) => h('button', { type: 'button', class: 'chip', dir: 'auto', onclick: () => { means.send(answer); } }, label)))
    : null;
  const chips = !buttons && Array.isArray(suggestions) && suggestions.length > 0
    ? h('div', { class: 'suggestions', role: 'group', 'aria-label': 'Suggested answers' },
      ...suggestions.map((suggestion) => h('button', {
        type: 'button', class: 'chip', dir: 'auto', onclick: () => {
          if (isFilledIn) fillIn(suggestion);
          else {
            rememberText(suggestion);
            means.send(suggestion);
          }
        },
      }, suggestion, isFilledIn ? icon('pencil') : null)))
    : null;
  return {
    element: h('div', null, buttons ?? chips, composer(input)),
    invalid: input,
    focus: () => input.focus({ preventScroll: true }),
    afterSending: () => { if (input.value) rememberText(input.value); },
    unsent: () => input.value,
    read: () => {
      // An empty answer can be meant ("go on by yourself"), but it can also be a slip.
      if (input.value.trim() === '' && !emptyOnce && short.length === 0) {
        emptyOnce = true;
        means.say('Nothing is written yet. Send once more to give an empty answer.');
        return null;
      }
      return { value: input.value };
    },
  };
}

/** @param {Means} means @returns {Asking} */
function askForPassword(means) {
  const input = h('input', {
    type: 'password', dir: 'auto', autocomplete: 'off', 'aria-labelledby': means.promptId, 'aria-describedby': means.problemId,
    placeholder: 'Stays hidden; it is not kept in the conversation', spellcheck: 'false',
    oninput: () => means.say(''),
  });
  return {
    element: composer(input), invalid: input, focus: () => input.focus({ preventScroll: true }),
    afterSending: () => { input.value = ''; },
    read: () => {
      if (input.value !== '') return { value: input.value };
      means.say('Nothing is written yet.');
      return null;
    },
  };
}

/** @param {HTMLElement} input */
function composer(input) {
  return h('div', { class: 'composer' }, input,
    h('button', { type: 'submit', class: 'send-button', 'aria-label': 'Send the answer' }, icon('send')));
}

/** @param {QuestionItem} item @param {Context} context @param {HTMLElement} prompt @param {Means} means @returns {Asking} */
function askForChoice(item, context, prompt, means) {
  const { choices = [], descriptions, single = true, min, max } = item.content;
  const draft = readDraft(context.run, item.key);
  const chosen = Array.isArray(draft) ? draft : [item.content.default].flat().filter((value) => value != null);
  const onChosen = () => {
    means.say('');
    keepDraft(context.run, item.key, checked().map((box) => box.value));
  };
  const name = freshId('choice');
  const boxes = /** @type {string[]} */ (choices).map((choice) => {
    const box = h('input', { type: single ? 'radio' : 'checkbox', name, value: choice, onchange: onChosen });
    box.checked = chosen.includes(choice);
    return box;
  });
  const rows = boxes.map((box, position) => h('label', { class: 'choice' }, box,
    h('span', { class: 'choice-words' }, h('span', { dir: 'auto' }, choices[position]),
      descriptions?.[position] ? h('span', { class: 'help', dir: 'auto' }, descriptions[position]) : null),
    position < 9 ? h('kbd', { 'aria-hidden': 'true' }, position + 1) : null));
  const fieldset = h('fieldset', { class: 'choices', 'aria-describedby': means.problemId }, h('legend', null, prompt),
    single ? null : h('p', { class: 'help' }, amountWords(min, max)), ...rows);
  fieldset.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return;
    event.preventDefault();
    means.submit();
  });
  const checked = () => boxes.filter((box) => box.checked);
  return {
    element: h('div', null, fieldset, h('button', { type: 'submit', class: 'primary-button' }, 'Send')),
    invalid: null,
    focus: () => (checked()[0] ?? boxes[0])?.focus({ preventScroll: true }),
    choose: (position) => {
      const box = boxes[position];
      if (!box) return false;
      box.checked = single ? true : !box.checked;
      box.focus();
      onChosen();
      return true;
    },
    read: () => {
      const values = checked().map((box) => box.value);
      const wrong = single ? (values.length === 1 ? '' : 'Choose one.')
        : values.length < (min ?? 0) || values.length > (max ?? Infinity) ? amountWords(min, max) : '';
      means.say(wrong);
      if (wrong) return null;
      return { value: single ? values[0] : values };
    },
  };
}

/** @param {number | null | undefined} min @param {number | null | undefined} max */
function amountWords(min, max) {
  if (min && max) return min === max ? `Choose exactly ${min}.` : `Choose ${min} to ${max}.`;
  if (min) return `Choose at least ${min}.`;
  return max ? `Choose up to ${max}.` : 'Choose as many as you like.';
}

/** @param {QuestionItem} item @param {Context} context @param {Means} means @returns {Asking} */
function askForForm(item, context, means) {
  const draft = readDraft(context.run, item.key);
  const form = schemaForm(item.content.schema ?? {}, draft && typeof draft === 'object' ? draft : {});
  form.element.addEventListener('input', () => {
    means.say('');
    keepDraft(context.run, item.key, form.written());
  });
  /** @param {string} word @param {string} label */
  const withoutForm = (word, label) => h('button', { type: 'button', class: 'secondary-button', onclick: () => { means.send(word); } }, label);
  return {
    element: h('div', { role: 'group', 'aria-labelledby': means.promptId }, form.element,
      h('div', { class: 'form-actions' }, h('button', { type: 'submit', class: 'primary-button' }, 'Send'),
        ...item.content.can_decline ? [withoutForm('decline', 'Decline'), withoutForm('cancel', 'Cancel')] : [])),
    invalid: null, focus: form.focus, refuse: form.refuse, unsent: (answer) => form.touchedWords(answer?.value),
    read: () => {
      const read = form.read();
      return read.valid ? { value: read.value } : null;
    },
  };
}

/** Until when, and what happens then. Keeps itself up to date while it is on the page. @param {QuestionItem} item */
function deadlineLine(item) {
  const { deadline, on_timeout: otherwise } = item.content;
  if (!deadline) return null;
  const until = Date.parse(deadline);
  const left = h('span', { 'aria-live': 'off' });
  const line = h('p', { class: 'deadline' }, icon('clock'), h('span', null, `Answer by ${timeOfDay(deadline)} `, left,
    ...(otherwise ? [' Otherwise: ', h('bdi', null, otherwise)] : [' Otherwise the run goes on without your answer.'])));
  const update = () => {
    const remaining = until - Date.now();
    left.textContent = remaining > 0 ? `(${duration(Math.ceil(remaining / 1000) * 1000)} left).` : '(the time is over).';
    line.classList.toggle('is-near', remaining < 60_000);
  };
  update();
  const timer = setInterval(() => {
    if (line.isConnected) update();
    else clearInterval(timer);
  }, 1000);
  return line;
}
