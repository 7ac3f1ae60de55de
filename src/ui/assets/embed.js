// @ts-check
// A classic script, on purpose: a page on another site may load it without CORS. It defines
//
//   <fastagency-chat workflow="refund" params='{"order": 4711}' theme="dark" bubble autostart></fastagency-chat>
//
// which shows the chat page in a frame: nothing of the site reaches the conversation, and nothing of it reaches the site. The
// site must be one of those that the ui's `embed_in` names. The frame tells what happens by messages without content;
// they become events of the element: `run-started`, `run-waiting`, `run-running`, `run-ended` (`detail.run`, `detail.outcome`).
// The braces keep its names out of the site's.
{
  const { origin, pathname } = new URL(/** @type {HTMLScriptElement} */ (document.currentScript).src);
  /** Where the page is, without a slash at its end: above the address of this script. */
  const home = origin + pathname.slice(0, pathname.lastIndexOf('/assets/'));
  const EVENTS = ['started', 'waiting', 'running', 'ended'];

  const css = `
:host { display: block; height: 40rem; max-height: 100dvh; }
:host([hidden]) { display: none; }
iframe { display: block; width: 100%; height: 100%; border: 0; border-radius: inherit; color-scheme: normal; background: transparent; }
button { display: none; }
:host([bubble]) { display: contents; }
:host([bubble]) .place { position: fixed; z-index: 2147483000; inset: auto 1.25rem 5.75rem auto; width: min(27rem, calc(100vw - 2.5rem));
height: min(44rem, calc(100dvh - 7.5rem)); border-radius: 18px; overflow: hidden; box-shadow: 0 10px 44px #0005; }
.place { width: 100%; height: 100%; border-radius: inherit; }
:host([bubble]) .place[hidden] { display: none; }
:host([bubble]) button { display: grid; place-items: center; position: fixed; z-index: 2147483000; inset: auto 1.25rem 1.25rem auto; width: 3.5rem;
height: 3.5rem; border: 0; border-radius: 50%; cursor: pointer; color: #fff; background: var(--fastagency-accent, #3f56d4); box-shadow: 0 4px 18px #0004; }
button:focus-visible { outline: 3px solid var(--fastagency-accent, #3f56d4); outline-offset: 3px; }
button.asks::after { content: ""; position: absolute; top: .1rem; right: .1rem; width: .85rem; height: .85rem; border: 2px solid #fff; border-radius: 50%; background: #c5221f; }
svg { width: 1.6rem; height: 1.6rem; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }
@media (max-width: 30rem) { :host([bubble]) .place { inset: 0; width: 100vw; height: calc(100dvh - 5.5rem); border-radius: 0; } }`;

  const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

  /**
   * What the chat's address says for each parameter. Numbers have the digits that stand in `json`: JavaScript would round an
   * order of nineteen digits. A classic script imports no module, so this is not the one of the page.
   * @param {string} json @returns {[string, string][]}
   */
  const linkTexts = (json) => {
    JSON.parse(json);
    const MARK = `number-${Math.random().toString(36).slice(2)}-`;
    const marked = JSON.parse(json.replace(TOKEN, (token) => token.startsWith('"') ? token : `"${MARK}${token}"`));
    const marks = new RegExp(`"${MARK}([^"]*)"`, 'g');
    return Object.entries(marked ?? {}).filter(([, value]) => value !== null)
      .map(([name, value]) => [name, typeof value === 'string' ? value.replace(MARK, '') : JSON.stringify(value).replace(marks, '$1')]);
  };

  const mark = () => {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('aria-hidden', 'true');
    const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    path.setAttribute('d', 'M4 5h16v11H10l-4 4v-4H4z');
    svg.append(path);
    return svg;
  };

  class FastAgencyChat extends HTMLElement {
    #frame = document.createElement('iframe');
    #place = document.createElement('div');
    #button = document.createElement('button');
    /** @param {MessageEvent} event */
    #hear = (event) => {
      if (event.source !== this.#frame.contentWindow || event.origin !== origin || event.data?.from !== 'fastagency') return;
      const { event: what, run, outcome = null } = event.data;
      if (what === 'left') this.#remember(null);
      if (!EVENTS.includes(what)) return;
      this.#remember(run);
      this.#button.classList.toggle('asks', what === 'waiting' && this.#place.hidden);
      this.dispatchEvent(new CustomEvent(`run-${what}`, { bubbles: true, detail: { run, outcome } }));
    };

    constructor() {
      super();
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(css);
      const root = this.attachShadow({ mode: 'open' });
      root.adoptedStyleSheets = [sheet];
      this.#place.className = 'place';
      this.#place.append(this.#frame);
      this.#frame.allow = 'clipboard-write';
      this.#button.type = 'button';
      this.#button.append(mark());
      this.#button.addEventListener('click', () => this.toggle());
      root.append(this.#place, this.#button);
    }

    connectedCallback() {
      window.addEventListener('message', this.#hear);
      const name = this.getAttribute('label') ?? 'Chat';
      this.#frame.title = name;
      this.#button.setAttribute('aria-label', name);
      this.#place.hidden = this.hasAttribute('bubble');
      this.#button.setAttribute('aria-expanded', String(!this.#place.hidden));
      if (!this.#place.hidden) this.#load();
    }

    disconnectedCallback() {
      window.removeEventListener('message', this.#hear);
    }

    /** Shows or hides the conversation of a `bubble`. */
    toggle() {
      this.#place.hidden = !this.#place.hidden;
      this.#button.setAttribute('aria-expanded', String(!this.#place.hidden));
      this.#button.classList.remove('asks');
      if (this.#place.hidden) return;
      this.#load();
      this.#frame.focus();
    }

    /** Shows this run. @param {string} run */
    openRun(run) {
      this.#frame.src = this.#address(`/runs/${encodeURIComponent(run)}`);
    }

    /** Leaves the run that is shown, and begins anew with what the attributes say now. */
    startNew() {
      this.#remember(null);
      this.#frame.src = this.#address('/');
    }

    #load() {
      if (this.#frame.hasAttribute('src')) return;
      const run = this.getAttribute('run') ?? this.#remembered();
      if (run) this.openRun(run);
      else this.#frame.src = this.#address('/');
    }

    /** @param {string} path */
    #address(path) {
      const url = new URL(home + path);
      for (const name of ['workflow', 'theme']) {
        const value = this.getAttribute(name);
        if (value) url.searchParams.set(name, value);
      }
      if (this.hasAttribute('autostart')) url.searchParams.set('autostart', '');
      try {
        for (const [name, text] of linkTexts(this.getAttribute('params') ?? '{}')) url.searchParams.set(name, text);
      } catch {
        console.error('<fastagency-chat>: its params are no JSON');
      }
      return url.href;
    }

    // A visitor who goes to the site's next page finds the conversation again, in this tab only.
    get #key() {
      return `fastagency-chat ${home} ${this.getAttribute('workflow') ?? ''}`;
    }

    #remembered() {
      try {
        return sessionStorage.getItem(this.#key);
      } catch {
        return null;
      }
    }

    /** @param {string | null} run */
    #remember(run) {
      try {
        if (run) sessionStorage.setItem(this.#key, run);
        else sessionStorage.removeItem(this.#key);
      } catch { /* then the next page begins anew */ }
    }
  }

  customElements.define('fastagency-chat', FastAgencyChat);
}
