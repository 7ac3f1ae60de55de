// @ts-check
/** The form for a JSON Schema: one labelled control per field, with its message beside it. Used for parameters and for questions. */

import { freshId, h } from '../elements/dom.js';
import { exactText } from '../gateway/exact-json.js';
import { placesOf } from './refusals.js';
import { checkList, checkText, checkTick, fieldsOf, mustBeTicked, patternWords } from './schema.js';
import { sentenceOf } from '../text/words.js';

/**
 * @typedef {import('./schema.js').Field} Field
 * @typedef {import('./schema.js').Checked} Checked
 * @typedef {{valid: true, value: Record<string, unknown>} | {valid: false}} Read
 *
 * @typedef {object} Control
 * @property {Field} field
 * @property {HTMLElement} element
 * @property {() => Checked} check             what stands there, without a word about it
 * @property {(words: string) => void} say     what is wrong, at the field; '' takes it back
 * @property {() => boolean} isEmpty
 * @property {() => boolean} isAsDrawn         nobody has touched it: it is empty, or stands at the schema's default
 * @property {() => unknown} written           as it stands there, for a draft; undefined for what must not be kept
 * @property {() => void} focus
 * @property {Controls} [inner]                of a group
 *
 * @typedef {object} Controls
 * @property {HTMLElement} element
 * @property {readonly Control[]} all
 * @property {() => Read} check
 *
 * @typedef {ReturnType<typeof schemaForm>} SchemaForm
 */

/** @param {Record<string, any>} schema @param {Record<string, unknown>} [initial] by name, before the schema's own defaults */
export function schemaForm(schema, initial = {}) {
  const controls = controlsOf(fieldsOf(schema), initial);
  /** Those that a person writes into, with the names that lead to them. */
  const places = placesIn(controls);
  /** @type {Set<Control>} */
  const wrong = new Set();
  /** @param {Control} control @param {string} words */
  const say = (control, words) => {
    control.say(words);
    if (words) wrong.add(control);
    else wrong.delete(control);
  };
  const focusProblem = () => {
    const first = places.find(({ control }) => wrong.has(control));
    first?.control.focus();
    return first !== undefined;
  };
  return {
    element: controls.element,
    check: controls.check,
    /** Shows what is wrong at the fields, and goes to the first of them. @returns {Read} */
    read: () => {
      for (const { control } of places) say(control, '');
      showProblems(controls, say);
      focusProblem();
      return controls.check();
    },
    /** Says what somebody else found wrong with a field. @param {string} name @param {string} words */
    sayAt: (name, words) => {
      const control = controls.all.find(({ field }) => field.name === name);
      if (control) say(control, words);
    },
    /** Says a refusal of the server at its fields. Returns what belongs to none of them; null if nothing belonged to one.
     * @param {string} message */
    refuse: (message) => {
      for (const { control } of places) say(control, '');
      const { placed, rest } = placesOf(message, places.map(({ path }) => path));
      for (const { path, words } of placed) {
        const control = places.find((place) => place.path === path)?.control;
        if (!control) continue;
        const field = control.field.item ?? control.field;
        say(control, refusalWords(field, words));
      }
      return focusProblem() ? rest : null;
    },
    focusProblem,
    /** What somebody wrote and chose, to be read, but for what stands in `given`, too; without passwords. @param {unknown} given */
    touchedWords: (given) => places.filter(({ control }) => !control.inner && !control.isAsDrawn())
      .map(({ path, control }) => ({ field: control.field, written: control.written(), taken: asWritten(control.field, valueAt(given, path)) }))
      .filter(({ written, taken }) => typeof written === 'string' && written.trim() !== '' && written.trim() !== taken)
      .map(({ field, written }) => `${field.label}: ${written}`).join('\n'),
    written: () => writtenIn(controls),
    focus: () => controls.all[0]?.focus(),
  };
}

/** A refusal as it is said at its field. The server's words may repeat what was written. @param {Field} field @param {string} words */
function refusalWords(field, words) {
  if (/ does not match "/.test(words) && field.schema.pattern) return patternWords(field);
  return field.format === 'password' && words.includes('"') ? 'This does not fit.' : sentenceOf(words);
}

/** @param {unknown} value @param {readonly string[]} path */
const valueAt = (value, path) => path.reduce((/** @type {any} */ place, name) => place?.[name], value);

/** @param {Controls} controls @param {readonly string[]} [path] @returns {{path: readonly string[], control: Control}[]} */
function placesIn(controls, path = []) {
  return controls.all.flatMap((control) => {
    const own = [...path, control.field.name];
    return [{ path: own, control }, ...(control.inner ? placesIn(control.inner, own) : [])];
  });
}

/** @param {Controls} controls @param {(control: Control, words: string) => void} say */
function showProblems(controls, say) {
  for (const control of controls.all) {
    const checked = control.check();
    if (!('problem' in checked)) continue;
    if (control.inner) showProblems(control.inner, say);
    else say(control, checked.problem);
  }
}

/** @param {Controls} controls @returns {Record<string, unknown>} */
const writtenIn = ({ all }) => Object.fromEntries(all.map((control) => [control.field.name, control.written()])
  .filter(([, written]) => written !== undefined));

/** @param {readonly Field[]} fields @param {Record<string, unknown>} initial @returns {Controls} */
function controlsOf(fields, initial) {
  const all = fields.map((field) => controlOf(field, initial[field.name] ?? field.initial));
  return {
    all, element: h('div', { class: 'fields' }, ...all.map((control) => control.element)),
    check: () => {
      /** @type {Record<string, unknown>} */
      const value = {};
      let valid = true;
      for (const control of all) {
        const checked = control.check();
        if ('value' in checked) value[control.field.name] = checked.value;
        else if ('problem' in checked) valid = false;
      }
      return valid ? { valid, value } : { valid };
    },
  };
}

/** @param {Field} field @param {unknown} initial @returns {Control} */
function controlOf(field, initial) {
  switch (field.kind) {
    case 'boolean': return booleanControl(field, initial);
    case 'choice': return choiceControl(field, initial);
    case 'choices': return choicesControl(field, initial);
    case 'group': return groupControl(field, initial);
    default: return textControl(field, initial);
  }
}

const INPUT_TYPES = /** @type {Record<string, string>} */ ({
  date: 'date', time: 'time', 'date-time': 'datetime-local', email: 'email', uri: 'url', password: 'password',
});

/** @param {Field} field @param {unknown} initial @returns {Control} */
function textControl(field, initial) {
  const id = freshId('field');
  const tall = ['long', 'lines', 'json'].includes(field.kind);
  const secret = field.format === 'password';
  const input = tall
    ? h('textarea', { id, dir: 'auto', rows: field.kind === 'json' ? 4 : 3, class: field.kind === 'json' ? 'monospace' : null })
    : h('input', {
      id, type: INPUT_TYPES[field.format] ?? 'text', dir: 'auto', autocomplete: secret ? 'off' : null,
      inputmode: field.kind === 'integer' ? 'numeric' : field.kind === 'number' ? 'decimal' : null,
    });
  input.defaultValue = asWritten(field, field.initial);
  input.value = asWritten(field, initial);
  const frame = fieldFrame(field, id, input, field.kind === 'lines' ? 'One per line.' : null);
  return {
    field, element: frame.element, focus: () => input.focus(),
    check: () => checkText(field, input.value), say: frame.say,
    isEmpty: () => input.value.trim() === '', isAsDrawn: () => input.value === input.defaultValue,
    written: () => secret ? undefined : input.value,
  };
}

/** @param {Field} field @param {unknown} initial */
function asWritten(field, initial) {
  if (initial === undefined || initial === null) return '';
  if (typeof initial === 'string') {
    if (field.format === 'date-time' && /Z|[+-]\d\d:\d\d$/.test(initial)) {
      const date = new Date(initial);
      return Number.isNaN(date.getTime()) ? '' : new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
    }
    return initial;
  }
  if (field.kind === 'lines' && Array.isArray(initial)) return initial.join('\n');
  return typeof initial === 'object' ? exactText(initial, 2) : String(initial);
}

/** @param {Field} field @param {unknown} initial @returns {Control} */
function booleanControl(field, initial) {
  const id = freshId('field');
  const input = h('input', { id, type: 'checkbox' });
  input.defaultChecked = field.initial === true;
  input.checked = initial === true || initial === 'true';
  const help = field.help ? h('span', { class: 'help', id: `${id}-help`, dir: 'auto' }, field.help) : null;
  const problem = problemLine(id, input, help?.id);
  const needed = mustBeTicked(field);
  if (needed) input.setAttribute('aria-required', 'true');
  const element = h('div', { class: 'field is-boolean', 'data-field': field.name },
    h('label', { for: id }, input, h('span', { dir: 'auto' }, field.label, needed ? neededWords() : null)), help, problem.line);
  element.addEventListener('input', () => problem.say(''));
  return {
    field, element, focus: () => input.focus(), written: () => input.checked,
    check: () => checkTick(field, input.checked), say: problem.say,
    isEmpty: () => !input.checked, isAsDrawn: () => input.checked === input.defaultChecked,
  };
}

/** @param {Field} field @param {unknown} initial @returns {Control} */
function choiceControl(field, initial) {
  const id = freshId('field');
  /** @param {unknown} value */
  const labelOf = (value) => field.options.find((option) => option.value === value || option.label === value)?.label ?? '';
  const byDefault = labelOf(field.initial);
  const chosen = labelOf(initial) || byDefault;
  // Without a choice a default is taken, so there is none.
  const none = field.required ? (chosen ? null : 'Choose…') : (byDefault ? null : 'no choice');
  const select = h('select', { id, dir: 'auto' }, none && h('option', { value: '' }, none),
    ...field.options.map((option) => h('option', { value: option.label }, option.label)));
  select.value = chosen;
  const frame = fieldFrame(field, id, select);
  return {
    field, element: frame.element, focus: () => select.focus(), written: () => select.value,
    check: () => checkText(field, select.value), say: frame.say,
    isEmpty: () => select.value === '', isAsDrawn: () => select.value === byDefault,
  };
}

/** @param {Field} field @param {unknown} initial @returns {Control} */
function choicesControl(field, initial) {
  const id = freshId('field');
  const chosen = Array.isArray(initial) ? initial : typeof initial === 'string' ? initial.split(',') : [];
  const byDefault = Array.isArray(field.initial) ? field.initial : [];
  const boxes = field.options.map((option) => {
    const box = h('input', { type: 'checkbox', value: option.label });
    box.defaultChecked = byDefault.includes(option.value);
    box.checked = chosen.includes(option.value) || chosen.includes(option.label);
    return box;
  });
  const element = h('fieldset', { class: 'field', 'data-field': field.name },
    h('legend', { dir: 'auto' }, ...labelWords(field)), field.help ? h('p', { class: 'help', dir: 'auto' }, field.help) : null,
    ...boxes.map((box) => h('label', { class: 'box' }, box, h('span', { dir: 'auto' }, box.value))));
  const problem = problemLine(id, element);
  element.append(problem.line);
  element.addEventListener('input', () => problem.say(''));
  const labels = () => boxes.filter((box) => box.checked).map((box) => box.value);
  return {
    field, element, focus: () => boxes[0]?.focus(), written: labels,
    check: () => checkList(field, labels()), say: problem.say,
    isEmpty: () => labels().length === 0, isAsDrawn: () => boxes.every((box) => box.checked === box.defaultChecked),
  };
}

/** @param {Field} field @param {unknown} initial @returns {Control} */
function groupControl(field, initial) {
  const inner = controlsOf(field.fields, initial && typeof initial === 'object' ? /** @type {any} */ (initial) : {});
  const isEmpty = () => inner.all.every((control) => control.isEmpty());
  const isAsDrawn = () => inner.all.every((control) => control.isAsDrawn());
  const words = [field.help, !field.required && field.fields.some((each) => each.required) ? 'You can leave all of this empty.' : null];
  const element = h('fieldset', { class: 'field is-group', 'data-field': field.name },
    h('legend', { dir: 'auto' }, ...labelWords(field)), words.some(Boolean) ? h('p', { class: 'help', dir: 'auto' }, words.filter(Boolean).join(' ')) : null, inner.element);
  const problem = problemLine(freshId('field'), element);
  element.append(problem.line);
  element.addEventListener('input', () => problem.say(''));
  return {
    field, element, inner, isEmpty, isAsDrawn, say: problem.say,
    focus: () => inner.all[0]?.focus(), written: () => writtenIn(inner),
    check: () => {
      const read = inner.check();
      // An optional group that a person left as it was is absent.
      if (!field.required && (isEmpty() || (!read.valid && isAsDrawn()))) return { absent: true };
      return read.valid ? { value: read.value } : { problem: 'Something inside is missing.' };
    },
  };
}

/** @param {Field} field @param {string} id @param {HTMLElement} control @param {string | null} [extraHelp] */
function fieldFrame(field, id, control, extraHelp = null) {
  const words = [field.help, extraHelp].filter(Boolean).join(' ');
  const help = words ? h('p', { class: 'help', id: `${id}-help`, dir: 'auto' }, words) : null;
  const problem = problemLine(id, control, help?.id);
  if (field.required) control.setAttribute('aria-required', 'true');
  const element = h('div', { class: 'field', 'data-field': field.name, 'data-required': field.required },
    h('label', { for: id, dir: 'auto' }, ...labelWords(field)), help, control, problem.line);
  control.addEventListener('input', () => problem.say(''));
  return { element, say: problem.say };
}

/** @param {Field} field */
function labelWords(field) {
  return [field.label, field.required ? neededWords() : null];
}

const neededWords = () => h('span', { class: 'needed' }, ' (required)');

/** The line that says what is wrong with a control. @param {string} id @param {HTMLElement} control @param {string} [help] the id of its help */
function problemLine(id, control, help) {
  const line = h('p', { class: 'problem', id: `${id}-problem`, dir: 'auto', hidden: true });
  control.setAttribute('aria-describedby', [help, line.id].filter(Boolean).join(' '));
  /** @param {string} words */
  const say = (words) => {
    line.textContent = words;
    line.hidden = words === '';
    if (words && !(control instanceof HTMLFieldSetElement)) control.setAttribute('aria-invalid', 'true');
    else control.removeAttribute('aria-invalid');
  };
  return { line, say };
}
