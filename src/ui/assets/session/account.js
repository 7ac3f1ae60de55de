// @ts-check
/** Who is signed in, and the way out. */

import { wordsOf } from '../gateway/api.js';
import { announce } from '../elements/dialogs.js';
import { h } from '../elements/dom.js';
import { face } from '../elements/faces.js';
import { icon } from '../elements/icons.js';
import { signOut } from './session.js';
import { visible } from '../text/words.js';

/** @param {HTMLElement} place @param {import('./session.js').Me} me */
export function drawAccount(place, me) {
  if (!me.user) {
    place.replaceChildren();
    return;
  }
  const groups = (me.user.groups ?? []).map(visible).join(', ');
  // Whom a proxy brings in, it lets out again.
  const out = me.login === null ? null : h('button', { type: 'button', class: 'icon-button', id: 'sign-out', 'aria-label': 'Sign out', title: 'Sign out', onclick: async () => {
    try {
      await signOut();
    } catch (error) {
      announce(wordsOf(error));
    }
  } }, icon('leave'));
  place.replaceChildren(h('div', { class: 'account', role: 'group', 'aria-label': 'Signed in' }, face(me.user.name, {}),
    h('div', { class: 'account-words' }, h('span', { class: 'account-name', dir: 'auto' }, visible(me.user.name)),
      groups ? h('span', { class: 'account-groups', dir: 'auto' }, groups) : null),
    out));
}
