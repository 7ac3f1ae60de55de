"""Two programs in turn on one machine: `echo` over NATS, which the newer one's `bench --against` compares, and throughput and processor
time of agent turns in one process. Run by scripts/compare.sh."""

import argparse
import contextlib
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from tiers import Tiers, call, free_port, get, llms

options = argparse.ArgumentParser()
options.add_argument("--rounds", type=int, default=21)
options.add_argument("--conversations", type=int, default=2000)
options.add_argument("--clients", type=int, default=200)
options.add_argument("--turns", type=int, default=25, help="a message and its reply; a conversation has 2 * TURNS - 1 requests")
options.add_argument("--talks", type=int, default=200, help="conversations of agents, held by one worker that has 32 at once")
options.add_argument("old", type=pathlib.Path)
options.add_argument("new", type=pathlib.Path)
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
TICKS = os.sysconf("SC_CLK_TCK")


def processor(process: subprocess.Popen) -> float:
    """The seconds that a process has used, in all its threads."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Program:
    """One program at work, all in one process."""

    def __init__(self, path: pathlib.Path, folder: pathlib.Path, model: str, stack: contextlib.ExitStack):
        self.path, self.model = path, model
        alone = stack.enter_context(Tiers(folder))
        alone.project(None, {"talk": TALK}, llms(model, ", stream: false") + "worker: { max_runs: 32 }\n")
        port = free_port()
        command = ("--port", str(port), "--ui-port", str(free_port()), "--data-dir", str(folder / "data"))
        self.process = alone.spawn("all", str(path.resolve()), "all", *command)
        self.url = alone.served(port)

    def answered(self) -> int:
        return get(self.model.removesuffix("/v1"))["answered"]

    def turns(self, talks: int) -> tuple[float, float]:
        """Agent turns per second, and processor time of each in ms."""
        turns = talks * (2 * options.turns - 1)
        used, before, begun = processor(self.process), self.answered(), time.perf_counter()
        for _ in range(talks):
            run = call(f"{self.url}/api/runs", {"workflow": "talk"})["id"]
        while self.answered() - before < turns or get(f"{self.url}/api/runs/{run}")["state"] != "ended":
            time.sleep(0.005)
        seconds, used = time.perf_counter() - begun, processor(self.process) - used
        return turns / seconds, 1000 * used / turns


def compare_turns() -> None:
    rounds: list[list[tuple[float, float]]] = []
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = stack.enter_context(Tiers(folder / "model")).model()
        programs = [Program(path, folder / name, model, stack) for name, path in (("old", options.old), ("new", options.new))]
        # The first round warms everything up, and does not count. Every second one goes the other way round. Both programs are
        # there all the time, and take turns of less than a second: a machine that others share may be half as quick a few
        # seconds later.
        for number in range(options.rounds + 1):
            order = (0, 1) if number % 2 else (1, 0)
            talks = {place: programs[place].turns(options.talks) for place in order}
            if number:
                rounds.append([talks[0], talks[1]])
                shown = " | ".join(" ".join(f"{value:.3f}" for value in one) for one in rounds[-1])
                print(f"round {number}: {shown} | load {os.getloadavg()[0]:.1f}", flush=True)
    for measure, name in enumerate(("turns/s", "turn: processor ms each")):
        old, new = (statistics.median(one[place][measure] for one in rounds) for place in (0, 1))
        ratios = sorted(one[1][measure] / one[0][measure] for one in rounds)
        low, high = ratios[len(ratios) // 4], ratios[len(ratios) * 3 // 4]
        print(f"{name}: old {old:.3f}, new {new:.3f}, new / old, round by round, median {statistics.median(ratios):.3f}"
              f" (half of them {low:.3f} to {high:.3f}, all {min(ratios):.3f} to {max(ratios):.3f})")


rounds = ("--rounds", str(options.rounds), "-n", str(options.conversations), "-j", str(options.clients))
subprocess.run([str(options.new.resolve()), "bench", "--against", str(options.old.resolve()), *rounds], check=True)
if options.talks:
    compare_turns()
