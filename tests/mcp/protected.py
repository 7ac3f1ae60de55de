"""A server on the Python SDK 2.3.0 that wants a token, for tests/it/mcp/logins.rs: protected.py PORT ISSUER.

It asks the authorization server whether a token counts (RFC 7662); the SDK takes only tokens that were given for it (RFC 8707).
"""

import base64
import json
import sys
import urllib.parse
import urllib.request

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer

port, issuer = int(sys.argv[1]), sys.argv[2]
resource = f"http://127.0.0.1:{port}/mcp"


class Introspection:
    async def verify_token(self, token: str) -> AccessToken | None:
        form = urllib.parse.urlencode({"token": token}).encode()
        request = urllib.request.Request(f"{issuer}/token/introspection", data=form)
        login = base64.b64encode(b"resource:resource-secret-1").decode()
        request.add_header("Authorization", f"Basic {login}")
        with urllib.request.urlopen(request) as answer:
            found = json.load(answer)
        if not found.get("active"):
            return None
        scopes = found.get("scope", "").split()
        return AccessToken(token=token, client_id=found["client_id"], scopes=scopes, resource=found.get("aud"))


server = MCPServer(
    "protected",
    token_verifier=Introspection(),
    auth=AuthSettings(
        issuer_url=issuer, resource_server_url=resource, required_scopes=["mcp"], validate_token_resource=True
    ),
)


@server.tool(structured_output=False)
def who() -> str:
    """Says as which client it is called, and the token."""
    token = get_access_token()
    return f"{token.client_id} {token.token}"


server.run("streamable-http", host="127.0.0.1", port=port)
