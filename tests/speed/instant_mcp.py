"""An MCP server over standard input whose one tool answers at once, with nothing but the standard library.

    python instant_mcp.py FILE

When its input ends, FILE holds how many calls it has answered, and how long it took for each itself, in ms.
"""

import json
import sys
import time

TOOL = {
    "name": "add",
    "description": "Adds one",
    "inputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}
calls, own = 0, 0.0
for line in sys.stdin.buffer:
    begun = time.perf_counter()
    message = json.loads(line)
    method, params = message.get("method"), message.get("params") or {}
    if "id" not in message:
        continue
    answer = {"jsonrpc": "2.0", "id": message["id"]}
    if method == "initialize":
        capabilities = {"tools": {}}
        server = {"name": "instant", "version": "1"}
        answer["result"] = {"protocolVersion": params["protocolVersion"], "capabilities": capabilities, "serverInfo": server}
    elif method == "tools/list":
        answer["result"] = {"tools": [TOOL]}
    elif method == "tools/call":
        number = params["arguments"]["n"] + 1
        answer["result"] = {"content": [{"type": "text", "text": str(number)}], "structuredContent": {"n": number}}
    elif method == "ping":
        answer["result"] = {}
    else:
        answer["error"] = {"code": -32601, "message": "there is no such method"}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()
    if method == "tools/call":
        calls, own = calls + 1, own + time.perf_counter() - begun
with open(sys.argv[1], "w") as told:
    json.dump({"calls": calls, "ms_each": 1000 * own / max(calls, 1)}, told)
