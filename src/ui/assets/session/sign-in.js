// @ts-check
/** The sign-in: alone on the page at the first visit, and in front of the conversation when a session has ended in the middle of it. */

import { wordsOf } from '../gateway/api.js';
import { byId, freshId, h } from '../elements/dom.js';
import { at } from '../page/base.js';
import { isFramed } from '../page/framed.js';
import { icon } from '../elements/icons.js';

/** @param {import('./session.js').SigningIn} signingIn @returns {() => void} takes it away again */
export function showSignIn(signingIn) {
  const { before, login } = signingIn;
  const heading = h('h1', { id: freshId('sign-in') }, before ? 'Sign in again' : `Sign in to ${byId('app-title', HTMLElement).textContent}`);
  const logo = /** @type {HTMLElement} */ (byId('logo', HTMLElement).cloneNode(true));
  logo.removeAttribute('id');
  const dialog = h('dialog', { class: `sign-in${before ? '' : ' is-whole'}`, 'aria-labelledby': heading.id, closedby: 'none' },
    logo, heading,
    before ? h('p', null, 'Your session has ended. Nothing is lost: what you began goes on when you are back.') : null,
    isFramed ? h('p', null, 'Signing in opens in a window of its own. Come back here afterwards.') : null,
    login === 'oidc' || isFramed ? leaveButton(signingIn) : credentialForm(login, signingIn));
  const { activeElement } = document;
  let over = false;
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  // A browser may insist on closing what is asked to close twice.
  dialog.addEventListener('close', () => { if (!over) dialog.showModal(); });
  document.body.append(dialog);
  dialog.showModal();
  return () => {
    over = true;
    dialog.close();
    dialog.remove();
    if (activeElement instanceof HTMLElement && activeElement.isConnected) activeElement.focus();
  };
}

/** @param {import('./session.js').SigningIn} signingIn */
function leaveButton(signingIn) {
  return h('button', { type: 'button', class: 'primary-button', autofocus: true, onclick: () => signingIn.leave() }, 'Sign in');
}

/** @param {'form' | 'key'} login @param {import('./session.js').SigningIn} signingIn */
function credentialForm(login, { before, signIn }) {
  const problem = h('p', { class: 'problem', id: freshId('problem'), role: 'alert' });
  // Both have names that password managers know.
  const user = h('input', { id: freshId('user'), name: 'username', type: 'text', dir: 'auto', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', required: true });
  const secret = h('input', {
    id: freshId('secret'), name: 'password', type: 'password', dir: 'auto', required: true, 'aria-describedby': problem.id,
    autocomplete: login === 'form' ? 'current-password' : 'off', autofocus: login === 'key' || before !== null,
  });
  if (before && login === 'form') user.value = before.name;
  else user.autofocus = true;
  const eye = h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Show what is written', 'aria-pressed': 'false', onclick: () => {
    const isShown = secret.type === 'text';
    secret.type = isShown ? 'password' : 'text';
    eye.setAttribute('aria-pressed', String(!isShown));
  } }, icon('eye'));
  const submit = h('button', { type: 'submit', class: 'primary-button' }, 'Sign in');
  const form = h('form', { method: 'post', action: at('/auth/login') },
    login === 'form' ? h('div', { class: 'field' }, h('label', { for: user.id }, 'User'), user) : null,
    h('div', { class: 'field' }, h('label', { for: secret.id }, login === 'form' ? 'Password' : 'Access key'),
      h('div', { class: 'secret' }, secret, eye)),
    login === 'key' ? h('p', { class: 'help' }, 'Ask the people who run this system for a key.') : null,
    problem, submit);
  form.addEventListener('input', () => {
    problem.textContent = '';
    secret.removeAttribute('aria-invalid');
  });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    problem.textContent = '';
    submit.disabled = true;
    try {
      await signIn(login === 'form' ? { user: user.value.trim(), password: secret.value } : { key: secret.value.trim() });
    } catch (error) {
      problem.textContent = wordsOf(error);
      secret.setAttribute('aria-invalid', 'true');
      secret.select();
      secret.focus();
    }
    submit.disabled = false;
  });
  return form;
}
