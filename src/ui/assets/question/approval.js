// @ts-check
/**
 * The question whether a tool may be called: what it is called with stands there to be read, and can be changed before it is
 * allowed. Nothing here has the focus by itself, so that no key meant for something else ever allows anything.
 */

import { freshId, h, isOfInputMethod } from '../elements/dom.js';
import { exactParse, exactText, isObject } from '../gateway/exact-json.js';
import { icon } from '../elements/icons.js';
import { schemaForm } from '../form/schema-form.js';
import { hasFields } from '../form/schema.js';
import { textBlock, valueBlock } from '../run/tool-card.js';
import { visible } from '../text/words.js';

/**
 * @typedef {import('./questions.js').Asking} Asking
 * @typedef {import('./questions.js').Means} Means
 * @typedef {{path: string, json?: string}} Change   a field of an object, by its JSON Pointer; without JSON it is left out
 * @typedef {{element: HTMLElement, read: () => Change[] | null, whole: () => Record<string, unknown>, changed: () => Change[], focus: () => void, refuse?: (message: string) => string | null}} Editor
 */

/** @param {import('../run/state.js').QuestionItem} item @param {Means} means @returns {Asking} */
export function askForApproval(item, means) {
  const { function_name: name, schema } = item.content;
  const { arguments_text: text, injected_text: given, digest } = item.content;
  /** @type {Record<string, unknown>} */
  const original = typeof text === 'string' ? exactParse(text) : item.content.arguments ?? {};
  /** @type {Editor | null} */
  let editor = null;
  const hasWrittenOut = typeof text === 'string' && /\\u[\da-f]{4}/.test(text);
  const reading = h('div', { class: 'approval-arguments' }, typeof text === 'string' && Object.keys(original).length > 0 ? textBlock('Arguments', text) : valueBlock('Arguments', original));
  const edit = h('button', { type: 'button', class: 'quiet-button', onclick: () => startEditing() }, icon('pencil'), 'Change the arguments');
  const reason = h('input', { type: 'text', dir: 'auto', id: freshId('reason'), autocomplete: 'off', maxlength: 500 });
  const denial = h('div', { class: 'field approval-reason', hidden: true }, h('label', { for: reason.id }, 'Why not? The agents will read it. (You can leave it empty.)'), reason);

  const startEditing = () => {
    editor ??= editorOf(schema, original);
    // A field shows letters as they are: where some are written out, that stays in sight.
    if (!hasWrittenOut) reading.replaceChildren();
    reading.append(editor.element);
    edit.hidden = true;
    editor.focus();
  };

  /** An answer about what was shown here, which its digest stands for. @param {Record<string, unknown>} answer */
  const shown = (answer) => digest == null ? answer : { ...answer, digest };
  /** @param {'once' | 'same' | 'always'} decision */
  const allow = (decision) => {
    if (!editor) return means.send(shown({ decision }));
    const changes = editor.read();
    if (!changes) return;
    if (changes.length === 0) means.send(shown({ decision }));
    // A gateway that names no digest knows no changes either.
    else if (digest == null) means.send({ decision, arguments: editor.whole() });
    else means.send(shown({ decision, changes }));
  };
  const deny = () => {
    if (denial.hidden) {
      denial.hidden = false;
      denyButton.lastChild?.replaceWith('Deny it');
      reason.focus();
      return;
    }
    const words = reason.value.trim();
    means.send(words ? { decision: 'deny', reason: words } : { decision: 'deny' });
  };
  reason.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || isOfInputMethod(event)) return;
    event.preventDefault();
    deny();
  });
  const denyButton = h('button', { type: 'button', class: 'secondary-button is-denial', 'data-decision': 'deny', onclick: deny }, icon('cross'), 'Deny');
  const buttons = [
    h('button', { type: 'button', class: 'primary-button', 'data-decision': 'once', onclick: () => allow('once') }, icon('check'), 'Allow once'),
    h('button', { type: 'button', class: 'secondary-button', 'data-decision': 'same', onclick: () => allow('same') }, 'Allow always with these arguments'),
    h('button', { type: 'button', class: 'secondary-button', 'data-decision': 'always', onclick: () => allow('always') }, 'Allow always in this run'),
    denyButton,
  ];
  const element = h('div', { class: 'approval', role: 'group', 'aria-labelledby': means.promptId, tabindex: -1 },
    h('div', { class: 'approval-head' }, icon('shield'), h('span', { class: 'tool-name' }, visible(name ?? '') || 'a tool'), edit),
    reading, given && textBlock('Given by the workflow', given), denial, h('div', { class: 'form-actions' }, ...buttons));
  return {
    element, invalid: null, read: () => null,
    refuse: (message) => editor?.refuse?.(message) ?? null,
    unsent: () => [reason.value, ...(editor?.changed() ?? []).map(({ path, json }) => `${path.slice(1)}: ${json ?? '(left out)'}`)].filter(Boolean).join('\n'),
    focus: () => element.focus({ preventScroll: true }),
    choose: (position) => {
      buttons[position]?.focus();
      return position < buttons.length;
    },
  };
}

/** @param {Record<string, any> | null | undefined} schema @param {Record<string, unknown>} original @returns {Editor} */
function editorOf(schema, original) {
  // What the schema does not name would be lost in a form made from it.
  const known = Object.keys(schema?.properties ?? {});
  const isForm = schema && hasFields(schema) && Object.keys(original).every((name) => known.includes(name));
  const form = isForm ? schemaForm(schema, original)
    : schemaForm({ type: 'object', required: ['arguments'], properties: { arguments: { title: 'Arguments, as JSON' } } }, { arguments: original });
  /** @param {import('../form/schema-form.js').Read} read @returns {Record<string, unknown> | null} */
  const valueOf = (read) => !read.valid ? null : isForm ? { ...read.value } : /** @type {Record<string, unknown>} */ (read.value.arguments);
  // A field may show a value in other words than it came in: what nobody has touched is not sent back.
  const begun = valueOf(form.check()) ?? original;
  return {
    element: form.element, focus: form.focus, ...(isForm ? { refuse: form.refuse } : {}),
    read: () => {
      const value = valueOf(form.read());
      return value && changesOf(begun, value);
    },
    whole: () => valueOf(form.check()) ?? original,
    /** What was changed so far, as far as it fits. */
    changed: () => changesOf(begun, valueOf(form.check()) ?? begun),
  };
}

/**
 * What was changed, field by field, each as the text of its JSON: all else stays as the server has it.
 * @param {unknown} before @param {unknown} after @param {string} [place] @returns {Change[]}
 */
export function changesOf(before, after, place = '') {
  const [was, is] = [/** @type {Record<string, unknown>} */ (before), /** @type {Record<string, unknown>} */ (after)];
  return [...new Set([...Object.keys(was), ...Object.keys(is)])].flatMap((name) => {
    const path = `${place}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    if (!Object.hasOwn(is, name)) return [{ path }];
    if (Object.hasOwn(was, name) && isMap(was[name]) && isMap(is[name])) return changesOf(was[name], is[name], path);
    const json = exactText(is[name]);
    return Object.hasOwn(was, name) && exactText(was[name]) === json ? [] : [{ path, json }];
  });
}

/** @param {unknown} value */
const isMap = (value) => isObject(value) && !Array.isArray(value);
