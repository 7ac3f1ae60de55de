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
import { closedQuestion, openQuestion } from '../question/questions.js';
import { keepAtEnd } from './scrolling.js';
import { apply, emptyRun, openQuestions, phaseOf } from './state.js';
import { startRun, wordsOf } from '../gateway/api.js';
import { toolCard } from './tool-card.js';
import { counted, plainLine } from '../text/words.js';

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
 */

/** How long history may come in before a part of it is shown. */
const HISTORY_PATIENCE_MS = 400;
/** So much of a history is drawn before anything of it is shown; most are shorter. */
const FIRST_SLICE_MS = 60;

/** @param {HTMLElement} place @param {string} run @param {ConversationListeners} listeners */
export function openConversation(place, run, listeners) {
  const log = h('div', { class: 'log', role: 'log', 'aria-label': 'Conversation', 'aria-relevant': 'additions', 'aria-busy': 'true' });
  const writingArea = h('div', { class: 'writing-area', 'aria-live': 'off' });
  const status = h('p', { class: 'run-status', role: 'status' });
  const end = h('div');
  const column = h('div', { class: 'column' }, log, writingArea, status, end);
  const scroller = h('div', { class: 'scroller', tabindex: 0, role: 'region', 'aria-label': 'Messages' }, column);
  const downButton = h('button', { type: 'button', class: 'down-button', hidden: true }, icon('down'), h('span', null, 'New messages'));
  const questionBar = h('nav', { class: 'question-bar', 'aria-label': 'Open questions', hidden: true });
  place.replaceChildren(scroller, h('div', { class: 'dock' }, downButton, questionBar));

  let view = emptyRun();
  /** @type {Drawn[]} */
  const drawn = [];
  const folds = nestedFolds(log, writingArea);
  /** @type {Map<string, ReturnType<typeof writingMessage>>} */
  const writingNodes = new Map();
  let countWhenLeft = 0;
  let scheduled = false;
  let closed = false;
  let isRefused = false;
  let endIsDrawn = false;
  /** Whether the history has been drawn, or has its places: what comes now is new. */
  let isLive = false;
  /** @type {{close: () => void} | null} */
  let settling = null;

  // Fields go when they were answered. Whoever goes by keyboard goes on from here then, not from the top of the page.
  let focusWasHere = false;
  /** The key of the question that had the focus last. @type {string | null} */
  let questionWithFocus = null;
  /** @param {FocusEvent} event */
  const onFocus = ({ target }) => {
    focusWasHere = target instanceof Node && place.contains(target);
    const question = target instanceof Element && focusWasHere ? target.closest('.is-open') : null;
    questionWithFocus = question instanceof HTMLElement ? question.dataset.key ?? null : null;
  };
  document.addEventListener('focusin', onFocus);

  const scrolling = keepAtEnd(scroller, column, (atEnd) => {
    if (!atEnd) countWhenLeft = view.items.length;
    drawDock();
  });
  downButton.addEventListener('click', () => { scrolling.toEnd(); focusQuestion(); });

  /** The open questions that the reader has not before the eyes. @type {Set<Element>} */
  const outOfSight = new Set();
  const sight = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) outOfSight.delete(entry.target);
      else outOfSight.add(entry.target);
    }
    drawDock();
  }, { root: scroller });

  const later = drawnLater(scroller, () => {
    if (isLive) endHistory();
  });

  const following = followRun(run, {
    after: () => view.lastSeq,
    onEvent: (name, data) => {
      if (name === 'record') change({ type: 'record', record: data });
      else if (name === 'delta') change({ type: 'delta', delta: data });
      else if (name === 'caught_up') change({ type: 'caught_up' });
    },
    onConnection: (connection) => {
      if (connection === 'connected') for (const { question } of drawn) question?.reconnected();
      listeners.onConnection(connection);
    },
    onRefusal: (error) => {
      const notice = h('div', { class: 'notice is-problem', role: 'alert' }, icon('warning'), h('div', null, h('p', { class: 'problem-words' }, error.words),
        h('button', { type: 'button', class: 'secondary-button', onclick: () => listeners.onNew() }, 'New conversation')));
      // What can be read already stays readable.
      if (view.items.length > 0) {
        end.replaceChildren(notice);
        return;
      }
      isRefused = true;
      listeners.onMissing();
      place.replaceChildren(h('div', { class: 'scroller' }, h('div', { class: 'column' }, notice)));
    },
  });

  /** @param {import('./state.js').RunEvent} event */
  function change(event) {
    const before = view;
    view = apply(view, event);
    if (view !== before) schedule();
  }

  // A long history is drawn once, when it is complete, unless it takes so long that an empty page would worry someone.
  const patience = setTimeout(() => { schedule(true); }, HISTORY_PATIENCE_MS);

  function schedule(evenIncomplete = false) {
    if (scheduled || closed) return;
    if (!view.caughtUp && !view.ending && !evenIncomplete && drawn.length === 0) return;
    scheduled = true;
    // A hidden tab gets no animation frames, but its state must be right when someone returns.
    if (document.visibilityState === 'hidden') setTimeout(draw, 100);
    else requestAnimationFrame(draw);
  }

  function draw() {
    scheduled = false;
    if (closed || isRefused) return;
    const hadFocus = document.activeElement;
    const openBefore = new Set(drawn.filter((each) => each.question).map((each) => each.item.key));
    const isFirst = drawn.length === 0;
    drawItems();
    drawWriting();
    drawStatus();
    drawEnd();
    if (!isLive) {
      isLive = view.caughtUp || view.ending !== null;
      if (isFirst || isLive) later.some(FIRST_SLICE_MS);
      if (isLive && later.isDone()) endHistory();
    }
    const fresh = drawn.filter((each) => each.question && !openBefore.has(each.item.key));
    const isFollowing = scrolling.isFollowing();
    const isTall = (/** @type {HTMLElement} */ node) => node.offsetHeight > scroller.clientHeight;
    const tall = isFollowing ? fresh.find(({ node }) => isTall(node)) : undefined;
    // The field that had the focus is gone with its question, or nothing had it: then the next question takes it.
    const isFree = !hadFocus || hadFocus === document.body || hadFocus === place || hadFocus === scroller || !hadFocus.isConnected;
    if (isFollowing) scrolling.toEnd();
    // Who writes somewhere already keeps that before the eyes.
    if (tall && !isFree && hadFocus && column.contains(hadFocus)) scrolling.show(hadFocus);
    else if (tall) scrolling.showBeginning(tall.node);
    drawDock();
    listeners.onView(view);
    const isNew = fresh.length > 0;
    if ((isNew || !hadFocus?.isConnected) && isFree && isFollowing) {
      // The cursor is where the eyes are.
      if (tall) tall.question?.focus();
      else focusQuestion();
    }
    // Of two questions one was answered: the other is next, wherever it stands.
    const next = openQuestions(view)[0];
    const isAnswered = questionWithFocus !== null && openBefore.has(questionWithFocus) && !openQuestions(view).some(({ key }) => key === questionWithFocus);
    if (isAnswered && next && document.activeElement === document.body) {
      const node = drawn.find((each) => each.item.key === next.key);
      if (node && isTall(node.node)) scrolling.showBeginning(node.node);
      if (node && outOfSight.has(node.node)) goTo(next.key);
      else node?.question?.focus();
    }
    if (focusWasHere && document.activeElement === document.body) place.focus({ preventScroll: true });
  }

  function drawItems() {
    view.items.forEach((item, position) => {
      const before = drawn[position];
      if (before?.item === item) return;
      // A question can be asked for from anywhere, so it is always there.
      const canWait = !isLive && !(item.kind === 'question' && item.open);
      if (before && canWait && later.has(before.node)) drawn[position] = { ...before, item };
      else if (before) drawAnew(position, item);
      else if (canWait) {
        const node = later.place(folds.placeOf(item.within), item.within.length > 0, () => drawAnew(position, drawn[position].item));
        drawn[position] = { item, node, question: null };
      } else drawNew(position, item);
      folds.note(item, !before);
    });
  }

  /** @param {number} position @param {Item} item */
  function drawAnew(position, item) {
    const before = drawn[position].node;
    if (item.kind === 'question' && !item.open) drawn[position].question?.closed(item);
    const after = equipped(item);
    sight.unobserve(before);
    outOfSight.delete(before);
    later.forget(before);
    keepFolds(before, after.node);
    before.replaceWith(after.node);
    drawn[position] = after;
  }

  /** @param {number} position @param {Item} item */
  function drawNew(position, item) {
    const now = equipped(item);
    // What was just being written is already in sight; only what is new slides in.
    if (isLive && !writingNodes.has(item.key)) now.node.classList.add('arrives');
    folds.placeOf(item.within).append(now.node);
    drawn[position] = now;
  }

  /** @param {Item} item @returns {Drawn} */
  function equipped(item) {
    const { node, question } = nodeOf(item);
    if (question) sight.observe(node);
    return { item, node, question };
  }

  /** Everything that was said before is there; what comes now is read out. */
  function endHistory() {
    if (!log.hasAttribute('aria-busy')) return;
    log.removeAttribute('aria-busy');
    // Short ones, which most are, need none of it.
    if (log.childElementCount < 2) return;
    import('./settling.js').then(({ settleWhenIdle }) => {
      if (!closed) settling = settleWhenIdle(log, () => scrolling.isFollowing());
    }, () => { /* the heights stay guessed */ });
  }

  function drawWriting() {
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

  /** @param {Item} item @returns {{node: HTMLElement, question: QuestionHandle | null}} */
  function nodeOf(item) {
    switch (item.kind) {
      case 'text': return { node: textMessage(item, view.hues), question: null };
      case 'tool': return { node: toolCard(item, view.hues), question: null };
      case 'system': return { node: systemMessage(item, view.hues), question: null };
      case 'started': return { node: startedNotice(item), question: null };
      case 'error': return { node: errorMessage(item, view.hues), question: null };
      case 'question': {
        const context = { run, user: view.user, hues: view.hues, onSent, onSending: drawStatus };
        if (!item.open) return { node: closedQuestion(item, context), question: null };
        const question = openQuestion(item, context);
        return { node: question.frame, question };
      }
      default: return { node: unknownMessage(item, view.hues), question: null };
    }
  }

  /** Who has answered wants to see what comes of it. */
  function onSent() {
    if (openQuestions(view).length <= 1) scrolling.toEnd();
  }

  function drawStatus() {
    const words = statusWords(view, drawn.some(({ question }) => question?.isSending()));
    const isBusy = words !== '' && phaseOf(view) !== 'waiting';
    if (status.dataset.words === words) return;
    status.dataset.words = words;
    status.classList.toggle('is-busy', isBusy);
    status.replaceChildren(...(isBusy ? [h('span', { class: 'dots', 'aria-hidden': 'true' }, h('i'), h('i'), h('i'))] : []), words);
  }

  function drawEnd() {
    if (!view.ending || endIsDrawn) return;
    endIsDrawn = true;
    endDrafts(run);
    const block = endingBlock(view, { onAgain: startAgain, onNew: listeners.onNew });
    if (block) end.replaceChildren(block);
  }

  /** @param {HTMLButtonElement} button */
  async function startAgain(button) {
    button.disabled = true;
    try {
      listeners.onStarted(await startRun(view.workflow ?? '', view.params));
    } catch (error) {
      announce(wordsOf(error));
      button.disabled = false;
    }
  }

  function drawDock() {
    const fresh = view.items.length - countWhenLeft;
    const open = drawn.filter((each) => each.question);
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
    questionBar.replaceChildren(h('span', { class: 'question-bar-words' }, open.length === 1 ? 'A question waits for you:' : `${open.length} questions wait for you:`),
      ...open.map(({ item }) => h('button', { type: 'button', class: 'chip', 'data-goto': item.key, onclick: () => goTo(item.key) },
        plainLine(`${item.sender ? `${item.sender}: ` : ''}${item.kind === 'question' ? item.content.prompt ?? '' : ''}`, 60))));
  }

  /** @param {string} key */
  function goTo(key) {
    const target = drawn.find((each) => each.item.key === key);
    if (!target) return;
    folds.reveal(target.node);
    scrolling.show(target.node);
    target.question?.focus();
  }

  /** The question that keys belong to: the one with the focus, else the first open one. */
  function currentQuestion() {
    const open = drawn.filter((each) => each.question);
    return (open.find((each) => each.node.contains(document.activeElement)) ?? open[0])?.question ?? null;
  }

  function focusQuestion() {
    const question = currentQuestion();
    question?.focus();
    return question !== null;
  }

  return {
    view: () => view,
    /** All of it. */
    column: () => {
      later.all();
      return column;
    },
    focusQuestion: () => {
      const question = drawn.find((each) => each.question);
      if (question && !question.node.contains(document.activeElement)) scrolling.show(question.node);
      return focusQuestion();
    },
    /** @param {number} position */
    choose: (position) => currentQuestion()?.choose(position) ?? false,
    close: () => {
      closed = true;
      clearTimeout(patience);
      document.removeEventListener('focusin', onFocus);
      following.close();
      sight.disconnect();
      later.close();
      settling?.close();
      scrolling.close();
    },
  };
}

/** What to say below the last message while nobody is seen writing. @param {RunView} view @param {boolean} isSending an answer is under way */
function statusWords(view, isSending) {
  switch (phaseOf(view)) {
    case 'queued': return view.createdAt ? 'Waiting for a worker to take this up' : '';
    case 'waiting': return isSending || openQuestions(view).some((question) => question.content.deadline) ? ''
      : 'You can close this page; the conversation waits for your answer.';
    case 'running': return view.writing.length > 0 ? '' : 'Working';
    default: return '';
  }
}

/** What a reader unfolded stays unfolded when a card is drawn anew. @param {HTMLElement} before @param {HTMLElement} after */
function keepFolds(before, after) {
  const folds = after.querySelectorAll('details');
  before.querySelectorAll('details').forEach((fold, position) => {
    if (folds[position]) folds[position].open ||= fold.open;
  });
}
