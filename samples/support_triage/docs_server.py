"""An MCP server over stdio, without any library: the tool `search_docs` finds pages of a small documentation."""

import json
import sys

PAGES = {
    "Restart the router": "Pull the plug, wait for ten seconds, and put it back. The lamp is green after two minutes.",
    "The lamp of the router is red": "It has no connection to the network. Check the cable to the wall, then restart the router.",
    "Slow wifi": "Choose another channel in the settings of the router, and keep it away from metal.",
    "The laptop does not start": "Hold the power button for twenty seconds, then press it once.",
}
TOOL = {
    "name": "search_docs",
    "description": "Finds pages of the documentation",
    "inputSchema": {
        "type": "object",
        "properties": {"query": {"type": "string", "description": "What to look for, in a few words"}},
        "required": ["query"],
    },
    "annotations": {"readOnlyHint": True},
}


def search(query: str) -> list:
    words = {word.strip("?.,!").lower() for word in query.split()}
    ranked = sorted(PAGES.items(), key=lambda page: -len(words & set(" ".join(page).lower().replace(".", "").split())))
    return [{"title": title, "text": text} for title, text in ranked[:2]]


def result(method: str, params: dict) -> dict | None:
    if method == "initialize":
        version = params.get("protocolVersion", "2025-06-18")
        server = {"name": "docs", "version": "1"}
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server}
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": [TOOL]}
    if method == "tools/call" and params.get("name") == TOOL["name"]:
        pages = search(str(params.get("arguments", {}).get("query", "")))
        return {"content": [{"type": "text", "text": json.dumps(pages)}], "structuredContent": {"pages": pages}}
    return None


for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    answer = {"jsonrpc": "2.0", "id": request["id"]}
    found = result(request.get("method", ""), request.get("params") or {})
    if found is None:
        answer["error"] = {"code": -32601, "message": f"there is no method {request.get('method')}"}
    else:
        answer["result"] = found
    print(json.dumps(answer), flush=True)
