// @ts-check
/** The form for a JSON Schema: one labelled control per field, with its message beside it. Used for parameters and for questions. */

import { freshId, h } from './dom.js';
import { checkList, checkText, fieldsOf } from './schema.js';

/**
 * @typedef {import('./schema.js').Field} Field
 * @typedef {import('./schema.js').Checked} Checked
 *
 * @typedef {object} Control
 * @property {Field} field
 * @property {HTMLElement} element
 * @property {() => Checked} read              shows what is wrong at the field, too
 * @property {() => unknown} written           as it stands there, for a draft; undefined for what must not be kept
 * @property {() => void} focus
 *
 * @typedef {object} SchemaForm
 * @property {HTMLElement} element
 * @property {() => {valid: true, value: Record<string, unknown>} | {valid: false}} read
 * @property {() => Record<string, unknown>} written
 * @property {() => void} focus
 */

/** @param {Record<string, any>} schema @param {Record<string, unknown>} [initial] by name, before the schema's own defaults */
export function schemaForm(schema, initial = {}) {
  return formOf(fieldsOf(schema), initial);
}

/** @param {readonly Field[]} fields @param {Record<string, unknown>} initial @returns {SchemaForm} */
function formOf(fields, initial) {
  const controls = fields.map((field) => controlOf(field, initial[field.name] ?? field.initial));
  return {
    element: h('div', { class: 'fields' }, ...controls.map((control) => control.element)),
    read: () => {
      /** @type {Record<string, unknown>} */
      const value = {};
      /** @type {Control | null} */
      let firstProblem = null;
      for (const control of controls) {
        const checked = control.read();
        if ('value' in checked) value[control.field.name] = checked.value;
        if ('problem' in checked) firstProblem ??= control;
      }
      firstProblem?.focus();
      return firstProblem ? { valid: false } : { valid: true, value };
    },
    written: () => Object.fromEntries(controls.map((control) => [control.field.name, control.written()])
      .filter(([, written]) => written !== undefined)),
    focus: () => controls[0]?.focus(),
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
    ? h('textarea', { id, rows: field.kind === 'json' ? 4 : 3, class: field.kind === 'json' ? 'monospace' : null })
    : h('input', {
      id, type: INPUT_TYPES[field.format] ?? 'text', autocomplete: secret ? 'off' : null,
      inputmode: field.kind === 'integer' ? 'numeric' : field.kind === 'number' ? 'decimal' : null,
    });
  if (initial !== undefined && initial !== null) input.value = asWritten(field, initial);
  const frame = fieldFrame(field, id, input, field.kind === 'lines' ? 'One per line.' : null);
  return {
    field, element: frame.element, focus: () => input.focus(),
    read: () => frame.show(checkText(field, input.value)),
    written: () => secret ? undefined : input.value,
  };
}

/** @param {Field} field @param {unknown} initial */
function asWritten(field, initial) {
  if (typeof initial === 'string') {
    if (field.format === 'date-time' && /Z|[+-]\d\d:\d\d$/.test(initial)) {
      const date = new Date(initial);
      return Number.isNaN(date.getTime()) ? '' : new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
    }
    return initial;
  }
  if (field.kind === 'lines' && Array.isArray(initial)) return initial.join('\n');
  return typeof initial === 'object' ? JSON.stringify(initial, null, 2) : String(initial);
}

/** @param {Field} field @param {unknown} initial @returns {Control} */
function booleanControl(field, initial) {
  const id = freshId('field');
  const input = h('input', { id, type: 'checkbox' });
  input.checked = initial === true || initial === 'true';
  const help = field.help ? h('span', { class: 'help', id: `${id}-help` }, field.help) : null;
  if (help) input.setAttribute('aria-describedby', help.id);
  const element = h('div', { class: 'field is-boolean', 'data-field': field.name },
    h('label', { for: id }, input, h('span', null, field.label)), help);
  return { field, element, focus: () => input.focus(), read: () => ({ value: input.checked }), written: () => input.checked };
}

/** @param {Field} field @param {unknown} initial @returns {Control} */
function choiceControl(field, initial) {
  const id = freshId('field');
  const chosen = field.options.findIndex((option) => option.value === initial || option.label === initial);
  const select = h('select', { id }, chosen < 0 || !field.required ? h('option', { value: '' }, field.required ? 'Choose…' : 'no choice') : null,
    ...field.options.map((option) => h('option', { value: option.label }, option.label)));
  select.value = chosen < 0 ? '' : field.options[chosen].label;
  const frame = fieldFrame(field, id, select);
  return {
    field, element: frame.element, focus: () => select.focus(),
    read: () => frame.show(checkText(field, select.value)),
    written: () => select.value,
  };
}

/** @param {Field} field @param {unknown} initial @returns {Control} */
function choicesControl(field, initial) {
  const id = freshId('field');
  const chosen = Array.isArray(initial) ? initial : typeof initial === 'string' ? initial.split(',') : [];
  const boxes = field.options.map((option) => {
    const box = h('input', { type: 'checkbox', value: option.label });
    box.checked = chosen.includes(option.value) || chosen.includes(option.label);
    return box;
  });
  const problem = h('p', { class: 'problem', id: `${id}-problem`, hidden: true });
  const element = h('fieldset', { class: 'field', 'data-field': field.name, 'aria-describedby': problem.id },
    h('legend', null, ...labelWords(field)), field.help ? h('p', { class: 'help' }, field.help) : null,
    ...boxes.map((box) => h('label', { class: 'box' }, box, h('span', null, box.value))), problem);
  const labels = () => boxes.filter((box) => box.checked).map((box) => box.value);
  return {
    field, element, focus: () => boxes[0]?.focus(), written: labels,
    read: () => showProblem(problem, element, checkList(field, labels())),
  };
}

/** @param {Field} field @param {unknown} initial @returns {Control} */
function groupControl(field, initial) {
  const inner = formOf(field.fields, initial && typeof initial === 'object' ? /** @type {any} */ (initial) : {});
  return {
    field, focus: inner.focus, written: inner.written,
    element: h('fieldset', { class: 'field is-group', 'data-field': field.name },
      h('legend', null, ...labelWords(field)), field.help ? h('p', { class: 'help' }, field.help) : null, inner.element),
    read: () => {
      const read = inner.read();
      if (!read.valid) return { problem: 'Something inside is missing.' };
      return Object.keys(read.value).length === 0 && !field.required ? { absent: true } : { value: read.value };
    },
  };
}

/** @param {Field} field @param {string} id @param {HTMLElement} control @param {string | null} [extraHelp] */
function fieldFrame(field, id, control, extraHelp = null) {
  const words = [field.help, extraHelp].filter(Boolean).join(' ');
  const help = words ? h('p', { class: 'help', id: `${id}-help` }, words) : null;
  const problem = h('p', { class: 'problem', id: `${id}-problem`, hidden: true });
  control.setAttribute('aria-describedby', [help?.id, problem.id].filter(Boolean).join(' '));
  if (field.required) control.setAttribute('aria-required', 'true');
  const element = h('div', { class: 'field', 'data-field': field.name, 'data-required': field.required },
    h('label', { for: id }, ...labelWords(field)), help, control, problem);
  control.addEventListener('input', () => showProblem(problem, control, { absent: true }));
  /** @param {Checked} checked */
  const show = (checked) => showProblem(problem, control, checked);
  return { element, show };
}

/** @param {Field} field */
function labelWords(field) {
  return [field.label, field.required ? h('span', { class: 'needed' }, ' (needed)') : null];
}

/** @param {HTMLElement} problem @param {HTMLElement} control @param {Checked} checked */
function showProblem(problem, control, checked) {
  const words = 'problem' in checked ? checked.problem : '';
  problem.textContent = words;
  problem.hidden = words === '';
  if (words) control.setAttribute('aria-invalid', 'true');
  else control.removeAttribute('aria-invalid');
  return checked;
}
