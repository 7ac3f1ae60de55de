// @ts-check
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { legible } from '../../src/ui/assets/elements/dom.js';
import { totalsWords } from '../../src/ui/assets/run/ending.js';
import { apply, emptyRun, openQuestions, phaseOf, reasonOf, totalsOf } from '../../src/ui/assets/run/state.js';

let seq = 0;
const at = (second = 0) => `2026-11-22T10:00:${String(second).padStart(2, '0')}.000Z`;
const record = (kind, fields = {}, second = 0) => ({ type: 'record', record: { seq: seq += 7, at: at(second), kind, ...fields } });
const said = (uuid, type, content, more = {}, second = 0) => record('said', { message: { uuid, sender: 'Teacher', recipient: 'Student', type, content, ...more } }, second);
const delta = (message, offset, text, attempt = 1) => ({ type: 'delta', delta: { message, attempt, offset, text, sender: 'Teacher', recipient: 'Student' } });
const after = (...events) => events.reduce(apply, emptyRun());
const created = () => record('created', { workflow: 'lesson', params: { a: 1 }, user: 'ann' });

describe('texts as they are shown', () => {
  test('what people write stays as it is', () => {
    const korean = '\u1112\u1161\u11ab'.repeat(50);
    for (const text of ['A triangle.', 'Ça coûte 5 €', 'e\u0301e\u0301', 'नमस्ते दुनिया, क्षत्रिय', 'שָׁלוֹם, مَرْحَبًا', 'สวัสดีชาวโลก', '👩‍👩‍👧‍👦 👍🏽 ❤️', korean]) {
      assert.equal(legible(text), text);
    }
  });
  test('marks in a row, and what is drawn as one, are bounded', () => {
    assert.equal(legible(`a${'\u0301'.repeat(40)}b`), `a${'\u0301'.repeat(26)}\ufffdb`);
    for (const part of ['\u0489', '\u094d', '\u0903', '\u200d', '\ufe0f', '\u11a8', '\u202e', '\u034f', '😀\u200d', 'क\u094d', '\u1100']) {
      const shown = [...legible(`a${part.repeat(100)}`)];
      assert.ok(shown.length <= 132 && shown.includes('\ufffd'), `${escape(part)}: ${shown.length}`);
    }
  });
});

describe('the course of a run', () => {
  test('records of one place are told apart by their step, and the place behind them is gone on from', () => {
    const asked = after(created(), said('q', 'text_input', { prompt: 'Name?' }));
    const answered = record('answered', { question: 'q', text: 'Ann', by: 'ann', on_timeout: false, step: 1 });
    const ended = record('ended', { outcome: 'completed', reason: null, result: 'fine', usage: { llm_calls: 1 } });
    ended.record.seq = answered.record.seq;
    const between = apply(asked, answered);
    assert.deepEqual([between.lastSeq, openQuestions(between).length], [asked.lastSeq, 0]);
    assert.equal(apply(between, answered), between);
    const over = apply(between, ended);
    assert.deepEqual([over.lastSeq, phaseOf(over)], [ended.record.seq, 'ended']);
    assert.equal(apply(apply(over, answered), ended), over);
  });
  test('queued, running, waiting, ended', () => {
    const steps = [
      created(),
      record('claimed', { worker: 'w1', epoch: 1, message: { uuid: 's', type: 'workflow_started', content: { name: 'lesson', description: 'd', params: {} } } }),
      said('q', 'text_input', { prompt: 'Name?' }),
      record('parked'),
      record('answered', { question: 'q', text: 'Ann', by: 'ann', on_timeout: false }),
      record('ended', { outcome: 'completed', reason: null, result: 'fine', usage: { llm_calls: 1 } }, 5),
    ];
    const phases = [];
    steps.reduce((view, event) => { const next = apply(view, event); phases.push(phaseOf(next)); return next; }, emptyRun());
    assert.deepEqual(phases, ['queued', 'running', 'waiting', 'waiting', 'running', 'ended']);
    const view = after(...steps);
    assert.deepEqual([view.workflow, view.params, view.user], ['lesson', { a: 1 }, 'ann']);
    assert.deepEqual(view.items.map((item) => item.kind), ['started', 'question']);
    assert.equal(view.ending?.result, 'fine');
    assert.equal(totalsOf(view).milliseconds, 5000);
    // A question and its answer alone are no messages, and none is counted.
    assert.equal(totalsWords(view), '1 model call · 5.0 s');
    const calls = ['f', 'transfer_to_my_boss_1'].map((function_name, at) => said(`c${at}`, 'suggested_function_call', { function_name, call_id: `${at}`, arguments: {} }));
    const counted = (usage) => totalsOf(after(...calls, record('ended', { outcome: 'completed', usage }))).toolCalls;
    assert.deepEqual([counted({ llm_calls: 0, tool_calls: 0 }), counted({ llm_calls: 2, tool_calls: 1 })], [2, 1]);
  });

  test('why it ended is told unless it was told already', () => {
    const reason = (outcome, why, before = () => []) => reasonOf(after(created(), ...before(), record('ended', { outcome, reason: why })));
    assert.deepEqual([null, '', 'stopped', 'Stopped.', 'The run was stopped.', 'stopped by ann', 'no model'].map((why) => reason('cancelled', why)), [null, null, null, null, null, 'stopped by ann', 'no model']);
    const error = (short, long, more) => () => [said('e', 'error', { short, long }, more)];
    assert.equal(reason('failed', 'no model', error('It broke.', 'no model')), null);
    assert.equal(reason('failed', 'no model', error('It broke: no model.', null)), null);
    // These details are folded.
    assert.equal(reason('failed', 'no model', error('It broke.', 'no model\n  at step 1')), 'no model');
    assert.equal(reason('failed', 'no model', error('It broke.', 'no model', { within: [{ id: 'i', title: 'Inside' }] })), 'no model');
  });

  test('a record that came before changes nothing, in any order of repetition', () => {
    const events = [created(), said('m1', 'text_message', { body: 'one' }), said('m2', 'text_message', { body: 'two' })];
    const once = after(...events);
    assert.equal(apply(once, events[0]), once);
    assert.equal(apply(once, events[2]), once);
    assert.deepEqual(after(...events, ...events), once);
  });

  test('a run cut anywhere and resumed is the run that was never cut', () => {
    const log = [created(), record('claimed', { worker: 'w', epoch: 1 }), said('m1', 'text_message', { body: 'one' }),
      said('q', 'multiple_choice', { prompt: 'Which?', choices: ['a'] }), record('parked'),
      record('answered', { question: 'q', text: 'a', by: null, on_timeout: true }), record('claimed', { worker: 'x', epoch: 2 }),
      said('m2', 'text_message', { body: 'two' }), record('ended', { outcome: 'failed', reason: 'no model' })];
    const whole = after(...log, { type: 'caught_up' });
    for (let cut = 0; cut <= log.length; cut += 1) {
      const torn = [...log.slice(0, cut), { type: 'caught_up' }, delta('m2', 0, 'tw'), ...log.slice(Math.max(0, cut - 2))];
      assert.deepEqual(after(...torn), whole, `cut at ${cut}`);
    }
  });

  test('a kind of record that nobody knows is shown as it came', () => {
    const view = after(created(), record('gossip', { about: 'us' }));
    const [item] = view.items;
    assert.equal(item.kind, 'unknown');
    assert.equal(item.kind === 'unknown' && item.type, 'gossip');
  });

  test('a tool that asks somebody waits for an answer, and says so no longer than that', () => {
    const call = () => said('c', 'suggested_function_call', { function_name: 'f', call_id: '1', arguments: {} });
    const person = (view) => view.items.find((item) => item.kind === 'tool')?.person;
    const asked = after(created(), call(), said('q', 'text_input', { prompt: 'Which?' }));
    assert.equal(person(asked), 'asked');
    const answered = apply(asked, record('answered', { question: 'q', text: 'this' }));
    assert.equal(person(answered), 'answered');
    const done = apply(answered, said('r', 'function_call_execution', { function_name: 'f', call_id: '1', retval: 1 }));
    assert.equal(person(apply(done, said('q2', 'text_input', { prompt: 'And now?' }))), 'answered', 'it asks no more');
    assert.equal(person(after(created(), call(), said('a', 'approval', { call_id: '1' }))), null, 'to be allowed is something else');
  });

  test('what a person said for an agent is an echo only if it is just that', () => {
    const reply = () => said('q', 'text_input', { prompt: '…', in_short: { prompt: 'Your reply', answers: [] } }, { sender: 'critic' });
    const echo = (text, sender) => after(created(), reply(), record('answered', { question: 'q', text: 'Too long.' }), said('m', 'text_message', { body: text }, { sender, recipient: 'poet' }))
      .items.map((item) => item.kind === 'text' ? item.standsInQuestion : item.kind === 'question' && item.saidTo);
    assert.deepEqual(echo('Too long.', 'critic'), ['poet', true]);
    assert.deepEqual(echo('Too long.', 'poet'), [null, false]);
    assert.deepEqual(echo('Something else.', 'critic'), [null, false]);
  });

  test('a list of speakers is not shown where there are buttons for them', () => {
    const hidden = (text, inShort) => after(created(), said('m', 'text_message', { body: text }, { sender: 'chat_manager', recipient: 'User' }),
      said('q', 'text_input', { prompt: 'Enter the number', in_short: inShort }, { sender: 'chat_manager' })).items.map((item) => item.kind === 'text' && item.standsInQuestion);
    const buttons = { prompt: 'Who speaks next?', answers: [{ label: 'a', answer: '1' }] };
    assert.deepEqual(hidden('Who speaks next?\n\n1. a\n2. b', buttons), [true, false]);
    assert.deepEqual(hidden('Who speaks next? I do.', buttons), [false, false]);
    assert.deepEqual(hidden('Who speaks next?\n\n1. a\n2. b', null), [false, false]);
  });

  test('nothing of an earlier view is changed', () => {
    const freeze = (value) => { if (value && typeof value === 'object') Object.values(Object.freeze(value)).forEach(freeze); return value; };
    [created(), said('m1', 'text_message', { body: 'x' }), delta('m2', 0, 'a'), delta('m2', 1, 'b'), said('q', 'form', { schema: {} }),
      said('c', 'suggested_function_call', { function_name: 'f', call_id: '1', arguments: {} }),
      said('r', 'function_call_execution', { function_name: 'f', call_id: '1', retval: 1 }),
      record('answered', { question: 'q', text: 'y' }), record('ended', { outcome: 'completed' })]
      .reduce((view, event) => freeze(apply(view, event)), freeze(emptyRun()));
  });
});

describe('text that is being written', () => {
  const writing = (view) => view.writing.map((each) => each.text);

  test('grows, and gives way to the finished message', () => {
    const view = after(created(), delta('m', 0, 'A tri'), delta('m', 5, 'angle'));
    assert.deepEqual(writing(view), ['A triangle']);
    const done = apply(view, said('m', 'text_message', { body: 'A triangle.' }, { html: '<p>A triangle.</p>' }));
    assert.deepEqual(writing(done), []);
    assert.deepEqual(done.items.map((item) => item.kind === 'text' && [item.text, item.html]), [['A triangle.', '<p>A triangle.</p>']]);
    assert.equal(apply(done, delta('m', 0, 'late')), done, 'a late piece is not shown again');
  });

  test('offsets count scalar values, not UTF-16 units', () => {
    assert.deepEqual(writing(after(delta('m', 0, '😀ü'), delta('m', 2, ' ok'))), ['😀ü ok']);
  });

  test('pieces that come twice or overlap are taken once', () => {
    assert.deepEqual(writing(after(delta('m', 0, 'ab'), delta('m', 0, 'ab'), delta('m', 1, 'b😀c'), delta('m', 4, 'd'))), ['ab😀cd']);
  });

  test('the text so far may be repeated from the start', () => {
    assert.deepEqual(writing(after(delta('m', 0, 'ab'), delta('m', 0, 'abcd'), delta('m', 4, 'e'))), ['abcde']);
    assert.deepEqual(writing(after(delta('m', 0, 'abcdef'), delta('m', 0, 'abc'))), ['abcdef']);
  });

  test('who comes late or loses a piece sees what follows, and says that the start is missing', () => {
    const view = after(delta('m', 10, 'later'));
    assert.equal(view.writing[0].from, 10);
    assert.equal(after(delta('m', 0, 'ab'), delta('m', 9, 'z')).writing[0].text, 'z');
    assert.deepEqual(writing(apply(view, delta('m', 0, 'the start, later'))), ['the start, later']);
  });

  test('a higher attempt replaces, a lower one is ignored', () => {
    const view = after(delta('m', 0, 'bad beginning'), delta('m', 0, 'good', 2));
    assert.deepEqual(writing(view), ['good']);
    assert.equal(apply(view, delta('m', 13, ' goes on', 1)), view);
  });

  test('what is no delta changes nothing', () => {
    const view = after(created(), delta('m', 0, 'a'));
    for (const broken of [null, {}, { message: 'm', text: 'x' }, { message: 'm', offset: 1 }]) assert.equal(apply(view, { type: 'delta', delta: broken }), view);
  });

  test('a new claim and the end drop what never reached the log', () => {
    assert.deepEqual(writing(after(created(), delta('m', 0, 'a'), record('claimed', { worker: 'w2', epoch: 2 }))), []);
    const ended = after(created(), delta('m', 0, 'a'), record('ended', { outcome: 'cancelled' }));
    assert.deepEqual(writing(ended), []);
    assert.equal(apply(ended, delta('n', 0, 'x')), ended);
  });

  test('two may write at the same time', () => {
    const view = after(delta('m', 0, 'a'), delta('n', 0, 'x'), delta('m', 1, 'b'));
    assert.deepEqual(writing(view), ['ab', 'x']);
    assert.deepEqual(writing(apply(view, said('n', 'text_message', { body: 'x' }))), ['ab']);
  });

  test('cut off by a cancel, it stays and is marked', () => {
    const view = after(created(), delta('m', 0, 'half a'), said('m', 'text_message', { body: 'half a', stopped: true }), record('ended', { outcome: 'cancelled' }));
    assert.deepEqual(view.items.map((item) => item.kind === 'text' && [item.text, item.stopped]), [['half a', true]]);
  });
});

test('why a reply is not whole stays with it', () => {
  const view = after(created(), said('m', 'text_message', { body: 'never more than', cut: 'length' }), said('n', 'text_message', { body: 'Three.' }));
  assert.deepEqual(view.items.map((item) => item.kind === 'text' && [item.text, item.cut]), [['never more than', 'length'], ['Three.', null]]);
});

describe('questions', () => {
  test('several are open at once and close one by one', () => {
    const view = after(created(), said('q1', 'text_input', { prompt: '?' }), said('q2', 'form', { prompt: '?' }));
    assert.deepEqual(openQuestions(view).map((item) => item.key), ['q1', 'q2']);
    const one = apply(view, record('answered', { question: 'q2', text: 'x', by: 'ben', on_timeout: false }, 3));
    assert.deepEqual(openQuestions(one).map((item) => item.key), ['q1']);
    assert.equal(phaseOf(one), 'waiting');
    const closed = one.items[1];
    assert.deepEqual(closed.kind === 'question' && closed.answer, { text: 'x', value: null, by: 'ben', at: at(3), argumentsText: null, onTimeout: false, refused: null });
  });

  test('the text of a password is null', () => {
    const view = after(said('q', 'text_input', { prompt: '?', password: true }), record('answered', { question: 'q', text: null, by: null }));
    const [item] = view.items;
    assert.equal(item.kind === 'question' && item.answer?.text, null);
  });

  test('an answer that the worker could not take says why', () => {
    const view = after(said('q', 'text_input', { prompt: '?' }), record('answered', { question: 'q', text: null, refused: 'not a number' }));
    const [item] = view.items;
    assert.equal(item.kind === 'question' && item.answer?.refused, 'not a number');
  });

  test('the end closes what nobody answered', () => {
    const view = after(said('q', 'text_input', { prompt: '?' }), record('ended', { outcome: 'cancelled' }));
    assert.deepEqual(openQuestions(view), []);
    assert.equal(view.items[0].kind === 'question' && view.items[0].answer, null);
  });

  test('an answer to a question that is not here changes nothing but the sequence', () => {
    const view = after(created(), record('answered', { question: 'elsewhere', text: 'x' }));
    assert.deepEqual(view.items, []);
  });
});

describe('tools', () => {
  const call = (uuid, callId) => said(uuid, 'suggested_function_call', { function_name: 'f', call_id: callId, arguments: { a: 1 } });
  const execution = (uuid, callId, retval) => said(uuid, 'function_call_execution', { function_name: 'f', call_id: callId, retval }, { sender: 'Executor' }, 2);

  test('a result joins its call, whatever came between', () => {
    const view = after(call('c1', 'x'), call('c2', 'y'), said('m', 'text_message', { body: '-' }), execution('r1', 'x', 1), execution('r2', 'y', null));
    assert.deepEqual(view.items.map((item) => item.kind === 'tool' && [item.callId, item.executed, item.result, item.executor]),
      [['x', true, 1, 'Executor'], ['y', true, null, 'Executor'], false]);
  });

  test('a result without a call has a card of its own; a second one does not overwrite the first', () => {
    assert.equal(after(execution('r', 'x', 1)).items.length, 1);
    const twice = after(call('c', 'x'), execution('r1', 'x', 1), execution('r2', 'x', 2));
    assert.deepEqual(twice.items.map((item) => item.kind === 'tool' && item.result), [1, 2]);
  });

  test('a failure is told by what AG2 says of one', () => {
    const [failed, fine] = after(call('c1', 'x'), call('c2', 'y'), execution('r1', 'x', 'Error: no paper'), execution('r2', 'y', 'No error: fine')).items;
    assert.deepEqual([failed, fine].map((item) => item.kind === 'tool' && item.failed), [true, false]);
  });

  test('a question about a call stands on its card', () => {
    const approval = () => said('q', 'approval', { prompt: '?', function_name: 'f', call_id: 'x', arguments: {}, schema: null });
    const states = (...events) => after(call('c', 'x'), approval(), ...events.map((event) => event())).items.map((item) => item.kind === 'tool' && item.approval)[0];
    const answered = (value, more = {}) => () => record('answered', { question: 'q', text: '-', value, refused: null, ...more });
    assert.equal(states(), 'asked');
    assert.equal(states(answered({ decision: 'once' })), 'allowed');
    assert.equal(states(answered({ decision: 'deny', reason: 'no' })), 'denied');
    assert.equal(states(answered(null, { refused: 'what?' })), 'asked');
    assert.equal(after(approval(), answered({ decision: 'once' })()).items.length, 1, 'without the call it stands alone');
  });

  describe('whose calls have one id', () => {
    const of = (uuid, name, town, more = {}) => said(uuid, 'suggested_function_call', { function_name: name, call_id: 'weather', arguments: { town } }, more);
    const result = (uuid, name, retval, more = {}) => said(uuid, 'function_call_execution', { function_name: name, call_id: 'weather', retval }, { sender: 'Student', ...more });
    const approval = (uuid, name = 'weather') => said(uuid, 'approval', { prompt: '?', function_name: name, call_id: 'weather', arguments: {}, schema: null }, { sender: 'Student', recipient: 'User' });
    const decide = (question, decision) => record('answered', { question, text: '-', value: { decision }, refused: null });
    const cards = (...events) => after(...events).items.filter((item) => item.kind === 'tool').map((item) => [item.arguments?.town, item.result, item.approval]);

    test('in one reply: each result joins its own', () => {
      assert.deepEqual(cards(of('c1', 'weather', 'Rome'), of('c2', 'weather', 'Oslo'), result('r1', 'weather', 'sun'), result('r2', 'weather', 'snow')),
        [['Rome', 'sun', null], ['Oslo', 'snow', null]]);
    });
    test('in two replies', () => {
      assert.deepEqual(cards(of('c1', 'weather', 'Rome'), result('r1', 'weather', 'sun'), of('c2', 'weather', 'Oslo'), result('r2', 'weather', 'snow')),
        [['Rome', 'sun', null], ['Oslo', 'snow', null]]);
    });
    test('of which the first was never made: the later reply’s result is its own', () => {
      assert.deepEqual(cards(of('c1', 'weather', 'Rome'), said('m', 'text_message', { body: 'No.' }, { sender: 'Student', recipient: 'Teacher' }), of('c2', 'weather', 'Oslo'), result('r2', 'weather', 'snow')),
        [['Rome', undefined, null], ['Oslo', 'snow', null]]);
    });
    test('of several tools', () => {
      assert.deepEqual(cards(of('c1', 'weather', 'Rome'), of('c2', 'book', 'Oslo'), result('r2', 'book', 'booked'), result('r1', 'weather', 'sun')),
        [['Rome', 'sun', null], ['Oslo', 'booked', null]]);
    });
    test('one allowed, the other denied', () => {
      const events = [of('c1', 'weather', 'Rome'), of('c2', 'weather', 'Oslo'), approval('q1'), decide('q1', 'deny'), result('r1', 'weather', 'Error: no'),
        approval('q2'), decide('q2', 'once'), result('r2', 'weather', 'snow')];
      assert.deepEqual(cards(...events), [['Rome', 'Error: no', 'denied'], ['Oslo', 'snow', 'allowed']]);
      assert.deepEqual(cards(...events.slice(0, 3)), [['Rome', undefined, 'asked'], ['Oslo', undefined, null]]);
      assert.deepEqual(cards(...events.slice(0, 6)), [['Rome', 'Error: no', 'denied'], ['Oslo', undefined, 'asked']]);
    });
    test('of which one comes first: the others run when their turn comes', () => {
      const events = [of('c1', 'weather', 'Rome'), of('c2', 'weather', 'Oslo'), of('c3', 'weather', 'Bern'), approval('q1'), decide('q1', 'once'), result('r1', 'weather', 'sun'),
        result('r2', 'weather', 'snow'), of('c4', 'weather', 'Bonn')];
      const behind = (/** @type {number} */ end) => after(...events.slice(0, end)).items.filter((item) => item.kind === 'tool').map((item) => item.behind);
      assert.deepEqual([3, 5, 6, 7].map(behind), [[false, true, true], [false, true, true], [false, false, true], [false, false, false]]);
      assert.deepEqual(behind(8).at(-1), true, 'Bern is not done');
    });
    test('three, one of which is asked for again after an answer that did not fit', () => {
      assert.deepEqual(cards(of('c1', 'weather', 'Rome'), of('c2', 'weather', 'Oslo'), of('c3', 'weather', 'Bern'), approval('q1'), decide('q1', 'once'), result('r1', 'weather', 'sun'),
        approval('q2'), record('answered', { question: 'q2', text: '-', value: null, refused: 'what?' }), approval('q3'), decide('q3', 'deny'), result('r2', 'weather', 'Error: no')),
      [['Rome', 'sun', 'allowed'], ['Oslo', 'Error: no', 'denied'], ['Bern', undefined, null]]);
    });
    test('in conversations beside each other, and inside', () => {
      const inner = { within: [{ id: 'n1', title: 'inside' }] };
      assert.deepEqual(cards(of('c1', 'weather', 'Rome'), of('c2', 'weather', 'Oslo', inner), result('r2', 'weather', 'snow', inner), result('r1', 'weather', 'sun')),
        [['Rome', 'sun', null], ['Oslo', 'snow', null]]);
    });
    test('while others speak between the calls of a reply', () => {
      assert.deepEqual(cards(of('c1', 'weather', 'Rome'), said('m', 'text_message', { body: '-' }, { sender: 'Ann', recipient: 'Ben' }), of('c2', 'weather', 'Oslo'), result('r1', 'weather', 'sun'), result('r2', 'weather', 'snow')),
        [['Rome', 'sun', null], ['Oslo', 'snow', null]]);
    });
    test('and the first of which asks a person in its middle', () => {
      const { items } = after(of('c1', 'weather', 'Rome'), of('c2', 'weather', 'Oslo'), said('q', 'text_input', { prompt: 'When?' }, { sender: 'Workflow' }));
      assert.deepEqual(items.filter((item) => item.kind === 'tool').map((item) => item.kind === 'tool' && item.person), ['asked', null]);
    });
  });

  test('a call that the end overtook is said to have no result', () => {
    const view = after(call('c', 'x'), record('ended', { outcome: 'failed' }));
    assert.equal(view.items[0].kind === 'tool' && view.items[0].abandoned, true);
  });
});

describe('conversations inside the conversation', () => {
  test('are kept with what belongs to them; what is no place is ignored', () => {
    const inside = [{ id: '2', title: 'Review' }];
    const view = after(said('m1', 'text_message', { body: 'a' }, { within: inside }),
      said('m2', 'text_message', { body: 'b' }, { within: 'nonsense' }), said('m3', 'text_message', { body: 'c' }, { within: [null, { id: 3 }, ...inside] }),
      { type: 'delta', delta: { message: 'm4', attempt: 1, offset: 0, text: 'd', within: inside } });
    assert.deepEqual(view.items.map((item) => item.within), [inside, [], inside]);
    assert.deepEqual(view.writing[0].within, inside);
  });
});

describe('messages', () => {
  test('keep_alive and workflow_completed show nothing; the rest has its kind', () => {
    const types = ['text_message', 'system_message', 'error', 'keep_alive', 'workflow_completed', 'never_heard'];
    const view = after(...types.map((type, position) => said(`u${position}`, type, {})));
    assert.deepEqual(view.items.map((item) => item.kind), ['text', 'system', 'error', 'unknown']);
  });

  test('agents get colours that differ, the same after every reload, whatever their names', () => {
    const names = ['constructor', '__proto__', 'Teacher', 'toString', 'Student', 'Critic', 'Writer', 'Editor'];
    const log = names.map((name, position) => said(`m${position}`, 'text_message', { body: 'x' }, { sender: name, recipient: null }));
    const view = after(...log);
    assert.deepEqual(Object.keys(view.hues), names);
    assert.equal(new Set(Object.values(view.hues)).size, names.length);
    assert.deepEqual(after(...log).hues, view.hues);
  });
});

describe('logs of real runs, as their gateway told them', () => {
  const folder = new URL('logs/', import.meta.url);
  for (const name of readdirSync(folder)) {
    const events = JSON.parse(readFileSync(new URL(name, folder), 'utf8')).map((record) => ({ type: 'record', record }));
    test(name, () => {
      const view = after(...events);
      assert.equal(phaseOf(view), 'ended');
      assert.deepEqual(view.items.filter((item) => item.kind === 'unknown'), []);
      assert.deepEqual(openQuestions(view), []);
      const messages = events.map(({ record }) => record.message).filter(Boolean);
      assert.deepEqual(view.items.filter((item) => item.kind === 'text').map((item) => item.text),
        messages.filter((message) => message.type === 'text_message').map((message) => message.content.body));
      // Each question has the answer that the log has, but for a password.
      for (const { record } of events.filter(({ record: { kind } }) => kind === 'answered')) {
        const question = view.items.find((item) => item.kind === 'question' && item.key === record.question);
        assert.equal(question?.kind === 'question' && question.answer?.text, question?.kind === 'question' && question.content.password ? null : record.text);
      }
      for (let cut = 0; cut <= events.length; cut += 1) {
        assert.deepEqual(after(...events.slice(0, cut), ...events.slice(Math.max(0, cut - 3))), view, `cut after ${cut} records`);
      }
    });
  }
});
