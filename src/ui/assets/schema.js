// @ts-check
/**
 * What a JSON Schema of an object asks a person for: a list of fields, and whether what was written fits one. Pure.
 *
 * This checks only what helps while writing; the server has the last word, and whatever the schema says beyond these fields
 * is asked for as JSON rather than left out.
 */

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
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => ({ label: labelOf(value), value }));
  const named = schema.oneOf ?? schema.anyOf;
  if (Array.isArray(named) && named.length > 0 && named.every((part) => 'const' in part)) {
    return named.map((part) => ({ label: part.title ?? labelOf(part.const), value: part.const }));
  }
  return [];
}

/** @param {unknown} value */
const labelOf = (value) => typeof value === 'string' ? value : value === null ? 'none' : JSON.stringify(value);

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
      if (/^(true|1|yes|on)$/i.test(text)) return { value: true };
      return /^(false|0|no|off)$/i.test(text) ? { value: false } : { problem: 'Write true or false.' };
    case 'choice': {
      const option = field.options.find((candidate) => candidate.label === text || labelOf(candidate.value) === text);
      return option ? { value: option.value } : { problem: `Choose one of ${field.options.map((each) => each.label).join(', ')}.` };
    }
    case 'choices':
    case 'lines': return checkList(field, text.split(field.kind === 'lines' ? /\r?\n/ : ',').map((line) => line.trim()).filter(Boolean));
    case 'group':
    case 'json':
      try {
        return { value: JSON.parse(text) };
      } catch {
        return { problem: 'This is not JSON: texts stand in "double quotes", lists in [ ], objects in { }.' };
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
  if (field.kind === 'lines') return { value: labels };
  const chosen = labels.map((label) => field.options.find((option) => option.label === label));
  return chosen.every(Boolean) ? { value: chosen.map((option) => option?.value) } : { problem: 'Choose from the list.' };
}

/** @param {Field} field @param {string} text @returns {Checked} */
function checkNumber(field, text) {
  const number = Number(text.replace(/^(-?\d+),(\d+)$/, '$1.$2'));
  if (!Number.isFinite(number)) return { problem: 'Write a number.' };
  if (field.kind === 'integer' && !Number.isInteger(number)) return { problem: 'Write a whole number.' };
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = field.schema;
  if (minimum !== undefined && number < minimum) return { problem: `It must be ${minimum} or more.` };
  if (maximum !== undefined && number > maximum) return { problem: `It must be ${maximum} or less.` };
  if (exclusiveMinimum !== undefined && number <= exclusiveMinimum) return { problem: `It must be more than ${exclusiveMinimum}.` };
  if (exclusiveMaximum !== undefined && number >= exclusiveMaximum) return { problem: `It must be less than ${exclusiveMaximum}.` };
  return { value: number };
}

/** @param {Field} field @param {string} text @returns {Checked} */
function checkString(field, text) {
  const { minLength = 0, maxLength = Infinity } = field.schema;
  const length = [...text].length;
  if (length < minLength) return { problem: `Write at least ${minLength} characters.` };
  if (length > maxLength) return { problem: `Write at most ${maxLength} characters; these are ${length}.` };
  if (field.format === 'email' && !/^\S+@\S+$/.test(text)) return { problem: 'Write an e-mail address, like ann@example.org.' };
  if (field.format === 'date' && !/^\d{4}-\d{2}-\d{2}$/.test(text)) return { problem: 'Write a date, like 2026-11-22.' };
  // A date-time input knows no zone; the reader's own is meant.
  if (field.format === 'date-time' && /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$/.test(text)) return { value: new Date(text).toISOString() };
  return { value: text };
}

/**
 * Reads the parameters of a link. `complete` says that nothing required is missing and all of it fits.
 * @param {readonly Field[]} fields @param {URLSearchParams} query
 */
export function fromLink(fields, query) {
  /** @type {Record<string, unknown>} */
  const value = {};
  let complete = true;
  for (const field of fields) {
    const written = query.get(field.name);
    const checked = checkText(field, written ?? '');
    if ('value' in checked) value[field.name] = checked.value;
    else if (written !== null && 'problem' in checked) complete = false;
    else if (field.required && field.initial === undefined) complete = false;
    else if (field.initial !== undefined) value[field.name] = field.initial;
  }
  return { value, complete };
}

/** The link that brings these parameters, as `fromLink` reads it. @param {string} workflow @param {unknown} params */
export function toLink(workflow, params) {
  const query = new URLSearchParams({ workflow });
  for (const [name, value] of Object.entries(params && typeof params === 'object' ? params : {})) {
    const isList = Array.isArray(value) && value.every((part) => typeof part !== 'object');
    query.set(name, isList ? value.join(',') : typeof value === 'string' ? value : JSON.stringify(value));
  }
  return `/?${query}`;
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
  const fields = new Map(fieldsOf(schema ?? {}).map((field) => [field.name, field]));
  return Object.entries(values).map(([name, value]) => ({
    label: fields.get(name)?.label ?? name,
    words: fields.get(name)?.format === 'password' ? '••• (given)' : valueWords(value),
  }));
}

/** @param {unknown} value */
function valueWords(value) {
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value)) return value.map((part) => typeof part === 'string' ? part : JSON.stringify(part)).join(', ');
  return typeof value === 'string' ? value : JSON.stringify(value);
}
