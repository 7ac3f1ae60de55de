// @ts-check
/** An OpenID provider, played: it knows one person, who agrees by a click, and holds to the code flow with PKCE. */

import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

/** @param {unknown} part */
const written = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');

/**
 * A token as another server signs it.
 * @param {Record<string, unknown>} claims @param {string} alg @param {(text: string) => string} signature in base64url
 */
export function tokenOf(claims, alg, signature) {
  const text = `${written({ alg, kid: 'k' })}.${written({ exp: Math.floor(Date.now() / 1000) + 600, ...claims })}`;
  return `${text}.${signature(text)}`;
}

/** @param {{client: string, user: Record<string, unknown>}} options */
export async function playedProvider({ client, user }) {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  /** @type {Map<string, URLSearchParams>} */
  const codes = new Map();
  let logins = 0;
  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? '/', issuer);
    /** @param {number} status @param {unknown} body */
    const json = (status, body) => response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
    switch (url.pathname) {
      case '/.well-known/openid-configuration':
        return json(200, {
          issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/keys`,
          response_types_supported: ['code'], id_token_signing_alg_values_supported: ['EdDSA'], code_challenge_methods_supported: ['S256'],
        });
      case '/keys':
        return json(200, { keys: [{ ...publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'EdDSA', kid: 'k' }] });
      case '/authorize': {
        const code = randomBytes(12).toString('hex');
        codes.set(code, url.searchParams);
        const back = `${url.searchParams.get('redirect_uri')}?${new URLSearchParams({ code, state: url.searchParams.get('state') ?? '' })}`;
        return response.writeHead(200, { 'Content-Type': 'text/html' })
          .end(`<!doctype html><title>Provider</title><a href="${back.replaceAll('&', '&amp;')}">Go on as Carol</a>`);
      }
      case '/token': {
        let text = '';
        for await (const chunk of request) text += chunk;
        const form = new URLSearchParams(text);
        const asked = codes.get(form.get('code') ?? '');
        codes.delete(form.get('code') ?? '');
        const challenge = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url');
        if (!asked || asked.get('code_challenge') !== challenge || asked.get('client_id') !== client) return json(400, { error: 'invalid_grant' });
        logins += 1;
        const claims = { iss: issuer, aud: client, nonce: asked.get('nonce'), iat: Math.floor(Date.now() / 1000), ...user };
        return json(200, {
          access_token: 'x', token_type: 'Bearer',
          id_token: tokenOf(claims, 'EdDSA', (said) => sign(null, Buffer.from(said), privateKey).toString('base64url')),
        });
      }
      default: return json(404, {});
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
  return { issuer, logins: () => logins, close: () => { server.closeAllConnections(); server.close(); } };
}
