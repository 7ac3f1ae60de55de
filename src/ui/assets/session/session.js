// @ts-check
/**
 * Who the reader is, and how they sign in where the server wants to know. The session is a cookie that scripts cannot read;
 * nothing of it is kept here.
 *
 * A call that meets the end of a session waits (api.js) while the person signs in, in front of what they were doing, and is made
 * again after it. If somebody else signs in there, the page begins anew: nothing that the one has begun is done by the other.
 */

import { ApiError, refusalOf, request, setDoorkeeper } from '../gateway/api.js';
import { forgetDrafts } from '../form/drafts.js';
import { at, base, pathIn } from '../page/base.js';
import { FORM_ONLY, isFramed } from '../page/framed.js';

/**
 * @typedef {{name: string, groups?: string[], answers_others?: boolean}} User
 * @typedef {'form' | 'key' | 'oidc' | null} Login    how somebody signs in; null where the page cannot help
 * @typedef {{mode: string, user: User | null, login: Login, csrf?: string}} Me    `csrf`: what requests that do something must bring
 *
 * @typedef {object} SigningIn                 what the view of it is given
 * @property {'form' | 'key' | 'oidc'} login
 * @property {User | null} before             who it was whose session ended; null at the first visit
 * @property {(credential: {user: string, password: string} | {key: string}) => Promise<void>} signIn   throws an ApiError
 * @property {() => void} leave               goes to where people of this house sign in
 */

/** @type {Me} */
let me = { mode: 'none', user: null, login: null };
let visits = 0;
/** @type {Promise<boolean> | null} */
let signingIn = null;
/** @type {(() => void) | null} */
let settle = null;
/** @type {(me: Me) => void} */
let onChange = () => {};
/** @type {Promise<Me>} what the server said first */
let firstSaid = new Promise(() => {});

/** Who the reader was when the page came. */
export const whoIsHere = () => firstSaid;

/** The reader's name; null: nobody signs in here, or it is not known yet. */
export const readerName = () => me.user?.name ?? null;

/** What the other tabs of this browser learn: who has signed in, or null for nobody. Another page of this server has its own sessions. */
const others = new BroadcastChannel(`fastagency.session${base}`);

/**
 * Finds out who the reader is. `show` draws the sign-in and returns what takes it away.
 * @param {{onMe: (me: Me) => void, show: (signingIn: SigningIn) => () => void}} listeners
 */
export function beginSession({ onMe, show }) {
  onChange = onMe;
  setDoorkeeper({
    visit: () => visits,
    letIn: (visit) => {
      if (visit !== visits) return Promise.resolve(true);
      signingIn ??= askWho(show).finally(() => { signingIn = null; });
      return signingIn;
    },
    token: async () => {
      await firstSaid.catch(() => {});
      return me.csrf ?? null;
    },
    renew: async () => meetAgain(await whoAmI()),
    person: () => me.user?.name ?? '',
  });
  others.addEventListener('message', ({ data }) => {
    if (settle && data) settle();
    else if (me.login && (data ?? null) !== (me.user?.name ?? null)) location.reload();
  });
  // Somebody who has signed in elsewhere, in a tab of their own, comes back to this one.
  window.addEventListener('focus', () => { if (settle) whoAmI().then((now) => { if (now.user && settle) settle(); }, () => {}); });
  // A page that the browser has kept as it was may be another person's by now: it is not seen before that is known.
  window.addEventListener('pagehide', (event) => { if (event.persisted && me.user) document.documentElement.dataset.away = ''; });
  window.addEventListener('pageshow', (event) => {
    if (event.persisted && me.user) whoAmI().then(meetAgain).then(() => { delete document.documentElement.dataset.away; }, () => location.reload());
  });
  const visit = visits;
  firstSaid = whoAmI();
  firstSaid.then((now) => {
    if (now.login && !now.user) {
      if (visit === visits) signingIn ??= askWho(show).finally(() => { signingIn = null; });
    } else learn(now);
  }, () => { /* what is wrong, the first call that matters will say */ });
}

export async function signOut() {
  const response = await request('/auth/logout', () => ({ method: 'POST' })).catch((error) => {
    throw error instanceof ApiError && error.code === 'unreachable'
      ? new ApiError('unreachable', 'the server cannot be reached, so you are still signed in; try again', 0) : error;
  });
  if (!response.ok) throw await refusalOf(response);
  // This may be a computer that many use.
  forgetDrafts();
  others.postMessage(null);
  // The way back leads to this page as it was left: nothing is left.
  document.body.replaceChildren();
  location.replace(at('/'));
}

/** @param {(signingIn: SigningIn) => () => void} show @returns {Promise<boolean>} whether somebody has signed in */
async function askWho(show) {
  const { login } = await whoAmI().catch(() => ({ login: null }));
  if (!login) return false;
  const before = me.user;
  /** @type {Promise<void>} */
  const done = new Promise((resolve) => { settle = resolve; });
  const takeAway = show({
    login, before, leave: () => goToSignIn(login),
    signIn: async (credential) => {
      const response = await fetch(at('/auth/login'), {
        method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(credential),
      }).catch(() => { throw new ApiError('unreachable', 'the server cannot be reached; check your connection and try again', 0); });
      if (!response.ok) throw await refusedSignIn(response, 'user' in credential);
      if (!(await whoAmI()).user) throw new ApiError('no_cookie', 'your browser did not keep the sign-in: this address needs https, or the operator must set ui.public_url to it', 0);
      settle?.();
    },
  });
  await done;
  settle = null;
  const now = await whoAmI().catch(() => me);
  if (before && now.user?.name !== before.name) {
    location.reload();
    return new Promise(() => {});
  }
  visits += 1;
  learn(now);
  takeAway();
  others.postMessage(now.user?.name ?? null);
  return true;
}

/** @param {Login} login */
function goToSignIn(login) {
  // A stranger may have written this address: signing in must not start the workflow that it names.
  const here = (pathIn(location) ?? '/') + location.search + (location.search ? FORM_ONLY : '');
  const url = at(login === 'oidc' ? `/auth/oidc?${new URLSearchParams({ return: here })}` : '/');
  // A page around this one could lay something over the fields, or stand where a password is expected.
  if (isFramed) window.open(url, '_blank', 'noopener');
  else location.assign(url);
}

/** Goes on if the same person is still signed in; else the page begins anew. @param {Me} now */
async function meetAgain(now) {
  if (now.user?.name !== me.user?.name) {
    location.reload();
    await new Promise(() => {});
  }
  learn(now);
}

/** @param {Me} now */
function learn(now) {
  me = now;
  onChange(now);
}

/** @returns {Promise<Me>} */
async function whoAmI() {
  const response = await fetch(at('/auth/me'), { cache: 'no-store' });
  // A server that knows nothing of sessions.
  if (response.status === 404) return { mode: 'none', user: null, login: null };
  if (!response.ok) throw await refusalOf(response);
  return response.json();
}

/** @param {Response} response @param {boolean} withPassword */
async function refusedSignIn(response, withPassword) {
  if (response.status === 401) return new ApiError('unauthorized', withPassword ? 'wrong user name or password' : 'wrong key or token', 401);
  if (response.status !== 429) return refusalOf(response);
  const seconds = Number(response.headers.get('Retry-After'));
  const wait = seconds > 0 ? `${seconds} ${seconds === 1 ? 'second' : 'seconds'}` : 'a while';
  return new ApiError('too_many_requests', `too many wrong attempts; wait ${wait} and try again`, 429);
}
