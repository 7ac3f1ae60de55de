"""Agent turns per second: AG2 in Python, and one worker of ours, on the same instant model. Both sides alternate, several times; the
figure is the median. Run by scripts/ag2-speed.sh."""

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
options.add_argument("--over-nats", action="store_true", help="a worker, a gateway and NATS instead of `fastagency all` with its own broker")
options.add_argument("--followed", action="store_true", help="a client follows each of our runs over SSE, from its start to its end")
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


def followed(gateway: str, count: int, concurrency: int) -> float:
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
        nats = tiers.nats() if options.over_nats else None
        bound = "" if options.followed else f"worker: {{ max_runs: {concurrency} }}\n"
        tiers.project(nats, {"talk": TALK}, llms(model, "" if options.stream else ", stream: false") + bound)
        gateway = tiers.house().url if options.over_nats else tiers.one_process()
        followed(gateway, 10, 10)
        figures = []
        for _ in range(options.rounds):
            before = answered(model)
            theirs = ag2(model, count_ag2, concurrency)
            between = answered(model)
            mine = followed(gateway, count_ours, concurrency) if options.followed else unwatched(gateway, count_ours, model)
            after = answered(model)
            each = 2 * options.turns - 1
            # AG2 begins with a conversation that is not counted.
            assert (between - before, after - between) == ((count_ag2 + 1) * each, count_ours * each)
            figures.append((theirs, mine))
        theirs, mine = (statistics.median(side) for side in zip(*figures))
        ratio = statistics.median(mine / theirs for theirs, mine in figures)
        rounds = ", ".join(f"{theirs:.0f}/{mine:.0f}" for theirs, mine in figures)
        print(f"{concurrency:2} at once: AG2 {theirs:.0f} turns/s, here {mine:.0f} turns/s, ratio {ratio:.0f} (rounds: {rounds})", flush=True)
