// An authorization server on oidc-provider 8.8.1, for tests/it/mcp/logins.rs: authority.mjs PORT RESOURCE LIFETIME. Everybody who comes
// with a browser is ann, and allows everything.
import Provider from 'oidc-provider';

const [port, resource, lifetime] = [Number(process.argv[2]), process.argv[3], Number(process.argv[4])];
const issuer = `http://127.0.0.1:${port}`;
const none = { redirect_uris: [], response_types: [] };

const provider = new Provider(issuer, {
  clients: [
    { client_id: 'resource', client_secret: 'resource-secret-1', grant_types: [], ...none },
    { client_id: 'machine', client_secret: 'machine-secret-1', grant_types: ['client_credentials'], scope: 'mcp', ...none },
  ],
  scopes: ['openid', 'offline_access', 'mcp'],
  cookies: { keys: ['key-of-the-test'] },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: async (_, client) => client.grantTypeAllowed('refresh_token'),
  findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  ttl: { AccessToken: lifetime, ClientCredentials: lifetime },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // What is for no server, or for another one, is not given.
      getResourceServerInfo: (_, indicator) => {
        if (indicator !== resource) throw new Error(`no token for ${indicator}`);
        return { scope: 'mcp', audience: resource, accessTokenTTL: lifetime, accessTokenFormat: 'opaque' };
      },
      useGrantedResource: () => true,
    },
    revocation: { enabled: true },
  },
});

// Stands in for the pages on which a person logs in and allows something.
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith('/interaction/')) return next();
  const { prompt, params, session } = await provider.interactionDetails(ctx.req, ctx.res);
  let result = { login: { accountId: 'ann' } };
  if (prompt.name === 'consent') {
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope('openid offline_access mcp');
    grant.addResourceScope(resource, 'mcp');
    result = { consent: { grantId: await grant.save() } };
  }
  ctx.respond = false;
  return provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
});

provider.listen(port, '127.0.0.1');
