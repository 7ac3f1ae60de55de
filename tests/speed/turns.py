"""Agent turns per second: AG2 in Python, and one worker of ours with gateway and NATS, on the same instant model. Both sides
alternate, several times; the figure is the median. Run by scripts/ag2-speed.sh."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from tiers import ROOT, Tiers, bench, call, get, llms

options = argparse.ArgumentParser()
options.add_argument("--rounds", type=int, default=3)
options.add_argument("--turns", type=int, default=25, help="a message and its reply; a conversation has 2 * TURNS - 1 requests")
options.add_argument("--one-process", action="store_true", help="`fastagency all` with its own broker instead of tiers over NATS")
options.add_argument("--unwatched", action="store_true", help="nobody follows our runs, as nobody follows AG2's: the worker takes them one by one")
options.add_argument("--stream", action="store_true", help="let models stream on both sides")
options = options.parse_args()

TALK = f"""
version: 1
name: talk
agents:
  a: {{ system_message: You talk about numbers., human_input_mode: NEVER }}
  b: {{ system_message: You talk about numbers., human_input_mode: NEVER }}
steps:
  - chat: {{ sender: a, recipient: b, message: Let us talk about numbers., max_turns: {options.turns} }}
"""

# Conversations at once: how many in all for AG2, and for us, who would be done too soon to be measured with as many.
SIZES = {1: (4, 40), 32: (32, 320)}


def ag2(model: str, count: int, concurrency: int) -> float:
    command = [os.environ["AG2_PYTHON"], str(ROOT / "tests/speed/ag2_talk.py"), model, str(options.turns), str(count), str(concurrency)]
    if options.stream:
        command.append("stream")
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return done["turns"] / done["seconds"]


def ours(gateway: str, count: int, concurrency: int) -> float:
    figures = bench(gateway, count, concurrency, "--via", "sse", "--no-echo", workflow="talk")
    return count * (2 * options.turns - 1) / figures["seconds"]


def unwatched(gateway: str, count: int, model: str) -> float:
    """The worker may have so many runs at once as are to be measured; all are queued, and the time is that of the last one's end."""
    each = 2 * options.turns - 1
    before = answered(model)
    begun = time.perf_counter()
    for _ in range(count):
        run = call(f"{gateway}/api/runs", {"workflow": "talk"})["id"]
    while answered(model) - before < count * each or get(f"{gateway}/api/runs/{run}")["state"] != "ended":
        time.sleep(0.002)
    return count * each / (time.perf_counter() - begun)


def answered(model: str) -> int:
    return get(model.removesuffix("/v1"))["answered"]


for concurrency, (count_ag2, count_ours) in SIZES.items():
    with tempfile.TemporaryDirectory() as folder, Tiers(pathlib.Path(folder)) as tiers:
        model = tiers.model()
        nats = None if options.one_process else tiers.nats()
        bound = f"worker: {{ max_runs: {concurrency} }}\n" if options.unwatched else ""
        tiers.project(nats, {"talk": TALK}, llms(model, "" if options.stream else ", stream: false") + bound)
        gateway = tiers.one_process() if options.one_process else tiers.house().url
        ours(gateway, 10, 10)
        figures = []
        for _ in range(options.rounds):
            before = answered(model)
            theirs = ag2(model, count_ag2, concurrency)
            between = answered(model)
            mine = unwatched(gateway, count_ours, model) if options.unwatched else ours(gateway, count_ours, concurrency)
            after = answered(model)
            each = 2 * options.turns - 1
            # AG2 begins with a conversation that is not counted.
            assert (between - before, after - between) == ((count_ag2 + 1) * each, count_ours * each)
            figures.append((theirs, mine))
        theirs, mine = (statistics.median(side) for side in zip(*figures))
        ratio = statistics.median(mine / theirs for theirs, mine in figures)
        rounds = ", ".join(f"{theirs:.0f}/{mine:.0f}" for theirs, mine in figures)
        print(f"{concurrency:2} at once: AG2 {theirs:.0f} turns/s, here {mine:.0f} turns/s, ratio {ratio:.0f} (rounds: {rounds})", flush=True)
