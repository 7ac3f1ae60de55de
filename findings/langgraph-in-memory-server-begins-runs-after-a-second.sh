#!/usr/bin/env bash
# langgraph-api 0.16.7 with langgraph-runtime-inmem 0.36.7 (langgraph-cli 0.4.40, langgraph 1.2.22): on a server with nothing else to do, a
# run of a graph that only returns takes about a second from `POST /threads/{id}/runs/wait` to its answer, run after run. The graph alone
# takes some milliseconds. One would guess that an idle server begins a run when it is asked for.
# Runs LangGraph's server without fastagency. Exits with 0 as long as the quickest of ten runs takes half a second or more.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" -q --disable-pip-version-check install "langgraph-cli[inmem]==0.4.40" langgraph-api==0.16.7 \
  langgraph-runtime-inmem==0.36.7 langgraph==1.2.22
cat > "$folder/graph.py" <<'PY'
from typing import TypedDict
from langgraph.graph import END, START, StateGraph

class State(TypedDict):
    text: str

async def answer(state: State) -> State:
    return {"text": state["text"]}

graph = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").add_edge("answer", END).compile()
PY
echo '{ "dependencies": ["."], "graphs": { "echo": "./graph.py:graph" } }' > "$folder/langgraph.json"
port=$("$folder/python/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cd "$folder"
LANGSMITH_TRACING=false "$folder/python/bin/langgraph" dev --no-browser --no-reload --host 127.0.0.1 --port "$port" > "$folder/log" 2>&1 &
server=$!
cat > "$folder/try.py" <<'PY'
import asyncio, json, sys, time, urllib.request
sys.path.insert(0, ".")
def call(path, body):
    request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}{path}", json.dumps(body).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=60))
for _ in range(600):
    try:
        call("/assistants/search", {})
        break
    except OSError:
        time.sleep(0.2)
from graph import graph
began = time.monotonic()
asyncio.run(graph.ainvoke({"text": "a"}))
print(f"the graph alone, its first run: {(time.monotonic() - began) * 1000:.1f} ms")
took = []
for number in range(10):
    thread = call("/threads", {})["thread_id"]
    began = time.monotonic()
    assert call(f"/threads/{thread}/runs/wait", {"assistant_id": "echo", "input": {"text": str(number)}})["text"] == str(number)
    took.append(time.monotonic() - began)
print("runs/wait of the idle server:", " ".join(f"{each:.2f}" for each in sorted(took)), "s")
sys.exit(min(took) < 0.5)
PY
"$folder/python/bin/python" try.py "$port"
