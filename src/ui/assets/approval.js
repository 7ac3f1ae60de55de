// @ts-check
/**
 * The question whether a tool may be called: what it is called with stands there to be read, and can be changed before it is
 * allowed. Nothing here has the focus by itself, so that no key meant for something else ever allows anything.
 */

import { freshId, h } from './dom.js';
import { icon } from './icons.js';
import { schemaForm } from './schema-form.js';
import { hasFields } from './schema.js';
import { valueBlock } from './tool-card.js';
import { visible } from './words.js';

/**
 * @typedef {import('./questions.js').Asking} Asking
 * @typedef {import('./questions.js').Means} Means
 * @typedef {{element: HTMLElement, read: () => Record<string, unknown> | null, focus: () => void, refuse?: (message: string) => string | null}} Editor
 */

/** @param {import('./state.js').QuestionItem} item @param {Means} means @returns {Asking} */
export function askForApproval(item, means) {
  const { function_name: name, schema } = item.content;
  /** @type {Record<string, unknown>} */
  const original = item.content.arguments ?? {};
  /** @type {Editor | null} */
  let editor = null;
  const reading = h('div', { class: 'approval-arguments' }, valueBlock('Arguments', original));
  const edit = h('button', { type: 'button', class: 'quiet-button', onclick: () => startEditing() }, icon('pencil'), 'Change the arguments');
  const reason = h('input', { type: 'text', id: freshId('reason'), autocomplete: 'off', maxlength: 500 });
  const denial = h('div', { class: 'field approval-reason', hidden: true }, h('label', { for: reason.id }, 'Why not? The agents will read it. (You can leave it empty.)'), reason);

  const startEditing = () => {
    editor ??= editorOf(schema, original);
    reading.replaceChildren(editor.element);
    edit.hidden = true;
    editor.focus();
  };

  /** @param {'once' | 'always'} decision */
  const allow = (decision) => {
    const changed = editor ? editor.read() : original;
    if (!changed) return;
    const isSame = JSON.stringify(changed) === JSON.stringify(original);
    means.send(isSame ? { decision } : { decision, arguments: changed });
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
    if (event.key !== 'Enter' || event.isComposing) return;
    event.preventDefault();
    deny();
  });
  const denyButton = h('button', { type: 'button', class: 'secondary-button is-denial', 'data-decision': 'deny', onclick: deny }, icon('cross'), 'Deny');
  const buttons = [
    h('button', { type: 'button', class: 'primary-button', 'data-decision': 'once', onclick: () => allow('once') }, icon('check'), 'Allow once'),
    h('button', { type: 'button', class: 'secondary-button', 'data-decision': 'always', onclick: () => allow('always') }, 'Allow always in this run'),
    denyButton,
  ];
  const element = h('div', { class: 'approval', role: 'group', 'aria-labelledby': means.promptId, tabindex: -1 },
    h('div', { class: 'approval-head' }, icon('shield'), h('span', { class: 'tool-name' }, visible(name ?? '') || 'a tool'), edit),
    reading, denial, h('div', { class: 'form-actions' }, ...buttons));
  return {
    element, invalid: null, read: () => null,
    refuse: (message) => editor?.refuse?.(message) ?? null,
    unsent: () => reason.value,
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
  if (schema && hasFields(schema) && Object.keys(original).every((name) => known.includes(name))) {
    const form = schemaForm(schema, original);
    return {
      element: form.element, focus: form.focus, refuse: form.refuse,
      read: () => {
        const read = form.read();
        return read.valid ? { ...read.value } : null;
      },
    };
  }
  const everything = schemaForm({ type: 'object', required: ['arguments'], properties: { arguments: { title: 'Arguments, as JSON' } } }, { arguments: original });
  return {
    element: everything.element, focus: everything.focus,
    read: () => {
      const read = everything.read();
      return read.valid ? /** @type {Record<string, unknown>} */ (read.value.arguments) : null;
    },
  };
}
