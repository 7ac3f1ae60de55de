// @ts-check
/**
 * Firefox and WebKitGTK, driven by their own protocols, with the keys and the pointer that a person has: WebDriver BiDi, and WebDriver.
 * Both come from the system's packages; nothing is downloaded here.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import WebSocket from 'ws';
import { freePort } from './real-house.mjs';

const PATIENCE_MS = 20_000;
const SIZE = { width: 1280, height: 860 };
const MINI_BROWSER = '/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser';
/** The keys that WebDriver has a code for. */
const KEYS = { Enter: '\ue007', Escape: '\ue00c', Tab: '\ue004', Backspace: '\ue003', ArrowUp: '\ue013' };

/**
 * @typedef {object} Protocol   what the two differ in
 * @property {string} name
 * @property {(script: string, args: unknown[]) => Promise<any>} run   a function's source; what it gives is JSON
 * @property {(url: string) => Promise<void>} goTo
 * @property {() => Promise<void>} reload
 * @property {() => Promise<void>} back
 * @property {(actions: object[]) => Promise<void>} perform
 * @property {() => Promise<string>} picture   base64
 * @property {() => Promise<void>} forgetCookies
 * @property {() => Promise<void>} close
 * @property {string[]} complaints   what the browser reports as a fault of the page
 */

/** The browsers that are here, by name; and why one is not. */
export const BROWSERS = /** @type {const} */ ({
  'Firefox ESR': { missing: () => missingOf([process.env.FIREFOX ?? '/usr/bin/firefox-esr'], 'firefox-esr'), launch: launchFirefox },
  WebKitGTK: { missing: () => missingOf(['/usr/bin/WebKitWebDriver', '/usr/bin/Xvfb', MINI_BROWSER], 'webkit2gtk-driver xvfb'), launch: launchWebKit },
});

/** @param {string[]} files @param {string} packages */
function missingOf(files, packages) {
  const missing = files.find((file) => !existsSync(file));
  return missing ? `${missing} is not there (apt-get install ${packages})` : null;
}

/** A browser as a person uses it. @typedef {ReturnType<typeof personAt>} Person */

/** @param {Protocol} protocol */
export function personAt(protocol) {
  /** @template T @param {(...args: any[]) => T} script @param {...unknown} args @returns {Promise<Awaited<T>>} */
  const evaluate = (script, ...args) => protocol.run(String(script), args);

  /**
   * Waits until a script gives something.
   * @template T @param {string} what @param {(...args: any[]) => T} script @param {...unknown} args @returns {Promise<NonNullable<Awaited<T>>>}
   */
  const until = async (what, script, ...args) => {
    for (const deadline = Date.now() + PATIENCE_MS;;) {
      // A page on its way to another one cannot be asked.
      const found = await evaluate(script, ...args).catch((error) => { if (Date.now() > deadline) throw error; });
      if (found) return /** @type {any} */ (found);
      if (Date.now() > deadline) throw new Error(`${protocol.name}: this never came: ${what}. The page shows:\n${await evaluate(() => document.body.innerText).catch(String)}`);
      await pause(30);
    }
  };

  /** Where an element is that can be pressed. @param {string} selector @param {string} [words] that stand in it */
  const placeOf = (selector, words = '') => until(`${selector} ${words}`, (css, text) => {
    const element = [...document.querySelectorAll(css)].find((each) => each.textContent?.includes(text));
    if (!(element instanceof HTMLElement) || element.matches(':disabled')) return null;
    element.scrollIntoView({ block: 'center', behavior: 'instant' });
    const box = element.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const there = document.elementFromPoint(x, y);
    return box.width > 0 && there && (element.contains(there) || there.contains(element)) ? { x: Math.round(x), y: Math.round(y) } : null;
  }, selector, words);

  const click = async (/** @type {string} */ selector, words = '') => {
    const { x, y } = await placeOf(selector, words);
    await protocol.perform([{ type: 'pointer', id: 'mouse', parameters: { pointerType: 'mouse' }, actions: [
      { type: 'pointerMove', duration: 0, x, y }, { type: 'pointerDown', button: 0 }, { type: 'pointerUp', button: 0 }] }]);
  };
  /** @param {...string} values */
  const press = (...values) => protocol.perform([{ type: 'key', id: 'keys', actions: values.flatMap((value) => [{ type: 'keyDown', value }, { type: 'keyUp', value }]) }]);

  return {
    ...protocol, evaluate, until, click,
    /** @param {keyof typeof KEYS} name */
    key: (name) => press(KEYS[name]),
    /** Goes to a field and writes into it. @param {string} selector @param {string} text */
    write: async (selector, text) => {
      await click(selector);
      await until(`the focus in ${selector}`, (css) => document.activeElement?.matches(css), selector);
      await press(...text);
    },
    /** @param {string} selector @param {string} [words] */
    sees: (selector, words = '') => until(`${selector} ${words}`, (css, text) => [...document.querySelectorAll(css)]
      .some((each) => /** @type {HTMLElement} */ (each).checkVisibility() && each.textContent?.includes(text)), selector, words),
    /** @param {string} selector */
    text: (selector) => evaluate((css) => /** @type {HTMLElement | null} */ (document.querySelector(css))?.innerText ?? null, selector),
    /** @param {string} file */
    photograph: async (file) => writeFile(file, Buffer.from(await protocol.picture(), 'base64')),
  };
}

/** Sources become one expression that gives JSON. @param {string} script @param {unknown[]} args */
const asJson = (script, args) => `(async () => JSON.stringify(await (${script})(...${JSON.stringify(args)})) ?? 'null')()`;

/** @returns {Promise<Person>} */
async function launchFirefox() {
  const profile = await mkdtemp(join(tmpdir(), 'fastagency-firefox-'));
  const preferences = {
    'app.update.enabled': false, 'browser.shell.checkDefaultBrowser': false, 'datareporting.policy.dataSubmissionEnabled': false, 'toolkit.telemetry.enabled': false,
    'browser.aboutwelcome.enabled': false, 'browser.startup.page': 0, 'network.captive-portal-service.enabled': false, 'network.connectivity-service.enabled': false,
    'services.settings.server': 'data:,', 'extensions.getAddons.cache.enabled': false, 'signon.rememberSignons': false, 'ui.prefersReducedMotion': 1,
  };
  await writeFile(join(profile, 'user.js'), Object.entries(preferences).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`).join(''));
  const browser = spawn(process.env.FIREFOX ?? '/usr/bin/firefox-esr', ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port', '0'],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, MOZ_CRASHREPORTER_DISABLE: '1' } });
  const address = await new Promise((resolve, reject) => {
    let said = '';
    browser.stderr.on('data', (piece) => {
      said += piece;
      const found = /WebDriver BiDi listening on (ws:\S+)/.exec(said)?.[1];
      if (found) resolve(found);
    });
    browser.on('exit', () => reject(new Error(`Firefox ended: ${said}`)));
  });
  const socket = new WebSocket(`${address}/session`);
  await once(socket, 'open');
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
  const waiting = new Map();
  /** @type {string[]} */
  const complaints = [];
  let last = 0;
  socket.on('message', (data) => {
    const told = JSON.parse(String(data));
    if (told.type === 'event') {
      if (told.method === 'log.entryAdded' && told.params.level === 'error') complaints.push(told.params.text);
      return;
    }
    const { resolve, reject } = waiting.get(told.id) ?? {};
    waiting.delete(told.id);
    if (told.type === 'success') resolve?.(told.result);
    else reject?.(new Error(`${told.error}: ${told.message}`));
  });
  /** @param {string} method @param {object} params @returns {Promise<any>} */
  const send = (method, params) => new Promise((resolve, reject) => {
    waiting.set(last += 1, { resolve, reject });
    socket.send(JSON.stringify({ id: last, method, params }));
  });
  const { capabilities } = await send('session.new', { capabilities: {} });
  await send('session.subscribe', { events: ['log.entryAdded'] });
  const { contexts: [{ context }] } = await send('browsingContext.getTree', {});
  await send('browsingContext.setViewport', { context, viewport: SIZE });
  return personAt({
    name: `Firefox ${capabilities.browserVersion}`, complaints,
    run: async (script, args) => {
      const answer = await send('script.evaluate', { expression: asJson(script, args), target: { context }, awaitPromise: true });
      if (answer.type === 'exception') throw new Error(answer.exceptionDetails.text);
      return JSON.parse(answer.result.value);
    },
    goTo: (url) => send('browsingContext.navigate', { context, url, wait: 'complete' }),
    reload: () => send('browsingContext.reload', { context, wait: 'complete' }),
    back: () => send('browsingContext.traverseHistory', { context, delta: -1 }),
    perform: (actions) => send('input.performActions', { context, actions }),
    picture: async () => (await send('browsingContext.captureScreenshot', { context })).data,
    forgetCookies: () => send('storage.deleteCookies', {}),
    close: async () => {
      socket.terminate();
      await ended(browser);
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  });
}

/** @returns {Promise<Person>} */
async function launchWebKit() {
  // It has no headless mode.
  const screen = spawn('/usr/bin/Xvfb', ['-displayfd', '3', '-screen', '0', `${SIZE.width}x${SIZE.height + 60}x24`, '-nolisten', 'tcp'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
  const [number] = await once(/** @type {import('node:stream').Readable} */ (screen.stdio[3]), 'data');
  const home = await mkdtemp(join(tmpdir(), 'fastagency-webkit-'));
  const port = await freePort();
  const driver = spawn('/usr/bin/WebKitWebDriver', [`--port=${port}`, '--host=127.0.0.1'], { stdio: 'ignore', env: {
    ...process.env, DISPLAY: `:${String(number).trim()}`, HOME: home, XDG_CACHE_HOME: home, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home, NO_AT_BRIDGE: '1', LIBGL_ALWAYS_SOFTWARE: '1',
    // A container has no namespaces to lend to its sandbox, and only our own pages are opened here.
    WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1',
  } });
  /** @param {string} method @param {string} path @param {object} [body] @returns {Promise<any>} */
  const call = async (method, path, body) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) });
    const { value } = await response.json();
    if (value?.error) throw new Error(`${value.error}: ${value.message}`);
    return value;
  };
  for (const deadline = Date.now() + PATIENCE_MS;;) {
    if (await call('GET', '/status').then(() => true, () => false)) break;
    if (Date.now() > deadline) throw new Error('WebKitWebDriver does not answer');
    await pause(30);
  }
  const { sessionId, capabilities } = await call('POST', '/session', { capabilities: { alwaysMatch: {
    'webkitgtk:browserOptions': { binary: MINI_BROWSER, args: ['--automation', `--geometry=${SIZE.width}x${SIZE.height}`] } } } });
  const session = `/session/${sessionId}`;
  return personAt({
    name: `WebKitGTK ${capabilities.browserVersion}`, complaints: [],
    run: async (script, args) => {
      const source = `const done = arguments[arguments.length - 1]; ${asJson(script, args)}.then(done, (error) => done('!' + error));`;
      const answer = await call('POST', `${session}/execute/async`, { script: source, args: [] });
      if (String(answer).startsWith('!')) throw new Error(answer.slice(1));
      return JSON.parse(answer);
    },
    goTo: (url) => call('POST', `${session}/url`, { url }),
    reload: () => call('POST', `${session}/refresh`, {}),
    back: () => call('POST', `${session}/back`, {}),
    perform: (actions) => call('POST', `${session}/actions`, { actions }),
    picture: () => call('GET', `${session}/screenshot`),
    forgetCookies: () => call('DELETE', `${session}/cookie`),
    close: async () => {
      await call('DELETE', session).catch(() => {});
      await ended(driver);
      await ended(screen);
      await rm(home, { recursive: true, force: true, maxRetries: 5 });
    },
  });
}

/** @param {import('node:child_process').ChildProcess} child */
async function ended(child) {
  if (child.exitCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}
