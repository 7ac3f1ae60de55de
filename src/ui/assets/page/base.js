// @ts-check
/**
 * Where the page is. It may be below a path of its host (`/agents/`), and the server may not know that path, because a proxy removes it. The address of
 * this module has it, in a worker as well. What the page calls a path (`/runs/1`) is below it.
 */

const { pathname } = new URL(import.meta.url);

/** The path above the page, without a slash at its end: `/agents`. It is empty at the root. */
export const base = pathname.slice(0, pathname.lastIndexOf('/assets/'));

/** A path of the page, as a browser needs it. @param {string} path */
export const at = (path) => base + path;

/** The path of the page that an address has; null if it is outside the page. @param {{pathname: string}} address */
export const pathIn = (address) => address.pathname.startsWith(at('/')) ? address.pathname.slice(base.length) : null;
