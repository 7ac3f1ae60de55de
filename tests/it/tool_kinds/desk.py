"""What goes on errands for tests/it/tool_kinds.rs: a function, a program (desk.py command) and an MCP server (desk.py serve). All of them ask
the desk at the address URL."""

import json
import os
import sys
import threading
import urllib.error
import urllib.request


def errand(what: str, run: str = "", key: str = "") -> str:
    """Goes on an errand"""
    return _ask({"what": what, "run": run, "key": key}, key)


def _ask(arguments, key):
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    request = urllib.request.Request("URL/errands", json.dumps(arguments).encode(), headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        raise RuntimeError(refused.read().decode())


def _command():
    try:
        print(json.dumps(_ask(json.load(sys.stdin), os.environ["FASTAGENCY_CALL_ID"])))
    except RuntimeError as error:
        sys.exit(str(error))


def _serve():
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        if "id" in request:
            # A call that hangs does not keep the others waiting.
            threading.Thread(target=_answer, args=[request], daemon=True).start()


def _answer(request):
    answer = {"jsonrpc": "2.0", "id": request["id"]}
    method, params = request["method"], request.get("params", {})
    if method == "initialize":
        capabilities, server = {"tools": {}}, {"name": "desk", "version": "1"}
        answer["result"] = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": server}
    elif method == "tools/list":
        text = {"type": "string"}
        schema = {"type": "object", "properties": {"what": text, "run": text, "key": text}, "required": ["what"]}
        answer["result"] = {"tools": [{"name": "errand", "inputSchema": schema}]}
    elif method == "tools/call":
        answer["result"] = _called(params)
    else:
        answer["error"] = {"code": -32601, "message": f"there is no {method}"}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _called(params):
    try:
        text, is_error = _ask(params["arguments"], params["_meta"]["fastagency.dev/call"]), False
    except RuntimeError as error:
        text, is_error = str(error), True
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


if __name__ == "__main__":
    _command() if sys.argv[1] == "command" else _serve()
