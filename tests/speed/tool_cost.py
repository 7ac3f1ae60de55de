"""What a call of a tool costs beside the tool itself, and whether runs that call tools of all kinds starve each other. Run by
scripts/tool-cost.sh."""

import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import socket
import statistics
import subprocess
import tempfile
import time

from tiers import ROOT, Tiers, call, get

options = argparse.ArgumentParser()
options.add_argument("--rounds", type=int, default=11)
options.add_argument("--calls", type=int, default=200, help="of one run, one after the other")
options.add_argument("--runs", type=int, default=200, help="at once, over all kinds; as many runs of agents follow")
options.add_argument("--calls-at-once", type=int, default=50, help="of each of these runs")
options = options.parse_args()

TOOLS = '''
def add(n: int) -> int:
    """Adds one."""
    return n + 1
'''
PARAMS = "description: Adds one, params: { type: object, properties: { n: { type: integer } }, required: [n] }"
AG2_PYTHON = os.environ["AG2_PYTHON"]
# What is called, and how many ms a call may cost.
TARGETS = {"do": 1.5, "http GET": 1.5, "http POST": 1.5, "python": 2.5, "mcp": 2.5}
AT_ONCE = ("do", "http GET", "http POST", "python", "mcp", "command")
LOGIN = {"user": "fastagency", "pass": "fastagency_nats_password", "verbose": False, "headers": True, "no_responders": True}


def tools(server: str) -> dict[str, tuple[str, str]]:
    """For each kind the entry of `tools`, and what is called."""
    return {
        "do": (f"add: {{ {PARAMS}, do: [{{ return: '{{{{ args.n + 1 }}}}' }}] }}", "add"),
        "http GET": (f"add: {{ {PARAMS}, http: 'GET {server}/' }}", "add"),
        "http POST": (f"add: {{ {PARAMS}, http: 'POST {server}/' }}", "add"),
        "python": ("add: { python: tools.py:add }", "add"),
        "mcp": ("instant: { mcp: instant }", "instant.add"),
        "command": (f"add: {{ {PARAMS}, command: echo }}", "add"),
    }


def name(kind: str) -> str:
    return kind.replace(" ", "_").lower()


def workflow(kind: str, entry: str, tool: str) -> str:
    return f"""
version: 1
name: {name(kind)}
params: {{ type: object, properties: {{ calls: {{ type: integer }} }} }}
tools:
  {entry}
steps:
  - loop:
      max: 100000
      while: loop.index0 < params.calls
      do: [{{ call: {{ tool: {tool}, args: {{ n: 1 }} }} }}]
"""


def agents_workflow(kind: str, entry: str, tool: str) -> str:
    return f"""
version: 1
name: agent_{name(kind)}
agents:
  caller: {{ llm: {name(kind)}, system_message: You call., tools: [{tool}] }}
tools:
  {entry}
steps:
  - agent: {{ agent: caller, message: Add, max_tool_rounds: {options.calls_at_once + 1} }}
"""


def scripts(kinds: dict[str, tuple[str, str]]) -> str:
    """A model for the agent of each kind, which calls the tool again and again and then ends."""

    def script(tool: str) -> list:
        name = tool.split(".")[-1]
        calls = [{"tool_calls": [{"id": f"c{number}", "name": name, "arguments": {"n": number}}]} for number in range(options.calls_at_once)]
        return [*calls, "That is all."]

    models = {name(kind): {"provider": "scripted", "stream": False, "script": script(tool)} for kind, (_, tool) in kinds.items()}
    return f"llms: {json.dumps(models)}\n"


def begin(gateway: str, kind: str, calls: int) -> str:
    return call(f"{gateway}/api/runs", {"workflow": name(kind), "params": {"calls": calls}})["id"]


def begin_agent(gateway: str, kind: str) -> str:
    return call(f"{gateway}/api/runs", {"workflow": f"agent_{name(kind)}"})["id"]


class Stored:
    """What the NATS server noted of messages of the runs' stream, over its own protocol: their time, to the nanosecond."""

    def __init__(self, url: str) -> None:
        place, port = url.removeprefix("nats://").split(":")
        self.socket = socket.create_connection((place, int(port)))
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.socket.sendall(f"CONNECT {json.dumps(LOGIN)}\r\nSUB _INBOX.cost 1\r\n".encode())

    def times(self, run: str) -> list[float]:
        """When each message of a run was stored, in ms."""
        times, after = [], 0
        while True:
            ask = json.dumps({"seq": after + 1, "next_by_subj": f"fa.run.{run}.>", "batch": 256}).encode()
            self.socket.sendall(b"PUB $JS.API.DIRECT.GET.FA_RUNS _INBOX.cost %d\r\n%s\r\n" % (len(ask), ask))
            found = 0
            while (headers := self.headers()) and "Nats-Sequence" in headers:
                found, after = found + 1, int(headers["Nats-Sequence"])
                day, fraction = headers["Nats-Time-Stamp"].removesuffix("Z").split(".")
                times.append(datetime.datetime.fromisoformat(day + "+00:00").timestamp() * 1000 + float(f"0.{fraction}") * 1000)
            if not found:
                return times

    def headers(self) -> dict[str, str]:
        while not (line := self.lines.readline()).startswith(b"HMSG"):
            if line.startswith(b"PING"):
                self.socket.sendall(b"PONG\r\n")
        size, whole = (int(field) for field in line.split()[-2:])
        text = self.lines.read(whole + 2)[:size].decode()
        return dict(field.split(": ", 1) for field in text.splitlines()[1:] if ": " in field)


def p50_of_single_calls(gateway: str, stored: Stored, kind: str) -> float:
    """The median of the times from one call to the next in a run: each call stores the same number of messages."""
    run = begin(gateway, kind, options.calls)
    ended(gateway, run)
    times = stored.times(run)
    each = len(times) // options.calls
    ends = times[len(times) % options.calls :: each]
    return statistics.median(later - earlier for earlier, later in zip(ends, ends[1:]))


def ended(gateway: str, run: str) -> tuple[float, float]:
    """When a run was created and when it ended, in seconds."""
    while (view := get(f"{gateway}/api/runs/{run}"))["state"] != "ended":
        time.sleep(0.02)
    if view["outcome"] != "completed":
        raise SystemExit(f"{run}: {view}")
    created, updated = (datetime.datetime.fromisoformat(view[key]).timestamp() for key in ("created_at", "updated_at"))
    return created, updated


def seconds(gateway: str, kind: str, calls: int) -> float:
    created, updated = ended(gateway, begin(gateway, kind, calls))
    return updated - created


def ms_each(gateway: str, kind: str) -> float:
    """Of a call in a run of many. What a run costs without its calls is that of a run with one."""
    one = seconds(gateway, kind, 1)
    return 1000 * (seconds(gateway, kind, options.calls) - one) / (options.calls - 1)


def ag2(file: pathlib.Path) -> float:
    command = [AG2_PYTHON, str(ROOT / "tests/speed/ag2_tool.py"), str(file), str(options.calls)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])["p50_ms"]


def one_after_the_other(gateway: str, folder: pathlib.Path, stored: Stored) -> None:
    columns = [*TARGETS, "AG2"]
    figures: dict[str, list[float]] = {column: [] for column in columns}
    p50: dict[str, list[float]] = {kind: [] for kind in TARGETS}
    # The first round warms everything up, and does not count.
    for number in range(options.rounds + 1):
        load = os.getloadavg()[0]
        order = list(TARGETS) if number % 2 else list(reversed(TARGETS))
        found = {kind: ms_each(gateway, kind) for kind in order}
        found["AG2"] = ag2(folder / "tools.py")
        single = {kind: p50_of_single_calls(gateway, stored, kind) for kind in order}
        if number:
            for kind in TARGETS:
                p50[kind].append(single[kind])
            for column in columns:
                figures[column].append(found[column])
            shown = ", ".join(f"{column} {found[column]:.2f}" for column in columns)
            print(f"round {number}: {shown} ms | load {load:.1f}", flush=True)
    print(f"a call, in ms: the median of {options.rounds} runs of {options.calls} calls each (best and worst run)")
    for column in columns:
        values = figures[column]
        goal = f"target {TARGETS[column]}" if column in TARGETS else "in its own process, nothing stored"
        print(f"  {column:<10} {statistics.median(values):6.2f}  ({min(values):.2f} to {max(values):.2f})  {goal}")
    print("p50 from one call of a run to the next, in ms, by the NATS server's own times: the median of the rounds (best and worst)")
    for kind, values in p50.items():
        print(f"  {kind:<10} {statistics.median(values):6.2f}  ({min(values):.2f} to {max(values):.2f})  target {TARGETS[kind]}")


def at_once(gateway: str, whose: str, begun_run) -> None:
    kinds = [AT_ONCE[number % len(AT_ONCE)] for number in range(options.runs)]
    load, begun = os.getloadavg()[0], time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(begun_run, kinds))
    started = time.perf_counter() - begun
    times = [ended(gateway, run) for run in runs]
    first, last = min(created for created, _ in times), max(updated for _, updated in times)
    calls = options.runs * options.calls_at_once
    print(
        f"{options.runs} {whose} at once, {options.calls_at_once} calls each: {last - first:.2f} s, {calls / (last - first):.0f} calls/s"
        f" (all were started after {started:.2f} s; load {load:.1f})"
    )
    for kind in AT_ONCE:
        took = sorted(updated - created for other, (created, updated) in zip(kinds, times) if other == kind)
        jain = sum(took) ** 2 / (len(took) * sum(one * one for one in took))
        middle = statistics.median(took)
        print(
            f"  {kind:<10} {len(took)} runs: fastest {took[0]:.2f} s, median {middle:.2f} s, slowest {took[-1]:.2f} s"
            f" ({took[-1] / middle:.2f} times the median), Jain's fairness index {jain:.3f}"
        )


with tempfile.TemporaryDirectory() as place:
    folder = pathlib.Path(place)
    told = folder / "mcp.json"
    with Tiers(folder) as tiers:
        server = tiers.model().removesuffix("/v1")
        instant = ["python3", str(ROOT / "tests/speed/instant_mcp.py"), str(told)]
        settings = (
            "outgoing: { allow_private: [127.0.0.1] }\nworker: { max_runs: 1000 }\n"
            f"python: {{ interpreter: {AG2_PYTHON} }}\ncommands: {{ echo: {{ run: [cat] }} }}\n{scripts(tools(server))}mcp: {{ instant: {{ command: {json.dumps(instant)} }} }}\n"
        )
        (folder / "tools.py").write_text(TOOLS)
        workflows = {name(kind): workflow(kind, *entry) for kind, entry in tools(server).items()}
        workflows |= {f"agent_{name(kind)}": agents_workflow(kind, *entry) for kind, entry in tools(server).items()}
        nats = tiers.nats()
        tiers.project(nats, workflows, settings)
        house = tiers.house()
        one_after_the_other(house.url, folder, Stored(nats))
        at_once(house.url, "runs", lambda kind: begin(house.url, kind, options.calls_at_once))
        at_once(house.url, "agents", lambda kind: begin_agent(house.url, kind))
        tiers.end(house.worker)
    own = json.loads(told.read_text())
    print(f"the MCP server's own time: {own['ms_each']:.3f} ms for each of {own['calls']} calls, included above")
