// @ts-check
/**
 * What a JSON Schema of an object asks a person for: a list of fields, and whether what was written fits one. Pure.
 *
 * This checks only what helps while writing; the server has the last word, and whatever the schema says beyond these fields
 * is asked for as JSON rather than left out.
 */

import { exactParse, exactText, isInteger, numberOf } from '../gateway/exact-json.js';

/**
 * @typedef {Record<string, any>} Schema
 * @typedef {'text' | 'long' | 'integer' | 'number' | 'boolean' | 'choice' | 'choices' | 'lines' | 'group' | 'json'} FieldKind
 * @typedef {{label: string, value: unknown}} Option
 *
 * @typedef {object} Field
 * @property {string} name
 * @property {string} label
 * @property {string | null} help
 * @property {boolean} required
 * @property {FieldKind} kind
 * @property {string} format        of a text: 'date', 'email', 'password', ...; '' if none
 * @property {readonly Option[]} options
 * @property {readonly Field[]} fields   of a group
 * @property {Field | null} item         of a list of texts: what each of them must be
 * @property {unknown} initial
 * @property {Schema} schema
 *
 * @typedef {{absent: true} | {value: unknown} | {problem: string}} Checked
 */

/** @param {Schema | null | undefined} schema */
export function hasFields(schema) {
  return Boolean(schema?.properties && Object.keys(schema.properties).length > 0);
}

/** @param {Schema} schema @param {Schema} [root] where `$ref` points into @param {number} [depth] @returns {Field[]} */
export function fieldsOf(schema, root = schema, depth = 0) {
  const required = Array.isArray(schema.required) ? schema.required : [];
  return Object.entries(schema.properties ?? {}).map(([name, raw]) => fieldOf(name, raw, required.includes(name), root, depth));
}

/** @param {string} name @param {Schema} raw @param {boolean} required @param {Schema} root @param {number} depth @returns {Field} */
function fieldOf(name, raw, required, root, depth) {
  const schema = resolved(raw, root);
  const kind = kindOf(schema, root, depth);
  return {
    name, required, kind, schema,
    label: schema.title ?? readable(name),
    help: schema.description ?? null,
    format: schema.writeOnly ? 'password' : schema.format ?? '',
    options: optionsOf(kind === 'choices' ? resolved(schema.items, root) : schema),
    fields: kind === 'group' ? fieldsOf(schema, root, depth + 1) : [],
    item: kind === 'lines' ? fieldOf(name, schema.items, true, root, depth) : null,
    initial: schema.default,
  };
}

/** Follows `$ref` and looks through "this or null", which is how many generators write an optional field.
 * @param {Schema} schema @param {Schema} root @returns {Schema} */
function resolved(schema, root) {
  let now = schema ?? {};
  for (let step = 0; step < 8; step += 1) {
    const { $ref: pointer, anyOf, oneOf, allOf, ...own } = now;
    const alternatives = (anyOf ?? oneOf)?.filter((/** @type {Schema} */ part) => part.type !== 'null');
    if (typeof pointer === 'string') now = { ...target(pointer, root), ...own };
    else if (alternatives?.length === 1) now = { ...alternatives[0], ...own };
    else if (allOf?.length === 1) now = { ...allOf[0], ...own };
    else break;
  }
  if (Array.isArray(now.type)) {
    const types = now.type.filter((type) => type !== 'null');
    if (types.length === 1) now = { ...now, type: types[0] };
  }
  return now;
}

/** @param {string} pointer @param {Schema} root @returns {Schema} */
function target(pointer, root) {
  if (!pointer.startsWith('#/')) return {};
  const parts = pointer.slice(2).split('/').map((part) => part.replace(/~1/g, '/').replace(/~0/g, '~'));
  return parts.reduce((/** @type {any} */ place, part) => place?.[part], root) ?? {};
}

/** @param {Schema} schema @param {Schema} root @param {number} depth @returns {FieldKind} */
function kindOf(schema, root, depth) {
  if (optionsOf(schema).length > 0) return 'choice';
  if (typeof schema.const === 'boolean') return 'boolean';
  switch (schema.type) {
    case 'string': return schema.format === 'textarea' || schema.format === 'multiline' || schema.maxLength > 300 ? 'long' : 'text';
    case 'integer': return 'integer';
    case 'number': return 'number';
    case 'boolean': return 'boolean';
    case 'object': return hasFields(schema) && depth < 3 ? 'group' : 'json';
    case 'array': {
      const items = resolved(schema.items, root);
      if (optionsOf(items).length > 0) return 'choices';
      return items.type === 'string' ? 'lines' : 'json';
    }
    default: return 'json';
  }
}

/** @param {Schema} schema @returns {Option[]} */
function optionsOf(schema) {
  if ('const' in schema && typeof schema.const !== 'boolean') return [{ label: labelOf(schema.const), value: schema.const }];
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => ({ label: labelOf(value), value }));
  const named = schema.oneOf ?? schema.anyOf;
  if (Array.isArray(named) && named.length > 0 && named.every((part) => 'const' in part)) {
    return named.map((part) => ({ label: part.title ?? labelOf(part.const), value: part.const }));
  }
  return [];
}

/** @param {unknown} value */
const labelOf = (value) => typeof value === 'string' ? value : value === null ? 'none' : exactText(value);

/**
 * Says what a text, as it stands in an input or in a link, means for this field.
 * @param {Field} field @param {string} written @returns {Checked}
 */
export function checkText(field, written) {
  const text = field.kind === 'text' || field.kind === 'long' ? written : written.trim();
  if (text === '') return field.required && field.schema.minLength !== 0 ? { problem: 'This is needed.' } : { absent: true };
  switch (field.kind) {
    case 'integer':
    case 'number': return checkNumber(field, text);
    case 'boolean':
      if (/^(true|1|yes|on)$/i.test(text)) return checkTick(field, true);
      return /^(false|0|no|off)$/i.test(text) ? checkTick(field, false) : { problem: 'Write true or false.' };
    case 'choice': {
      const option = field.options.find((candidate) => candidate.label === text || labelOf(candidate.value) === text);
      return option ? { value: option.value } : { problem: `Choose one of ${field.options.map((each) => each.label).join(', ')}.` };
    }
    case 'choices':
    case 'lines': return checkList(field, text.split(field.kind === 'lines' ? /\r?\n/ : ',').map((line) => line.trim()).filter(Boolean));
    case 'group':
    case 'json':
      try {
        return { value: exactParse(text) };
      } catch {
        return { problem: 'This is not JSON: texts stand in "double quotes".' };
      }
    default: return checkString(field, text);
  }
}

/** @param {Field} field @param {string[]} labels @returns {Checked} */
export function checkList(field, labels) {
  const { minItems = field.required ? 1 : 0, maxItems = Infinity } = field.schema;
  if (labels.length === 0 && !field.required) return { absent: true };
  if (labels.length < minItems) return { problem: minItems === 1 ? 'Give at least one.' : `Give at least ${minItems}.` };
  if (labels.length > maxItems) return { problem: `Give at most ${maxItems}.` };
  if (field.schema.uniqueItems && new Set(labels).size < labels.length) return { problem: 'Give each of them only once.' };
  const { item } = field;
  if (item) {
    const wrong = labels.map((label) => ({ label, checked: checkString(item, label) })).find(({ checked }) => 'problem' in checked);
    return wrong && 'problem' in wrong.checked ? { problem: `“${wrong.label}”: ${wrong.checked.problem}` } : { value: labels };
  }
  const chosen = labels.map((label) => field.options.find((option) => option.label === label || labelOf(option.value) === label));
  return chosen.every(Boolean) ? { value: chosen.map((option) => option?.value) } : { problem: 'Choose from the list.' };
}

/** Whether a box must be ticked: a consent, for instance. @param {Field} field */
export const mustBeTicked = (field) => field.required && field.schema.const === true;

/** @param {Field} field @param {boolean} ticked @returns {Checked} */
export function checkTick(field, ticked) {
  const { const: only } = field.schema;
  if (typeof only !== 'boolean' || ticked === only) return { value: ticked };
  if (!ticked && !field.required) return { absent: true };
  return { problem: ticked ? 'This must not be ticked.' : 'This must be ticked.' };
}

/** @param {Field} field @param {string} text @returns {Checked} */
function checkNumber(field, text) {
  const value = numberOf(text.replace(/^(-?\d+),(\d+)$/, '$1.$2'));
  const number = Number(value);
  if (!Number.isFinite(number)) return { problem: 'Write a number.' };
  if (field.kind === 'integer' && !isInteger(value)) return { problem: 'Write a whole number.' };
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = field.schema;
  if (minimum !== undefined && number < minimum) return { problem: `It must be ${minimum} or more.` };
  if (maximum !== undefined && number > maximum) return { problem: `It must be ${maximum} or less.` };
  if (exclusiveMinimum !== undefined && number <= exclusiveMinimum) return { problem: `It must be more than ${exclusiveMinimum}.` };
  if (exclusiveMaximum !== undefined && number >= exclusiveMaximum) return { problem: `It must be less than ${exclusiveMaximum}.` };
  if (multipleOf > 0 && !isMultiple(number, multipleOf)) return { problem: `It must be in steps of ${multipleOf}, like ${stepsAround(number, multipleOf)}.` };
  return { value };
}

/** As exactly as fractions are kept: 0.3 is three times 0.1. @param {number} number @param {number} step */
function isMultiple(number, step) {
  const steps = number / step;
  return Math.abs(steps - Math.round(steps)) <= 1e-9 * Math.max(1, Math.abs(steps));
}

/** @param {number} number @param {number} step */
function stepsAround(number, step) {
  const below = Math.floor(number / step);
  return [below, below + 1].map((steps) => Number((steps * step).toPrecision(12))).join(' or ');
}

/** @param {Field} field @param {string} text @returns {Checked} */
function checkString(field, text) {
  const { minLength = 0, maxLength = Infinity } = field.schema;
  const length = [...text].length;
  if (length < minLength) return { problem: `Write at least ${minLength} characters.` };
  if (length > maxLength) return { problem: `Write at most ${maxLength} characters; these are ${length}.` };
  if (!fitsPattern(field.schema.pattern, text)) return { problem: patternWords(field) };
  if (field.format === 'email' && !/^\S+@\S+$/.test(text)) return { problem: 'Write an e-mail address, like ann@example.org.' };
  if (field.format === 'date' && !/^\d{4}-\d{2}-\d{2}$/.test(text)) return { problem: 'Write a date, like 2026-11-22.' };
  // A date-time input knows no zone; the reader's own is meant.
  if (field.format === 'date-time' && /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$/.test(text)) return { value: new Date(text).toISOString() };
  return { value: text };
}

/** A pattern that cannot be read here is left to the server. @param {unknown} pattern @param {string} text */
function fitsPattern(pattern, text) {
  if (typeof pattern !== 'string') return true;
  try {
    return new RegExp(pattern, 'u').test(text);
  } catch {
    return true;
  }
}

/** What a text must look like, in the field's own words where it has some. @param {Field} field */
export function patternWords(field) {
  if (field.help) return `This does not fit. ${field.help}`;
  const [example] = Array.isArray(field.schema.examples) ? field.schema.examples : [];
  return typeof example === 'string' ? `This does not fit. Write it like ${example}.` : `This does not have the form that is needed (${field.schema.pattern}).`;
}

/** @param {string} name */
function readable(name) {
  const words = name.replace(/[_-]+/g, ' ').replace(/([a-z])([A-Z])/g, '$1 $2').trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/**
 * What a form was filled in with, under the words that were asked.
 * @param {unknown} schema @param {Record<string, unknown>} values @returns {{label: string, words: string}[]}
 */
export function labelled(schema, values) {
  return wordsOfFields(fieldsOf(schema ?? {}), values);
}

/** @param {readonly Field[]} fields @param {Record<string, unknown>} values @returns {{label: string, words: string}[]} */
function wordsOfFields(fields, values) {
  return Object.entries(values).flatMap(([name, value]) => {
    const field = fields.find((each) => each.name === name);
    const label = field?.label ?? name;
    if (field?.kind === 'group' && value && typeof value === 'object') {
      return wordsOfFields(field.fields, /** @type {Record<string, unknown>} */ (value)).map((inner) => ({ ...inner, label: `${label}: ${inner.label}` }));
    }
    return [{ label, words: field?.format === 'password' ? '••• (given)' : valueWords(value, field) }];
  });
}

/** @param {unknown} value @param {Field} [field] @returns {string} */
function valueWords(value, field) {
  if (Array.isArray(value)) {
    const words = value.map((part) => valueWords(part, field));
    return words.join(words.some((each) => each.includes(',')) ? '\n' : ', ');
  }
  const chosen = field?.options.find((option) => exactText(option.value) === exactText(value));
  if (chosen) return chosen.label;
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return typeof value === 'string' ? value : exactText(value);
}
