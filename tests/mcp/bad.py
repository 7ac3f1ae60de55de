"""A server of 2025-11-25 without an SDK: its tool `be` answers `well`, or does what a broken server does. It writes the number of each
of its processes into the file that is its argument."""

import json
import os
import sys
import time

REVISION = "2025-11-25"
SCHEMA = {"type": "object", "properties": {"how": {"type": "string"}, "ballast": {"type": "string"}}, "required": ["how"]}


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def answer(request, result):
    say({"jsonrpc": "2.0", "id": request["id"], "result": result})


def be(request):
    how = request["params"]["arguments"]["how"]
    if how == "dead":
        sys.stdout.write('{"jsonrpc": "2.0", "id": ')
        sys.stdout.flush()
        os._exit(3)
    elif how == "silent":
        # It reads on, and answers the next request.
        return
    elif how == "loud":
        for number in range(20_000):
            print("Listening on stdio", number, "x" * 200)
    elif how == "loud for ever":
        while True:
            print("Listening on stdio", "x" * 2000)
    elif how == "deaf":
        time.sleep(3600)
    elif how == "without input":
        os.close(0)
        time.sleep(3600)
    elif how == "without output":
        os.close(1)
        time.sleep(3600)
    answer(request, {"content": [{"type": "text", "text": how}]})


with open(sys.argv[1], "a") as numbers:
    numbers.write(f"{os.getpid()}\n")
for line in iter(sys.stdin.readline, ""):
    request = json.loads(line)
    method = request.get("method")
    if "id" not in request:
        continue
    if method == "initialize":
        answer(request, {"protocolVersion": REVISION, "capabilities": {"tools": {}}, "serverInfo": {"name": "bad", "version": "1"}})
    elif method == "ping":
        answer(request, {})
    elif method == "tools/list":
        answer(request, {"tools": [{"name": "be", "inputSchema": SCHEMA}]})
    elif method == "tools/call":
        be(request)
    else:
        say({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": f"there is no {method}"}})
