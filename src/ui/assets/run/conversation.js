// @ts-check
/**
 * One run on the screen: follows its events, folds them into the view (state.js) and draws what changed.
 *
 * Finished messages live in an element with role="log", which a screen reader reads out; what is being written lives below it,
 * unannounced, and is replaced by the finished message within one frame.
 */

import { announce } from '../elements/dialogs.js';
import { h } from '../elements/dom.js';
import { drawnLater } from './drawn-later.js';
import { endDrafts } from '../form/drafts.js';
import { endingBlock } from './ending.js';
import { followRun } from '../gateway/event-stream.js';
import { icon } from '../elements/icons.js';
import { nestedFolds } from './nested.js';
import { errorMessage, startedNotice, systemMessage, textMessage, unknownMessage, writingMessage } from './messages.js';
import { closedQuestion, openQuestion, othersQuestion } from '../question/questions.js';
import { keepAtEnd } from './scrolling.js';
import { apply, askedOf, emptyRun, openQuestions, phaseOf, waitedFor } from './state.js';
import { startRun, wordsOf } from '../gateway/api.js';
import { toolCard } from './tool-card.js';
import { readerName, whoIsHere } from '../session/session.js';
import { counted, otherThan, plainLine, timeOfDay, visible } from '../text/words.js';

/**
 * @typedef {import('./state.js').RunView} RunView
 * @typedef {import('./state.js').Item} Item
 * @typedef {import('../question/questions.js').QuestionHandle} QuestionHandle
 * @typedef {{item: Item, node: HTMLElement, question: QuestionHandle | null}} Drawn
 *
 * @typedef {object} ConversationListeners
 * @property {(view: RunView) => void} onView                after each drawing
 * @property {(connection: import('../gateway/event-stream.js').Connection) => void} onConnection
 * @property {(run: import('../gateway/api.js').Run) => void} onStarted   a new run was started from the end of this one
 * @property {() => void} onNew
 * @property {() => void} onMissing   there is nothing to show: no such run, or not for this reader
 *
 * @typedef {object} Conversation   a run on the screen, from its opening to its closing
 * @property {string} run
 * @property {ConversationListeners} listeners
 * @property {HTMLElement} place           holds everything below
 * @property {HTMLElement} scroller        holds the column
 * @property {HTMLElement} column          holds log, writingArea, status and end
 * @property {HTMLElement} log             the finished messages
 * @property {HTMLElement} writingArea     the messages that are being written
 * @property {HTMLElement} status
 * @property {HTMLElement} end             how the run ended, or why it cannot be followed
 * @property {HTMLElement} downButton
 * @property {HTMLElement} questionBar     the ways to open questions that are out of sight
 * @property {RunView} view
 * @property {Drawn[]} drawn               the items of the view, in the same order
 * @property {Map<string, ReturnType<typeof writingMessage>>} writingNodes   by the key of the message
 * @property {ReturnType<typeof nestedFolds>} folds
 * @property {ReturnType<typeof keepAtEnd>} scrolling
 * @property {ReturnType<typeof drawnLater>} later
 * @property {IntersectionObserver} sight  observes the open questions
 * @property {Set<Element>} outOfSight     the open questions that are not in the window
 * @property {{close: () => void} | null} settling
 * @property {number} countWhenLeft        how many items there were when the reader left the end
 * @property {boolean} focusWasHere        a field goes when it was answered; a reader who uses the keyboard goes on from here then
 * @property {string | null} questionWithFocus   the key of the question that had the focus last
 * @property {boolean} isScheduled         the next drawing is scheduled
 * @property {boolean} isLive              the history has been drawn, or has its places: what comes now is new
 * @property {boolean} isEndDrawn
 * @property {boolean} isRefused           the run cannot be followed, and nothing of it can be shown
 * @property {boolean} isReaderKnown       whose answers are "You"
 * @property {string} lateStop             that the reader's stop came too late, in words
 * @property {boolean} isClosed
 */

/** How long history may come in before a part of it is shown. */
const HISTORY_PATIENCE_MS = 400;
/** So much of a history is drawn before anything of it is shown; most are shorter. */
const FIRST_SLICE_MS = 60;

/** @param {HTMLElement} place @param {string} run @param {ConversationListeners} listeners */
export function openConversation(place, run, listeners) {
  const conversation = newConversation(place, run, listeners);
  const { column, downButton, later, scrolling, sight } = conversation;
  /** @param {FocusEvent} event */
  const onFocus = (event) => noteFocus(conversation, event);
  document.addEventListener('focusin', onFocus);
  downButton.addEventListener('click', () => { scrolling.toEnd(); focusQuestion(conversation); });
  const following = follow(conversation);
  whoIsHere().catch(() => {}).then(() => {
    conversation.isReaderKnown = true;
    schedule(conversation);
  });
  // A long history is drawn once, when it is complete, unless it takes so long that an empty page would worry someone.
  const patience = setTimeout(() => { schedule(conversation, true); }, HISTORY_PATIENCE_MS);
  return {
    view: () => conversation.view,
    /** All of it. */
    column: () => {
      later.all();
      return column;
    },
    focusQuestion: () => {
      const question = conversation.drawn.find((each) => each.question);
      if (question && !question.node.contains(document.activeElement)) scrolling.show(question.node);
      return focusQuestion(conversation);
    },
    /** The reader stopped what had ended by itself, or by somebody else. @param {string} words */
    sayLateStop: (words) => {
      conversation.lateStop = words;
      conversation.isEndDrawn = false;
      drawEnd(conversation);
    },
    /** @param {number} position */
    choose: (position) => currentQuestion(conversation)?.choose(position) ?? false,
    close: () => {
      conversation.isClosed = true;
      clearTimeout(patience);
      document.removeEventListener('focusin', onFocus);
      following.close();
      sight.disconnect();
      later.close();
      conversation.settling?.close();
      scrolling.close();
    },
  };
}

/** @param {HTMLElement} place @param {string} run @param {ConversationListeners} listeners @returns {Conversation} */
function newConversation(place, run, listeners) {
  const log = h('div', { class: 'log', role: 'log', 'aria-label': 'Conversation', 'aria-relevant': 'additions', 'aria-busy': 'true' });
  const writingArea = h('div', { class: 'writing-area', 'aria-live': 'off' });
  const status = h('p', { class: 'run-status', role: 'status' });
  const end = h('div');
  const column = h('div', { class: 'column' }, log, writingArea, status, end);
  const scroller = h('div', { class: 'scroller', tabindex: 0, role: 'region', 'aria-label': 'Messages' }, column);
  const downButton = h('button', { type: 'button', class: 'down-button', hidden: true }, icon('down'), h('span', null, 'New messages'));
  const questionBar = h('nav', { class: 'question-bar', 'aria-label': 'Open questions', hidden: true });
  place.replaceChildren(scroller, h('div', { class: 'dock' }, downButton, questionBar));
  /** @type {Conversation} */
  const conversation = {
    run, listeners, place, scroller, column, log, writingArea, status, end, downButton, questionBar,
    view: emptyRun(), drawn: [], writingNodes: new Map(), folds: nestedFolds(log, writingArea),
    scrolling: keepAtEnd(scroller, column, (atEnd) => {
      if (!atEnd) conversation.countWhenLeft = conversation.view.items.length;
      drawDock(conversation);
    }),
    later: drawnLater(scroller, () => {
      if (conversation.isLive) endHistory(conversation);
    }),
    sight: new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) conversation.outOfSight.delete(entry.target);
        else conversation.outOfSight.add(entry.target);
      }
      drawDock(conversation);
    }, { root: scroller }),
    outOfSight: new Set(), settling: null, countWhenLeft: 0, focusWasHere: false, questionWithFocus: null,
    isScheduled: false, isLive: false, isEndDrawn: false, isRefused: false, isReaderKnown: false, lateStop: '', isClosed: false,
  };
  return conversation;
}

/** @param {Conversation} conversation @param {FocusEvent} event */
function noteFocus(conversation, { target }) {
  conversation.focusWasHere = target instanceof Node && conversation.place.contains(target);
  const question = target instanceof Element && conversation.focusWasHere ? target.closest('.is-open') : null;
  conversation.questionWithFocus = question instanceof HTMLElement ? question.dataset.key ?? null : null;
}

/** @param {Conversation} conversation */
function follow(conversation) {
  const { listeners } = conversation;
  return followRun(conversation.run, {
    after: () => conversation.view.lastSeq,
    onEvent: (name, data) => {
      if (name === 'record') change(conversation, { type: 'record', record: data });
      else if (name === 'delta') change(conversation, { type: 'delta', delta: data });
      else if (name === 'caught_up') change(conversation, { type: 'caught_up' });
    },
    onConnection: (connection) => {
      if (connection === 'connected') for (const { question } of conversation.drawn) question?.reconnected();
      listeners.onConnection(connection);
    },
    onRefusal: (error) => {
      const notice = h('div', { class: 'notice is-problem', role: 'alert' }, icon('warning'), h('div', null, h('p', { class: 'problem-words' }, error.words),
        h('button', { type: 'button', class: 'secondary-button', onclick: () => listeners.onNew() }, 'New conversation')));
      // What can be read already stays readable.
      if (conversation.view.items.length > 0) {
        conversation.end.replaceChildren(notice);
        return;
      }
      conversation.isRefused = true;
      listeners.onMissing();
      conversation.place.replaceChildren(h('div', { class: 'scroller' }, h('div', { class: 'column' }, notice)));
    },
  });
}

/** @param {Conversation} conversation @param {import('./state.js').RunEvent} event */
function change(conversation, event) {
  const before = conversation.view;
  conversation.view = apply(before, event);
  if (conversation.view !== before) schedule(conversation);
}

/** @param {Conversation} conversation */
function schedule(conversation, evenIncomplete = false) {
  const { view } = conversation;
  if (conversation.isScheduled || conversation.isClosed || !(conversation.isReaderKnown || evenIncomplete)) return;
  if (!view.caughtUp && !view.ending && !evenIncomplete && conversation.drawn.length === 0) return;
  conversation.isScheduled = true;
  // A hidden tab gets no animation frames, but its state must be right when someone returns.
  if (document.visibilityState === 'hidden') setTimeout(() => draw(conversation), 100);
  else requestAnimationFrame(() => draw(conversation));
}

/** @param {Conversation} conversation */
function draw(conversation) {
  conversation.isScheduled = false;
  if (conversation.isClosed || conversation.isRefused) return;
  const { place, column, scroller, scrolling } = conversation;
  const hadFocus = document.activeElement;
  const openBefore = new Set(openDrawn(conversation).map((each) => each.item.key));
  const isFirst = conversation.drawn.length === 0;
  drawItems(conversation);
  drawWriting(conversation);
  drawStatus(conversation);
  drawEnd(conversation);
  if (!conversation.isLive) drawHistory(conversation, isFirst);
  const fresh = openDrawn(conversation).filter((each) => !openBefore.has(each.item.key));
  const isFollowing = scrolling.isFollowing();
  const tall = isFollowing ? fresh.find(({ node }) => isTall(conversation, node)) : undefined;
  // The field that had the focus is gone with its question, or nothing had it: then the next question takes it.
  const isFree = !hadFocus || hadFocus === document.body || hadFocus === place || hadFocus === scroller || !hadFocus.isConnected;
  if (isFollowing) scrolling.toEnd();
  // A reader who writes somewhere already keeps that field in sight.
  if (tall && !isFree && hadFocus && column.contains(hadFocus)) scrolling.show(hadFocus);
  else if (tall) scrolling.showBeginning(tall.node);
  drawDock(conversation);
  conversation.listeners.onView(conversation.view);
  const isNew = fresh.length > 0;
  if ((isNew || !hadFocus?.isConnected) && isFree && isFollowing) {
    // The cursor is where the eyes are.
    if (tall) tall.question?.focus();
    else focusQuestion(conversation);
  }
  focusAfterAnswer(conversation, openBefore);
  if (conversation.focusWasHere && document.activeElement === document.body) place.focus({ preventScroll: true });
}

/** Of two questions one was answered: the other is next, wherever it stands. @param {Conversation} conversation @param {Set<string>} openBefore */
function focusAfterAnswer(conversation, openBefore) {
  const { drawn, outOfSight, questionWithFocus, scrolling } = conversation;
  const open = openQuestions(conversation.view);
  const next = open[0];
  const isAnswered = questionWithFocus !== null && openBefore.has(questionWithFocus) && !open.some(({ key }) => key === questionWithFocus);
  if (!isAnswered || !next || document.activeElement !== document.body) return;
  const node = drawn.find((each) => each.item.key === next.key);
  if (node && isTall(conversation, node.node)) scrolling.showBeginning(node.node);
  if (node && outOfSight.has(node.node)) goTo(conversation, next.key);
  else node?.question?.focus();
}

/** Taller than the window. @param {Conversation} conversation @param {HTMLElement} node */
const isTall = ({ scroller }, node) => node.offsetHeight > scroller.clientHeight;

/** The open questions that are drawn. @param {Conversation} conversation */
const openDrawn = ({ drawn }) => drawn.filter((each) => each.question);

/** @param {Conversation} conversation */
function drawItems(conversation) {
  const { drawn, folds, isLive, later } = conversation;
  conversation.view.items.forEach((item, position) => {
    const before = drawn[position];
    if (before?.item === item) return;
    // A question can be asked for from anywhere, so it is always there.
    const canWait = !isLive && !(item.kind === 'question' && item.open);
    if (before && canWait && later.has(before.node)) drawn[position] = { ...before, item };
    else if (before) drawAnew(conversation, position, item);
    else if (canWait) {
      const node = later.place(folds.placeOf(item.within), item.within.length > 0, () => drawAnew(conversation, position, drawn[position].item));
      drawn[position] = { item, node, question: null };
    } else drawNew(conversation, position, item);
    folds.note(item, !before);
  });
}

/** @param {Conversation} conversation @param {number} position @param {Item} item */
function drawAnew(conversation, position, item) {
  const { drawn, later, outOfSight, sight } = conversation;
  const before = drawn[position].node;
  if (item.kind === 'question' && !item.open) drawn[position].question?.closed(item);
  const after = equipped(conversation, item);
  sight.unobserve(before);
  outOfSight.delete(before);
  later.forget(before);
  keepFolds(before, after.node);
  before.replaceWith(after.node);
  drawn[position] = after;
}

/** @param {Conversation} conversation @param {number} position @param {Item} item */
function drawNew(conversation, position, item) {
  const now = equipped(conversation, item);
  // What was just being written is already in sight; only what is new slides in.
  if (conversation.isLive && !conversation.writingNodes.has(item.key)) now.node.classList.add('arrives');
  conversation.folds.placeOf(item.within).append(now.node);
  conversation.drawn[position] = now;
}

/** @param {Conversation} conversation @param {Item} item @returns {Drawn} */
function equipped(conversation, item) {
  const { node, question } = nodeOf(conversation, item);
  if (question) conversation.sight.observe(node);
  return { item, node, question };
}

/** @param {Conversation} conversation @param {boolean} isFirst nothing of it was drawn before */
function drawHistory(conversation, isFirst) {
  const { later, view } = conversation;
  conversation.isLive = view.caughtUp || view.ending !== null;
  if (isFirst || conversation.isLive) later.some(FIRST_SLICE_MS);
  if (conversation.isLive && later.isDone()) endHistory(conversation);
}

/** Everything that was said before is there; what comes now is read out. @param {Conversation} conversation */
function endHistory(conversation) {
  const { log, scrolling } = conversation;
  if (!log.hasAttribute('aria-busy')) return;
  log.removeAttribute('aria-busy');
  // Short ones, which most are, need none of it.
  if (log.childElementCount < 2) return;
  import('./settling.js').then(({ settleWhenIdle }) => {
    if (!conversation.isClosed) conversation.settling = settleWhenIdle(log, () => scrolling.isFollowing());
  }, () => { /* the heights stay guessed */ });
}

/** @param {Conversation} conversation */
function drawWriting({ folds, view, writingNodes }) {
  const wanted = new Set(view.writing.map((writing) => writing.key));
  for (const [key, node] of writingNodes) {
    if (wanted.has(key)) continue;
    node.frame.remove();
    writingNodes.delete(key);
  }
  for (const writing of view.writing) {
    const known = writingNodes.get(writing.key);
    if (known) {
      known.update(writing);
      continue;
    }
    const node = writingMessage(writing, view.hues);
    writingNodes.set(writing.key, node);
    folds.tailOf(writing.within).append(node.frame);
  }
}

/** @param {Conversation} conversation @param {Item} item @returns {{node: HTMLElement, question: QuestionHandle | null}} */
function nodeOf(conversation, item) {
  const { hues } = conversation.view;
  switch (item.kind) {
    case 'text': return { node: textMessage(item, hues), question: null };
    case 'tool': return { node: toolCard(item, hues), question: null };
    case 'system': return { node: systemMessage(item, hues), question: null };
    case 'started': return { node: startedNotice(item), question: null };
    case 'error': return { node: errorMessage(item, hues), question: null };
    case 'question': {
      const context = {
        run: conversation.run, reader: readerName(), other: askedOf(item, otherReader(conversation)), ending: conversation.view.ending, hues,
        onSent: () => onSent(conversation), onSending: () => drawStatus(conversation), onLate: () => redraw(conversation, item.key),
      };
      if (!item.open) return { node: closedQuestion(item, context), question: null };
      if (item.content.waits_for) return { node: othersQuestion(item, context), question: null };
      const question = openQuestion(item, context);
      return { node: question.frame, question };
    }
    default: return { node: unknownMessage(item, hues), question: null };
  }
}

/** Whose run it is, if not the reader's. @param {Conversation} conversation */
const otherReader = ({ view }) => otherThan(view.user, readerName());

/** What is known of a question here has changed, and not in the log. @param {Conversation} conversation @param {string} key */
function redraw(conversation, key) {
  const position = conversation.drawn.findIndex(({ item }) => item.key === key);
  const { item } = conversation.drawn[position] ?? {};
  if (item?.kind === 'question' && !item.open && !conversation.isClosed) drawAnew(conversation, position, item);
}

/** A reader who has answered wants to see what comes of it. @param {Conversation} conversation */
function onSent({ scrolling, view }) {
  if (openQuestions(view).length <= 1) scrolling.toEnd();
}

/** @param {Conversation} conversation */
function drawStatus(conversation) {
  const { drawn, status, view } = conversation;
  const words = statusWords(view, waitedFor(view, otherReader(conversation)), drawn.some(({ question }) => question?.isSending()));
  const isBusy = words !== '' && phaseOf(view) !== 'waiting';
  if (status.dataset.words === words) return;
  status.dataset.words = words;
  status.classList.toggle('is-busy', isBusy);
  status.replaceChildren(...(isBusy ? [h('span', { class: 'dots', 'aria-hidden': 'true' }, h('i'), h('i'), h('i'))] : []), words);
}

/** @param {Conversation} conversation */
function drawEnd(conversation) {
  const { listeners, view } = conversation;
  if (!view.ending || conversation.isEndDrawn) return;
  conversation.isEndDrawn = true;
  endDrafts(conversation.run);
  const block = endingBlock(view, { reader: readerName(), lateStop: conversation.lateStop, onAgain: (button) => startAgain(conversation, button), onNew: listeners.onNew });
  if (block) conversation.end.replaceChildren(block);
}

/** @param {Conversation} conversation @param {HTMLButtonElement} button */
async function startAgain({ listeners, view }, button) {
  button.disabled = true;
  try {
    listeners.onStarted(await startRun(view.workflow ?? '', view.params));
  } catch (error) {
    announce(wordsOf(error));
    button.disabled = false;
  }
}

/** @param {Conversation} conversation */
function drawDock(conversation) {
  const { downButton, outOfSight, questionBar, scrolling } = conversation;
  const fresh = conversation.view.items.length - conversation.countWhenLeft;
  const open = openDrawn(conversation);
  // What is in sight needs no way to it; where one question is at the end, the way to it is the way to the end.
  const isBarNeeded = open.some((each) => outOfSight.has(each.node)) && !(scrolling.isFollowing() && open.length === 1);
  downButton.hidden = scrolling.isFollowing() || (open.length > 0 && fresh <= 0);
  const words = downButton.lastElementChild;
  if (words) words.textContent = fresh > 0 ? counted(fresh, 'new message') : 'To the end';
  questionBar.hidden = !isBarNeeded;
  const keys = isBarNeeded ? open.map((each) => each.item.key).join() : '';
  if (questionBar.dataset.keys === keys) return;
  questionBar.dataset.keys = keys;
  if (!isBarNeeded) {
    questionBar.replaceChildren();
    return;
  }
  questionBar.replaceChildren(h('span', { class: 'question-bar-words' }, `${open.length === 1 ? 'A question waits' : `${open.length} questions wait`} for ${waitedFor(conversation.view, otherReader(conversation)) ?? 'you'}:`),
    ...open.map(({ item }) => h('button', { type: 'button', class: 'chip', 'data-goto': item.key, onclick: () => goTo(conversation, item.key) },
      item.sender ? `${plainLine(item.sender, 40)}: ` : '', h('bdi', null, plainLine(item.kind === 'question' ? item.content.prompt ?? '' : '', 60)))));
}

/** @param {Conversation} conversation @param {string} key */
function goTo({ drawn, folds, scrolling }, key) {
  const target = drawn.find((each) => each.item.key === key);
  if (!target) return;
  folds.reveal(target.node);
  scrolling.show(target.node);
  target.question?.focus();
}

/** The question that keys belong to: the one with the focus, else the first open one. @param {Conversation} conversation */
function currentQuestion(conversation) {
  const open = openDrawn(conversation);
  return (open.find((each) => each.node.contains(document.activeElement)) ?? open[0])?.question ?? null;
}

/** @param {Conversation} conversation */
function focusQuestion(conversation) {
  const question = currentQuestion(conversation);
  question?.focus();
  return question !== null;
}

/**
 * What to say below the last message while nobody is seen writing.
 * @param {RunView} view @param {string | null} other whose run it is, if not the reader's @param {boolean} isSending an answer is under way
 */
function statusWords(view, other, isSending) {
  switch (phaseOf(view)) {
    case 'queued': return view.createdAt ? 'Waiting for a worker to take this up' : '';
    case 'waiting': return (view.remindedAt && !isSending ? `A reminder at ${timeOfDay(view.remindedAt)}: nobody has answered. ` : '') + waitingWords(view, other, isSending);
    case 'running': return view.writing.length > 0 ? '' : 'Working';
    default: return '';
  }
}

/** @param {RunView} view @param {string | null} other @param {boolean} isSending */
function waitingWords(view, other, isSending) {
  if (isSending || openQuestions(view).some((question) => question.content.deadline)) return '';
  if (other === null) return 'You can close this page; the conversation waits for your answer.';
  return openQuestions(view)[0]?.content.waits_for ? `You can close this page; the conversation waits for ${visible(other)}.`
    : `The conversation waits for an answer from ${other}, or from somebody who may answer for ${other}.`;
}

/** What a reader unfolded stays unfolded when a card is drawn anew. @param {HTMLElement} before @param {HTMLElement} after */
function keepFolds(before, after) {
  const folds = after.querySelectorAll('details');
  before.querySelectorAll('details').forEach((fold, position) => {
    if (folds[position]) folds[position].open ||= fold.open;
  });
}
