// @ts-check
/** Signing in from the page: at the first visit, in the middle of a conversation, and out again. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { becomes } from './becomes.mjs';
import { describePage, until } from './house.mjs';

/** @typedef {import('./house.mjs').House} House */

/** @param {import('./house.mjs').Page} page @param {string} user @param {string} password */
async function signIn(page, user, password) {
  await page.getByLabel('User').fill(user);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}

/** Sends the answer even where the sign-in, which the list at the left asks for by itself, came first. @param {import('./house.mjs').Page} page */
const send = (page) => page.locator('form.asking').first().evaluate((form) => /** @type {HTMLFormElement} */ (form).requestSubmit());

await describePage('signing in with a password', (onNew) => {
  /** @type {House} */
  let house;
  onNew((made) => { house = made; });

  test('the first visit asks who comes, a wrong password is said, the right one goes on to where the link led', async () => {
    const { gateway, page } = house;
    const run = gateway.start('two_questions', {}, 'ann');
    await page.goto(`${gateway.url}/runs/${run.id}`);
    await page.getByRole('heading', { name: 'Sign in to Geometry desk' }).waitFor();
    await until(() => page.getByLabel('User').evaluate((field) => field === document.activeElement));
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    await signIn(page, 'ann', 'wrong');
    await page.getByText('Wrong user name or password.').waitFor();
    await becomes(() => page.getByLabel('User').inputValue(), 'ann');
    gateway.doors.isThrottled = true;
    await signIn(page, 'ann', 'sesame');
    await page.getByText('Too many wrong attempts; wait 6 seconds and try again.').waitFor();
    gateway.doors.isThrottled = false;
    await signIn(page, 'ann', 'sesame');
    await page.locator('.is-open').first().waitFor();
    await page.locator('.run').first().waitFor();
    await becomes(() => page.locator('dialog').count(), 0);
    await becomes(() => page.locator('.account-name').innerText(), 'ann');
    await becomes(() => page.locator('.account-groups').innerText(), 'teachers');
  });

  test('a browser that does not keep the sign-in says what this address needs', async () => {
    const { gateway, page } = house;
    // As a browser has it on plain http: the answer is good, and its cookie is thrown away.
    await page.route('**/auth/login', (route) => route.fulfill({ status: 204 }));
    await page.goto(gateway.url);
    await signIn(page, 'ann', 'sesame');
    await page.getByText(/your browser did not keep the sign-in: this address needs https, or the operator must set ui\.public_url to it/i).waitFor();
    assert.equal(await page.getByRole('button', { name: 'Sign in', exact: true }).isEnabled(), true, 'it can be tried again');
  });

  test('what is written can be shown, and never is without being asked', async () => {
    const { gateway, page } = house;
    await page.goto(gateway.url);
    const field = page.getByLabel('Password', { exact: true });
    await field.fill('sesame');
    await becomes(() => field.getAttribute('type'), 'password');
    await page.getByRole('button', { name: 'Show what is written' }).click();
    await becomes(() => field.getAttribute('type'), 'text');
    await becomes(() => field.inputValue(), 'sesame');
  });

  test('a session that ends in the middle: the same place, the draft, and the answer is given after all', async () => {
    const { gateway, page } = house;
    await page.goto(gateway.url);
    await signIn(page, 'ann', 'sesame');
    await page.locator('[data-workflow=simple_learning]').click();
    await page.locator('.composer textarea').fill('circles, and what is round about them');
    await page.evaluate(() => { document.body.dataset.same = 'page'; });
    gateway.doors.endAll();
    gateway.dropConnections();
    await page.getByRole('heading', { name: 'Sign in again' }).waitFor();
    await becomes(() => page.getByLabel('User').inputValue(), 'ann');
    await signIn(page, 'ann', 'sesame');
    await page.getByRole('heading', { name: 'Sign in again' }).waitFor({ state: 'detached' });
    await becomes(() => page.locator('.composer textarea').inputValue(), 'circles, and what is round about them');
    // Once more, and this time it is the answer itself that is refused.
    gateway.doors.endAll();
    await send(page);
    await page.getByRole('heading', { name: 'Sign in again' }).waitFor();
    await signIn(page, 'ann', 'sesame');
    await page.locator('.answer-text', { hasText: 'circles, and what' }).waitFor();
    await page.locator('.choices').waitFor();
    await becomes(() => page.locator('body').getAttribute('data-same'), 'page');
  });

  test('somebody else who signs in there begins anew, and nothing is answered in their name', async () => {
    const { gateway, page } = house;
    await page.goto(gateway.url);
    await signIn(page, 'ann', 'sesame');
    await page.locator('[data-workflow=simple_learning]').click();
    await page.locator('.composer textarea').fill('my secret wish');
    const [run] = gateway.runs.values();
    gateway.doors.endAll();
    await send(page);
    await signIn(page, 'ben', 'simsim');
    await page.getByText('There is no run with this id.').waitFor();
    await becomes(() => page.locator('.account-name').innerText(), 'ben');
    assert.ok(!run.log.some((record) => record.kind === 'answered'));
  });

  test('signing out forgets the drafts and closes the other tabs; signing in opens them all', async () => {
    const { gateway, page } = house;
    await page.goto(gateway.url);
    await signIn(page, 'ann', 'sesame');
    await page.locator('[data-workflow=simple_learning]').click();
    await page.locator('.composer textarea').fill('half a thought');
    const other = await house.newPage();
    await other.goto(page.url());
    await other.locator('.composer textarea').waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    for (const each of [page, other]) await each.getByRole('heading', { name: 'Sign in to Geometry desk' }).waitFor();
    await becomes(() => page.evaluate(() => Object.keys(localStorage).filter((key) => key.includes('draft'))), []);
    assert.equal(new URL(page.url()).pathname, '/');
    await signIn(other, 'ann', 'sesame');
    await other.locator('.composer textarea').waitFor();
    await page.locator('[data-workflow]').first().waitFor();
    await becomes(() => page.locator('dialog').count(), 0);
  });

  const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  for (const scheme of /** @type {const} */ (['light', 'dark'])) {
    test(`by keyboard alone on a narrow phone, and axe finds nothing in ${scheme}`, async () => {
      const { gateway, page } = house;
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize({ width: 320, height: 568 });
      await page.goto(gateway.url);
      await page.getByLabel('User').waitFor();
      const faults = async () => {
        await page.evaluate(axe);
        return page.evaluate(async () => (await /** @type {any} */ (window).axe.run()).violations.map((each) => `${each.id}: ${each.nodes[0].html}`));
      };
      await becomes(faults, []);
      await becomes(() => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
      await until(() => page.getByLabel('User').evaluate((field) => field === document.activeElement));
      await page.keyboard.type('ann');
      await page.keyboard.press('Tab');
      await page.keyboard.type('sesame');
      await page.keyboard.press('Enter');
      await page.locator('[data-workflow]').first().waitFor();
      await page.locator('#open-drawer').click();
      await page.getByRole('button', { name: 'Sign out' }).waitFor();
      await becomes(faults, []);
    });
  }
}, { login: 'form' });

await describePage('signing in with a key', (onNew) => {
  /** @type {House} */
  let house;
  onNew((made) => { house = made; });

  test('one field, and no user to name', async () => {
    const { gateway, page } = house;
    await page.goto(gateway.url);
    await becomes(() => page.getByLabel('User').count(), 0);
    await page.getByLabel('Access key').fill('fak_nobody');
    await page.keyboard.press('Enter');
    await page.getByText('Wrong key or token.').waitFor();
    await page.getByLabel('Access key').fill(' fak_ann ');
    await page.keyboard.press('Enter');
    await page.locator('[data-workflow]').first().waitFor();
    await becomes(() => page.locator('.account-name').innerText(), 'ann');
  });
}, { login: 'key' });

await describePage('signing in at the house’s own provider', (onNew) => {
  /** @type {House} */
  let house;
  onNew((made) => { house = made; });

  test('there and back to the same place, with the draft', async () => {
    const { gateway, page } = house;
    await page.goto(`${gateway.url}/?workflow=simple_learning`);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.waitForURL((url) => url.hash === '#form');
    await page.getByRole('button', { name: 'Start', exact: true }).click();
    await page.locator('.composer textarea').fill('ellipses');
    const { pathname } = new URL(page.url());
    gateway.doors.endAll();
    await send(page);
    await page.getByRole('heading', { name: 'Sign in again' }).waitFor();
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.locator('.composer textarea').waitFor();
    assert.equal(new URL(page.url()).pathname, pathname);
    await becomes(() => page.locator('.composer textarea').inputValue(), 'ellipses');
    assert.equal(gateway.runs.size, 1);
  });
}, { login: 'oidc' });
