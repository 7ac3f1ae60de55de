"""What a call of a tool costs beside the tool itself, and whether runs that call tools of all kinds starve each other. Run by
scripts/tool-cost.sh."""

import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from tiers import ROOT, Tiers, call, get

options = argparse.ArgumentParser()
options.add_argument("--rounds", type=int, default=11)
options.add_argument("--calls", type=int, default=200, help="of one run, one after the other")
options.add_argument("--runs", type=int, default=200, help="at once, over all kinds")
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
AT_ONCE = ("do", "http GET", "python", "mcp")


def tools(server: str) -> dict[str, tuple[str, str]]:
    """For each kind the entry of `tools`, and what is called."""
    return {
        "do": (f"add: {{ {PARAMS}, do: [{{ return: '{{{{ args.n + 1 }}}}' }}] }}", "add"),
        "http GET": (f"add: {{ {PARAMS}, http: 'GET {server}/' }}", "add"),
        "http POST": (f"add: {{ {PARAMS}, http: 'POST {server}/' }}", "add"),
        "python": ("add: { python: tools.py:add }", "add"),
        "mcp": ("instant: { mcp: instant }", "instant.add"),
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


def begin(gateway: str, kind: str, calls: int) -> str:
    return call(f"{gateway}/api/runs", {"workflow": name(kind), "params": {"calls": calls}})["id"]


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


def one_after_the_other(gateway: str, folder: pathlib.Path) -> None:
    columns = [*TARGETS, "AG2"]
    figures: dict[str, list[float]] = {column: [] for column in columns}
    # The first round warms everything up, and does not count.
    for number in range(options.rounds + 1):
        load = os.getloadavg()[0]
        order = list(TARGETS) if number % 2 else list(reversed(TARGETS))
        found = {kind: ms_each(gateway, kind) for kind in order}
        found["AG2"] = ag2(folder / "tools.py")
        if number:
            for column in columns:
                figures[column].append(found[column])
            shown = ", ".join(f"{column} {found[column]:.2f}" for column in columns)
            print(f"round {number}: {shown} ms | load {load:.1f}", flush=True)
    print(f"a call, in ms: the median of {options.rounds} runs of {options.calls} calls each (best and worst run)")
    for column in columns:
        values = figures[column]
        goal = f"target {TARGETS[column]}" if column in TARGETS else "in its own process, nothing stored"
        print(f"  {column:<10} {statistics.median(values):6.2f}  ({min(values):.2f} to {max(values):.2f})  {goal}")


def at_once(gateway: str) -> None:
    kinds = [AT_ONCE[number % len(AT_ONCE)] for number in range(options.runs)]
    load, begun = os.getloadavg()[0], time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda kind: begin(gateway, kind, options.calls_at_once), kinds))
    started = time.perf_counter() - begun
    times = [ended(gateway, run) for run in runs]
    first, last = min(created for created, _ in times), max(updated for _, updated in times)
    calls = options.runs * options.calls_at_once
    print(
        f"{options.runs} runs at once, {options.calls_at_once} calls each: {last - first:.2f} s, {calls / (last - first):.0f} calls/s"
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
            f"python: {{ interpreter: {AG2_PYTHON} }}\nmcp: {{ instant: {{ command: {json.dumps(instant)} }} }}\n"
        )
        (folder / "tools.py").write_text(TOOLS)
        workflows = {name(kind): workflow(kind, *entry) for kind, entry in tools(server).items()}
        tiers.project(tiers.nats(), workflows, settings)
        house = tiers.house()
        one_after_the_other(house.url, folder)
        at_once(house.url)
        tiers.end(house.worker)
    own = json.loads(told.read_text())
    print(f"the MCP server's own time: {own['ms_each']:.3f} ms for each of {own['calls']} calls, included above")
