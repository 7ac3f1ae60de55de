// @ts-check
/** The other parts of the page that can be tried without a browser. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path/posix';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import typescript from 'typescript';
import { hueFor, initialsOf } from '../../src/ui/assets/elements/agents.js';
import { changesOf } from '../../src/ui/assets/question/approval.js';
import { eventsUrl } from '../../src/ui/assets/gateway/api.js';
import { eventParser } from '../../src/ui/assets/gateway/event-parser.js';
import { waitBefore } from '../../src/ui/assets/gateway/event-stream.js';
import { titleOf } from '../../src/ui/assets/gateway/workflow-titles.js';
import { ExactNumber, exactParse, exactText, numberOf } from '../../src/ui/assets/gateway/exact-json.js';
import { toMarkdown } from '../../src/ui/assets/run/export.js';
import { fromLink, toLink } from '../../src/ui/assets/form/links.js';
import { meantNames } from '../../src/ui/assets/form/near-names.js';
import { placesOf } from '../../src/ui/assets/form/refusals.js';
import { checkList, checkText, fieldsOf, hasFields, labelled } from '../../src/ui/assets/form/schema.js';
import { apply, emptyRun } from '../../src/ui/assets/run/state.js';
import { addressesIn } from '../../src/ui/assets/text/addresses.js';
import { directionOf } from '../../src/ui/assets/text/direction.js';
import { blocksOf } from '../../src/ui/assets/text/streamed-text.js';
import { answererWords, dayWords, duration, exactTime, oneLine, otherThan, plainLine, prettyJson, reasonWords, saysSomething, stateWords, timeOfDay, visible } from '../../src/ui/assets/text/words.js';

test('a run whose workflow cannot be read has no title of a workflow', () => {
  assert.equal(titleOf(null), '');
  assert.equal(titleOf('exam_practice'), 'Exam practice');
});

describe('server-sent events', () => {
  const parse = (chunks) => {
    const events = [];
    const feed = eventParser((name, data) => events.push([name, data]));
    chunks.forEach((chunk) => feed(chunk));
    return events;
  };
  const text = ': hello\n\nid: 7\nevent: record\ndata: {"a":"ü😀"}\n\nevent: caught_up\r\ndata: {"seq":\r\ndata: 7}\r\n\r\n: alive\n\ndata:x\n\n';
  const expected = [['record', '{"a":"ü😀"}'], ['caught_up', '{"seq":\n7}'], ['message', 'x']];

  test('are read whole', () => assert.deepEqual(parse([text]), expected));
  test('are read cut at every place', () => {
    for (let cut = 0; cut <= text.length; cut += 1) assert.deepEqual(parse([text.slice(0, cut), text.slice(cut)]), expected);
    assert.deepEqual(parse([...text]), expected);
  });
  test('a thousand pages whose gateway went away come back one after the other, and ever less often', () => {
    let before = 0;
    for (const [failures, longest] of [[0, 400], [1, 800], [3, 3200], [6, 15_000], [50, 15_000]]) {
      const waits = Array.from({ length: 1000 }, () => waitBefore(failures)).sort((one, other) => one - other);
      assert.ok(waits[0] >= longest / 4 && waits[999] <= longest, `${waits[0]} to ${waits[999]} of ${longest}`);
      // Spread out: no tenth of the time has more than twice its share of them.
      const tenths = Array(10).fill(0);
      for (const wait of waits) tenths[Math.min(9, Math.floor((wait - longest / 4) / (longest * 0.075)))] += 1;
      assert.ok(tenths.every((inside) => inside < 200), tenths.join());
      assert.ok(waits[500] >= before * 0.9);
      before = waits[500];
    }
  });
  test('half an event is no event', () => assert.deepEqual(parse(['event: record\ndata: {}\n']), []));
  test('are asked for after the last record', () => {
    assert.equal(eventsUrl('a b'), '/api/runs/a%20b/events');
    assert.equal(eventsUrl('r', { after: 0, follow: false }), '/api/runs/r/events?after=0&follow=false');
  });
});

describe('forms of a JSON Schema', () => {
  const schema = {
    type: 'object', required: ['name', 'kind'], $defs: { Kind: { enum: ['small', 'large'] } },
    properties: {
      name: { type: 'string', minLength: 2, title: 'Your name' }, kind: { $ref: '#/$defs/Kind' },
      days: { anyOf: [{ type: 'integer', minimum: 1, maximum: 7 }, { type: 'null' }], default: null },
      price: { type: ['number', 'null'] }, tags: { type: 'array', items: { type: 'string' } }, secret: { type: 'string', writeOnly: true },
      extras: { type: 'array', items: { enum: ['a', 'b'] }, maxItems: 1 }, where: { type: 'object', properties: { city: { type: 'string' } } },
      odd: { not: {} }, sure: { type: 'boolean', default: true }, level: { oneOf: [{ const: 1, title: 'low' }, { const: 2, title: 'high' }] },
    },
  };
  const fields = fieldsOf(schema);
  const field = (name) => fields.find((each) => each.name === name) ?? assert.fail(name);

  test('each property finds its kind', () => {
    assert.deepEqual(Object.fromEntries(fields.map((each) => [each.name, each.kind])), {
      name: 'text', kind: 'choice', days: 'integer', price: 'number', tags: 'lines', secret: 'text', extras: 'choices', where: 'group',
      odd: 'json', sure: 'boolean', level: 'choice',
    });
    assert.equal(field('secret').format, 'password');
    assert.ok(hasFields(schema) && !hasFields({ type: 'object' }) && !hasFields(null));
  });

  for (const [name, written, expected] of [
    ['name', 'Ann', { value: 'Ann' }], ['name', '', { problem: 'This is needed.' }], ['name', 'A', { problem: 'Write at least 2 characters.' }],
    ['days', '3', { value: 3 }], ['days', '', { absent: true }], ['days', '2.5', { problem: 'Write a whole number.' }],
    ['days', '8', { problem: 'It must be 7 or less.' }], ['days', 'x', { problem: 'Write a number.' }], ['price', '2,50', { value: new ExactNumber('2.50') }], ['price', '2,5', { value: 2.5 }], ['days', '2.0', { value: new ExactNumber('2.0') }],
    ['kind', 'large', { value: 'large' }], ['kind', 'huge', { problem: 'Choose one of small, large.' }], ['level', 'high', { value: 2 }],
    ['tags', 'a\n\n b', { value: ['a', 'b'] }], ['sure', 'no', { value: false }], ['where', '{"city":"Split"}', { value: { city: 'Split' } }],
  ]) {
    test(`${name}: ${JSON.stringify(written)}`, () => assert.deepEqual(checkText(field(String(name)), String(written)), expected));
  }

  test('a whole number of a field or a link goes on as it is written', () => {
    const [order] = fieldsOf({ properties: { order: { type: 'integer' } } });
    for (const [written, sent = written] of [
      ['1.0'], ['1e3'], ['1E3'], ['-20.00'], ['1.25e+2'], ['1200e-2'], ['0.0'], ['2512292042121000001'], ['12345678901234567890.0'], ['12', '12'], ['007', '7'], ['+5', '5'],
    ]) {
      const checked = checkText(order, written);
      assert.equal(exactText('value' in checked ? checked.value : checked), sent);
      assert.equal(exactText(fromLink([order], new URL(toLink('w', { order: exactParse(sent) }), 'http://page').searchParams).given), `{"order":${sent}}`);
    }
    for (const fraction of ['1.5', '9007199254740993.5', '1.25e1', '1205e-2', '0.10']) {
      assert.deepEqual(checkText(order, fraction), { problem: 'Write a whole number.' });
    }
  });

  test('lists know their limits', () => {
    assert.deepEqual(checkList(field('extras'), ['a', 'b']), { problem: 'Give at most 1.' });
    assert.deepEqual(checkList(field('extras'), ['b']), { value: ['b'] });
  });

  test('a link is complete when it brings all that is needed', () => {
    assert.deepEqual(fromLink(fields, new URLSearchParams('workflow=w&name=Ann&kind=small&days=2')),
      { value: { name: 'Ann', kind: 'small', days: 2, sure: true }, given: { name: 'Ann', kind: 'small', days: 2 }, misfits: {}, unknown: [], complete: true });
    assert.equal(fromLink(fields, new URLSearchParams('name=Ann')).complete, false);
    const misfit = fromLink(fields, new URLSearchParams('name=Ann&kind=small&days=99'));
    assert.equal(misfit.complete, false);
    assert.deepEqual(misfit.misfits, { days: { written: '99', problem: 'It must be 7 or less.' } });
    const other = fromLink(fields, new URLSearchParams('workflow=w&name=Ann&kind=small&dayz=2&theme=dark&autostart='));
    assert.deepEqual([other.unknown, other.complete], [['dayz'], false], 'what the workflow does not have is not passed over');
  });

  for (const [written, said] of [['dayz', 'dayz (did you mean “days”?)'], ['NMAE', 'NMAE (did you mean “name”?)'], ['kin', 'kin (did you mean “kind”?)'],
    ['su-re', 'su-re (did you mean “sure”?)'], ['nothing_like_it', 'nothing_like_it'], ['x', 'x']]) {
    test(`a parameter of a link that is not there: ${written}`, () => assert.equal(meantNames([written], fields), said));
  }

  test('lists come back from a link item by item', () => {
    const lists = fieldsOf({ properties: {
      tags: { type: 'array', items: { type: 'string' } }, sizes: { type: 'array', items: { type: 'integer' } }, extras: { type: 'array', items: { enum: ['a', 'b, c'] } }, mixed: { type: 'array' },
    } });
    const back = (params) => fromLink(lists, new URL(toLink('w', params), 'http://page').searchParams).given;
    for (const params of [{ tags: ['a', 'b c'] }, { tags: ['a, b', 'c'] }, { tags: ['[x]', ' y'] }, { tags: ['1', 'true'] }, { tags: [] },
      { sizes: [1, 2] }, { sizes: [[1], [2, 3]] }, { extras: ['a', 'b, c'] }, { mixed: ['1', 1, 'x'] }, { mixed: ['x', 'y'] }]) assert.deepEqual(back(params), params.tags?.length === 0 ? {} : params);
    assert.equal(toLink('w', { tags: ['a', 'b c'], none: null }), '/?workflow=w&tags=a%2Cb+c');
    assert.equal(toLink('w', { tags: ['a, b', 'c'] }), `/?${new URLSearchParams({ workflow: 'w', tags: '["a, b","c"]' })}`);
    assert.deepEqual(fromLink(lists, new URLSearchParams('tags=a, b&sizes=1,2&extras=a')).given, { tags: ['a', 'b'], sizes: [1, 2], extras: ['a'] });
    assert.deepEqual(fromLink(lists, new URLSearchParams('tags=[a,b]')).given, { tags: ['[a', 'b]'] });
  });

  test('what only JSON Schema says is checked here, too, in words', () => {
    const strict = fieldsOf({
      required: ['terms', 'zip'], properties: {
        zip: { type: 'string', pattern: '^[0-9]{5}$', description: 'Five digits.' }, plate: { type: 'string', pattern: '^\\p{Lu}+$', examples: ['ZG'] },
        odd: { type: 'string', pattern: '(?i)x' }, bare: { type: 'string', pattern: '^x$' }, hours: { type: 'number', multipleOf: 0.5 }, cents: { type: 'number', multipleOf: 0.01 },
        terms: { type: 'boolean', const: true }, spam: { const: false }, kind: { const: 'lamp' }, zips: { type: 'array', uniqueItems: true, items: { type: 'string', pattern: '^[0-9]{5}$', description: 'Five digits.' } },
      },
    });
    const check = (name, written) => checkText(strict.find((each) => each.name === name) ?? assert.fail(name), written);
    assert.deepEqual(check('zip', '12'), { problem: 'This does not fit. Five digits.' });
    assert.deepEqual(check('zip', '10000'), { value: '10000' });
    assert.deepEqual(check('plate', 'zg'), { problem: 'This does not fit. Write it like ZG.' });
    assert.deepEqual(check('plate', 'ŽG'), { value: 'ŽG' });
    assert.deepEqual(check('odd', 'anything'), { value: 'anything' }, 'JavaScript cannot read it');
    assert.deepEqual(check('bare', 'y'), { problem: 'This does not have the form that is needed (^x$).' });
    assert.deepEqual(check('hours', '7.3'), { problem: 'It must be in steps of 0.5, like 7 or 7.5.' });
    assert.deepEqual([check('hours', '7.5'), check('cents', '19.99'), check('cents', '0.07')], [{ value: 7.5 }, { value: 19.99 }, { value: 0.07 }]);
    assert.deepEqual(check('cents', '0.075'), { problem: 'It must be in steps of 0.01, like 0.07 or 0.08.' });
    assert.deepEqual(check('terms', 'no'), { problem: 'This must be ticked.' });
    assert.deepEqual(check('spam', 'yes'), { problem: 'This must not be ticked.' });
    assert.deepEqual([check('kind', 'lamp'), check('kind', 'x')], [{ value: 'lamp' }, { problem: 'Choose one of lamp.' }]);
    assert.deepEqual(check('zips', '10000\n12'), { problem: '“12”: This does not fit. Five digits.' });
    assert.deepEqual(check('zips', '10000\n10000'), { problem: 'Give each of them only once.' });
  });

  test('what was filled in is told in the words of the form, inside groups, too', () => {
    const schema = { properties: {
      colour: { oneOf: [{ const: 'r', title: 'Red' }, { const: 'g', title: 'Green' }] }, tags: { type: 'array', items: { type: 'string' } },
      address: { title: 'Address', type: 'object', properties: { street: { title: 'Street', type: 'string' }, key: { title: 'Key', type: 'string', format: 'password' } } },
    } };
    const told = labelled(schema, { colour: 'r', tags: ['x, y', 'z'], address: { street: 'Elm', key: 'secret' }, other: true });
    assert.deepEqual(told.map(({ label, words }) => `${label}=${words}`), ['Colour=Red', 'Tags=x, y\nz', 'Address: Street=Elm', 'Address: Key=••• (given)', 'other=yes']);
  });

  test('a refusal is taken apart by the fields that it means', () => {
    const paths = [['Address'], ['Address', 'zip'], ['tags'], ['city']];
    assert.deepEqual(placesOf('Address/zip: "12" does not match "^[0-9]{5}$"; tags/1: 3 is not of type "string"; nobody is there', paths), {
      placed: [{ path: ['Address', 'zip'], words: '"12" does not match "^[0-9]{5}$"' }, { path: ['tags'], words: 'Number 2: 3 is not of type "string"' }],
      rest: 'nobody is there',
    });
    assert.deepEqual(placesOf('the parameters do not fit: Address.zip: x; "city" is a required property; Address: "zip" is a required property', paths), {
      placed: [{ path: ['Address', 'zip'], words: 'x' }, { path: ['city'], words: 'This is needed.' }, { path: ['Address', 'zip'], words: 'This is needed.' }], rest: '',
    });
    assert.deepEqual(placesOf('Address/zip is missing; city: it must be a text, not a number', paths), {
      placed: [{ path: ['Address', 'zip'], words: 'This is needed.' }, { path: ['city'], words: 'it must be a text, not a number' }], rest: '',
    });
    assert.deepEqual(placesOf('there is no weather in "city": Atlantis', paths).placed, []);
  });
});

describe('words', () => {
  test('initials', () => assert.deepEqual(['Teacher', 'weather_man', 'FlightDesk', 'élan', '😀', ''].map(initialsOf), ['Te', 'WM', 'FD', 'Él', '?', '?']));
  test('a name keeps its colour', () => assert.equal(hueFor('Teacher'), hueFor('Teacher')));
  test('durations', () => assert.deepEqual([12, 1500, 42_000, 61_000, 3_600_000, NaN].map(duration), ['12 ms', '1.5 s', '42 s', '1 min 1 s', '1 h', '']));
  test('who answered', () => assert.deepEqual([[null, null], ['ann', 'ann'], ['ben', 'ann'], ['ann', null], [null, 'ann'], ['a\u202enn', 'ann']].map(([by, reader]) => answererWords({ by }, reader)),
    ['You', 'You', 'ben', 'ann', 'Somebody', 'a\\u202enn']));
  test('whose run it is, and who stopped it', () => {
    assert.deepEqual([otherThan('ann', 'ann'), otherThan('ann', 'ben'), otherThan(null, 'ben'), otherThan('ann', null)], [null, 'ann', null, 'ann']);
    assert.deepEqual([reasonWords('stopped by ann', 'ann'), reasonWords('stopped by ann', 'ben'), reasonWords('no model', 'ann')], ['stopped by you', 'stopped by ann', 'no model']);
    assert.deepEqual([stateWords({ state: 'waiting', outcome: null }), stateWords({ state: 'waiting', outcome: null }, 'ann')], ['waiting for you', 'waiting for ann']);
  });
  test('one line', () => assert.equal(oneLine({ city: 'Zagreb', days: 3 }), 'city: "Zagreb", days: 3'));
  test('one line of a number has all its digits', () => {
    assert.deepEqual(['19.90', '2512292042121000001', '[1.0]', '{"a":1.0}'].map((json) => oneLine(exactParse(json))), ['19.90', '2512292042121000001', '[1.0]', 'a: 1.0']);
  });
  test('what is a title', () => assert.deepEqual(['30', 'ok', '', 'Ann', '猫'].map(saysSomething), [false, false, false, true, true]));

  test('a plain line of Markdown', () => assert.equal(plainLine('## The **Clerk** wants to [pay](https://x.example/) `5` *now*'), 'The Clerk wants to pay 5 now'));
  test('what turns letters around is shown, also in JSON', () => {
    assert.equal(visible('pay\u202Eback\u200B 👩‍💻 \u001b'), 'pay\\u202eback\\u200b 👩‍💻 \\u001b');
    assert.deepEqual(JSON.parse(prettyJson({ to: 'Ann\u202E' })), { to: 'Ann\u202E' });
  });
  test('days as one remembers them', () => {
    const now = new Date(2026, 10, 23, 0, 30).getTime();
    const at = (/** @type {number[]} */ ...parts) => dayWords(new Date(2026, 10, ...parts).toISOString(), now);
    assert.deepEqual([at(23, 0, 1), at(22, 23, 59), at(21, 0), at(17, 0), at(16, 23), at(1, 0)], ['Today', 'Yesterday', 'This week', 'This week', 'This month', 'This month']);
    assert.deepEqual([dayWords('2026-01-01T00:00:00Z', now), dayWords('never', now)], ['Earlier', 'Some time']);
  });
  test('a time that is none is nothing', () => assert.equal(timeOfDay('never'), ''));
});

describe('a text that is being written', () => {
  const text = 'Some *words*\ngo on.\n\n# Title\n1. one\n2. two\n  more\n\n```js\nlet a = "# no title";\n\n- no list\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n> said\n\n---\nend';
  const kinds = (blocks) => blocks.map((block) => [block.kind, block.lines.length]);

  test('is cut into blocks', () => {
    assert.deepEqual(kinds(blocksOf(text).blocks), [['paragraph', 2], ['heading', 1], ['list', 3], ['code', 3], ['table', 3], ['quote', 1], ['rule', 1], ['paragraph', 1]]);
  });

  test('has the same blocks however it comes, and what has ended is never looked at again', () => {
    for (let pace = 1; pace < 9; pace += 1) {
      const done = [];
      let settled = 0;
      for (let end = pace; end < text.length + pace; end += pace) {
        const { blocks, ends } = blocksOf(text.slice(settled, end));
        done.push(...blocks.slice(0, -1));
        settled += ends.at(-2) ?? 0;
      }
      done.push(...blocksOf(text.slice(settled)).blocks);
      // Half a mark may have looked like a paragraph for a moment; the words are all there, once, in their order.
      const lines = (blocks) => blocks.flatMap((block) => block.lines).join('\n').replace(/[^a-z0-9]+/g, ' ');
      assert.equal(lines(done), lines(blocksOf(text).blocks), `in pieces of ${pace}`);
    }
  });
});

test('a conversation as Markdown', () => {
  const at = '2026-11-22T10:00:00Z';
  const message = (type, content) => ({ uuid: Math.random().toString(), sender: 'Teacher', recipient: 'Student', type, content });
  const view = [
    { kind: 'created', workflow: 'simple_learning', params: {}, user: null },
    { kind: 'said', message: message('text_message', { body: 'A **triangle**.' }) },
    { kind: 'said', message: { ...message('text_input', { prompt: 'Word?', password: true }), uuid: 'q' } },
    { kind: 'answered', question: 'q', text: null, by: null },
    { kind: 'said', message: message('suggested_function_call', { function_name: 'f', call_id: '1', arguments: { code: '```' } }) },
    { kind: 'ended', outcome: 'completed', reason: null, result: 'done' },
  ].reduce((now, record, position) => apply(now, { type: 'record', record: { seq: position + 1, at, ...record } }), emptyRun());
  assert.equal(toMarkdown(view, 'triangles'), [
    '# triangles', `Workflow: Simple learning, started ${exactTime(at)}`, '## Teacher → Student', 'A **triangle**.', '## Teacher → Student', 'Word?',
    '> **You:** ••• (given)', '## Teacher → Student', 'Tool `f`', '````json\n{\n  "code": "```"\n}\n````', '---', `The run has completed (${exactTime(at)})`, 'done',
  ].join('\n\n') + '\n');
});

test('what was said for an agent, and what buttons gave, as Markdown', () => {
  const at = '2026-11-22T10:00:00Z';
  const inShort = { prompt: 'Your reply to poet', answers: [{ label: 'Skip', answer: '' }] };
  const ask = (uuid) => ({ kind: 'said', message: { uuid, sender: 'critic', recipient: 'User', type: 'text_input', content: { prompt: 'Replying as critic. Press enter to skip', in_short: inShort } } });
  const view = [
    ask('q'), { kind: 'answered', question: 'q', text: 'Too long.', by: null },
    { kind: 'said', message: { uuid: 'm', sender: 'critic', recipient: 'poet', type: 'text_message', content: { body: 'Too long.' } } },
    ask('r'), { kind: 'answered', question: 'r', text: '', by: null },
  ].reduce((now, record, position) => apply(now, { type: 'record', record: { seq: position + 1, at, ...record } }), emptyRun());
  assert.deepEqual(toMarkdown(view, 't').split('\n\n').slice(2), [
    '## critic → poet', '> **You:** Too long.', '## critic → User', 'Your reply to poet', '> **You:** Skip', '*(this run is still going on)*\n',
  ]);
});

test('who answered in a conversation as Markdown, and for whom', () => {
  const at = '2026-11-22T10:00:00Z';
  const ask = (uuid) => ({ kind: 'said', message: { uuid, sender: 'Clerk', recipient: 'User', type: 'text_input', content: { prompt: 'Well?' } } });
  const view = [
    { kind: 'created', workflow: 'simple_learning', params: {}, user: 'ann' }, ask('q'), { kind: 'answered', question: 'q', text: 'one', by: 'ann' },
    ask('r'), { kind: 'answered', question: 'r', text: 'two', by: 'ben' }, { kind: 'ended', outcome: 'cancelled', reason: 'stopped by ben', result: null },
  ].reduce((now, record, position) => apply(now, { type: 'record', record: { seq: position + 1, at, ...record } }), emptyRun());
  const parts = (reader) => toMarkdown(view, 't', reader).split('\n\n').filter((part) => !part.startsWith('## ') && part !== 'Well?');
  const workflow = `Workflow: Simple learning, started ${exactTime(at)} by ann`;
  const ended = `The run was stopped (${exactTime(at)}): stopped by`;
  assert.deepEqual(parts('ben'), ['# t', workflow, '“You” is ben.', '> **ann:** one', '> **You:** two', '---', `${ended} you\n`]);
  assert.deepEqual(parts('ann'), ['# t', workflow, '“You” is ann.', '> **You:** one', '> **ben:** two', '---', `${ended} ben\n`]);
  assert.deepEqual(parts(null), ['# t', workflow, '> **ann:** one', '> **ben:** two', '---', `${ended} ben\n`]);
});

describe('directions', () => {
  for (const [text, direction] of [
    ['مرحبا! استخدم FastAgency', 'rtl'], ['FastAgency: مرحبا', 'ltr'], ['123 שלום', 'rtl'], ['١٢٣ abc', 'ltr'], ['• «مرحبا»', 'rtl'], ['😀 سلام', 'rtl'],
    ['ދިވެހި', 'rtl'], ['ܫܠܡܐ', 'rtl'], ['日本語', 'ltr'], ['', 'ltr'], ['(1) -- 2', 'ltr'], ['𞤀𞤣𞤤𞤢𞤥', 'rtl'],
  ]) test(`${JSON.stringify(text)} runs ${direction}`, () => assert.equal(directionOf(text), direction));
});

describe('bare addresses, as the server finds them', () => {
  // The table of the server's own test, so that a text looks the same while it is written and after.
  for (const line of readFileSync(new URL('addresses.tsv', import.meta.url), 'utf8').split('\n').filter(Boolean)) {
    const [text, targets] = line.split('\t');
    test(`in ${JSON.stringify(text)}: ${targets || 'none'}`, () => assert.equal(addressesIn(text).map(({ target }) => target).join(' '), targets));
  }
  test('a hostile text costs little', () => {
    const began = Date.now();
    for (const text of ['a@'.repeat(100_000), 'https://'.repeat(30_000), 'www.a'.repeat(50_000), `https://a${'.('.repeat(20_000)}`, 'a'.repeat(50_000) + '@']) addressesIn(text);
    assert.ok(Date.now() - began < 2000);
  });
});

describe('in a conversation as Markdown', () => {
  const at = '2026-11-22T10:00:00Z';
  const message = (type, content, uuid) => ({ uuid, sender: 'Teacher', recipient: 'Student', type, content });
  const markdown = (...records) => toMarkdown(records.reduce((now, record, position) => apply(now, { type: 'record', record: { seq: position + 1, at, ...record } }), emptyRun()), 't');
  const answered = (text) => markdown({ kind: 'said', message: message('text_input', { prompt: '?' }, 'q') }, { kind: 'answered', question: 'q', text, by: null }).split('**You:** ')[1].split('\n\n')[0];
  const said = (body) => markdown({ kind: 'said', message: message('text_message', { body }, 'm') }).split('## Teacher → Student\n\n')[1].split('\n\n*(this run')[0];

  for (const [written, escaped] of [
    ['<b>bold</b> <script>x</script>', '\\<b>bold\\</b> \\<script>x\\</script>'], ['# title', '\\# title'], ['* one', '\\* one'], ['- one', '\\- one'],
    ['1. one', '1\\. one'], ['2026', '2026'], ['snake_case, _so_', 'snake_case, \\_so\\_'], ['a ~~b~~ `c` [d](e) \\f', 'a \\~\\~b\\~\\~ \\`c\\` \\[d\\](e) \\\\f'],
    ['Ben & Ann &lt; https://x.example/?a=1&b=2', 'Ben & Ann \\&lt; https://x.example/?a=1&b=2'], ['one\n  two', 'one\\\n> \u00a0\u00a0two'], ['one\n===', 'one\\\n> \\==='],
  ]) test(`people’s ${JSON.stringify(written)} stays what it is`, () => assert.equal(answered(written), escaped));

  for (const [written, below] of [
    ['# one\n###### six\n#no', '### one\n###### six\n#no'], ['one\n===\n\ntwo\n---\n\n---', '### one\n\n#### two\n\n---'], ['> # said', '> ### said'],
    ['- ```sh\n  # no\n  ```\n# yes', '- ```sh\n  # no\n  ```\n### yes'], ['````\n```\n# no\n````\n# yes', '````\n```\n# no\n````\n### yes'],
    ['~~~\n# never ended', '~~~\n# never ended\n~~~'], ['| a |\n|---|\n| 1 |', '| a |\n|---|\n| 1 |'],
  ]) test(`headings in ${JSON.stringify(written)} are below the speaker’s`, () => assert.equal(said(written), below));
});

describe('the files of the page', () => {
  const folder = new URL('../../src/ui/assets/', import.meta.url);
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.'));
  const files = Object.fromEntries(names.map((name) => [name, readFileSync(new URL(name, folder), 'utf8')]));

  /** What a first visit does not load. */
  const LATER = ['form/near-names.js', 'gateway/events-worker.js', 'gateway/event-parser.js', 'gateway/shared-events.js', 'admin.css', 'admin.html', 'admin.js', 'embed.js', 'list/inbox.css', 'list/inbox.js', 'question/approval.js', 'page/keys-dialog.js', 'question/late.js', 'run/rare-actions.js', 'run/export-page.js', 'run/export.js', 'run/settling.js',
    'session/sign-in.js', 'text/math.js'];

  /** What is sent of a script or a style sheet (src/ui/lean.rs): all but comments that fill whole lines. */
  const sent = (/** @type {string} */ name, /** @type {string} */ content) => {
    if (!/\.(js|css)$/.test(name)) return content;
    let inside = false;
    return content.split('\n').map((line) => {
      const words = line.trim();
      const begins = !inside && words.startsWith('/*');
      if (!inside && !begins) return words.startsWith('//') ? '' : line;
      inside = !words.endsWith('*/');
      return '';
    }).join('\n');
  };

  test('weigh less than 90 kB, as they are sent', () => {
    const weight = Object.entries(files).filter(([name]) => !LATER.includes(name)).reduce((sum, [name, content]) => sum + gzipSync(sent(name, content), { level: 9 }).length, 0);
    console.log(`the page weighs ${(weight / 1000).toFixed(1)} kB as it is sent, in ${names.length} files`);
    assert.ok(weight < 90_000);
  });
  test('name nothing from elsewhere', () => {
    for (const [name, content] of Object.entries(files)) {
      const elsewhere = [...content.matchAll(/https?:\/\/[^\s"'`)]+/g)].map((match) => match[0]).filter((url) => !url.startsWith('http://www.w3.org/'));
      assert.deepEqual(elsewhere, [], name);
    }
  });
  test('every module stands once in the template of the page that needs it', () => {
    const reached = (name, found = new Set()) => {
      if (!found.has(name)) {
        found.add(name);
        for (const [, next] of files[name].matchAll(/^(?:import|export)[^;]*?from '(\.[^']+)'/gm)) reached(join(dirname(name), next), found);
      }
      return found;
    };
    const first = reached('main.js');
    const named = (id) => [...new RegExp(`<template id="${id}">([^]*?)</template>`).exec(files['index.html'])[1].matchAll(/"\/assets\/([^"]+)"/g)].map(([, name]) => name).sort();
    assert.deepEqual(named('modules'), [...first].sort());
    assert.deepEqual(named('modules-of-runs'), [...reached('run/run-page.js')].filter((name) => !first.has(name)).sort());
    const asked = [...named('modules'), ...named('modules-of-runs'), 'before-paint.js', 'after-paint.js', ...LATER];
    for (const name of names.filter((each) => each.endsWith('.js'))) assert.ok(asked.includes(name), `${name} is in no template`);
  });
  test('no function is longer than 120 lines', () => {
    const long = [];
    for (const [name, content] of Object.entries(files).filter(([each]) => each.endsWith('.js'))) {
      const source = typescript.createSourceFile(name, content, typescript.ScriptTarget.Latest);
      const lineAt = (/** @type {number} */ position) => source.getLineAndCharacterOfPosition(position).line;
      const visit = (/** @type {import('typescript').Node} */ node) => {
        const [first, last] = [lineAt(node.getStart(source)), lineAt(node.end)];
        if (typescript.isFunctionLike(node) && last - first >= 120) long.push(`${name}:${first + 1} has ${last - first + 1} lines`);
        node.forEachChild(visit);
      };
      visit(source);
    }
    assert.deepEqual(long, []);
  });
  test('nothing in the page is inline', () => {
    assert.doesNotMatch(files['index.html'], /\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)/);
  });
});

describe('numbers with more digits than JavaScript keeps', () => {
  test('they come back as they were', () => {
    const text = '{"a":9007199254740993,"b":[1,18446744073709551615,0.1],"c":"12345678901234567890 \\" 9007199254740993","d":123456789012345.678}';
    const value = exactParse(text);
    assert.equal(exactText(value), text);
    assert.ok(value.a instanceof ExactNumber && value.b[1] instanceof ExactNumber && value.d instanceof ExactNumber);
    assert.deepEqual([value.b[0], value.b[2]], [1, 0.1]);
    assert.equal(JSON.stringify({ a: value.a }), '{"a":9007199254740992}', 'who knows nothing of it has a number');
  });

  test('a person writes them as they like', () => {
    const written = ['5', ' 007 ', '+9007199254740993', '-0009007199254740993', '0.5', '1e3'].map((text) => String(numberOf(text)));
    assert.deepEqual(written, ['5', '7', '9007199254740993', '-9007199254740993', '0.5', '1e3']);
    assert.ok(Number.isNaN(numberOf('a lot')));
  });

  test('every number comes back digit for digit, and can be calculated with', () => {
    const met = ['0', '-0', '0.0', '1.0', '19.90', '3.10', '1e3', '1E3', '1e+3', '100000000000000000000', '2512292042121000001', '18446744073709551616',
      '0.1234567890123456789012345678901', '-9223372036854775809', '1e-400', '1.7976931348623157e308', '7', '0.1', '123456.789'];
    let seed = 1;
    const next = (below) => (seed = (seed * 48271) % 2147483647) % below;
    const digits = (count) => Array.from({ length: count }, () => next(10)).join('');
    const random = Array.from({ length: 300 }, () => `${['', '-'][next(2)]}${digits(1 + next(30)).replace(/^0+(?=.)/, '')}${next(2) ? `.${digits(1 + next(30))}` : ''}${next(4) ? '' : `e${next(99)}`}`);
    for (const number of [...met, ...random]) {
      for (const text of [number, `[${number}]`, `{"a":${number},"b":"${number}"}`, `{"a":[1,\n ${number} , 2]}`]) {
        assert.equal(exactText(exactParse(text)), text.replace(/\s/g, ''), text);
      }
      assert.equal(Number(exactParse(number)), Number(number), number);
    }
    const { cost } = exactParse('{"cost":2.50}');
    assert.equal(cost + 1, 3.5);
    assert.equal(`${cost} ${cost.toFixed(1)}`, '2.50 2.5');
  });

  test('only what was changed is told', () => {
    const before = exactParse('{"account":9007199254740993,"to":{"name":"Ann","a/b~":1},"gone":null,"list":[1]}');
    const after = { account: before.account, to: { name: 'Ben', 'a/b~': 2 }, list: [1], more: numberOf('9007199254740995') };
    assert.deepEqual(changesOf(before, after), [
      { path: '/to/name', json: '"Ben"' }, { path: '/to/a~1b~0', json: '2' }, { path: '/gone' }, { path: '/more', json: '9007199254740995' },
    ]);
    assert.deepEqual(changesOf(before, { ...before }), []);
  });
});
