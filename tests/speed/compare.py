"""Several programs in turn on one machine: throughput and processor time of `echo` over NATS, and of agent turns in one process.
Run by scripts/compare.sh."""

import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from tiers import ECHO, Tiers, bench, call, free_port, get, llms

options = argparse.ArgumentParser()
options.add_argument("--rounds", type=int, default=7)
options.add_argument("--conversations", type=int, default=3000)
options.add_argument("--clients", type=int, default=200)
options.add_argument("--turns", type=int, default=25, help="a message and its reply; a conversation has 2 * TURNS - 1 requests")
options.add_argument("--talks", type=int, default=200, help="conversations of agents, held by one worker that has 32 at once")
options.add_argument("programs", nargs="+", type=pathlib.Path)
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


def processor(*processes: subprocess.Popen) -> float:
    """The seconds that these processes have used, in all their threads."""
    fields = (pathlib.Path(f"/proc/{one.pid}/stat").read_text().rsplit(")", 1)[1].split() for one in processes)
    return sum(int(one[11]) + int(one[12]) for one in fields) / TICKS


def echo(tiers: Tiers, nats: str, program: str) -> tuple[float, float]:
    """Conversations per second, and processor time of each in ms."""
    tiers.project(nats, ECHO)
    house = tiers.house(program=program)
    bench(house.url, options.conversations // 10, options.clients)
    before = processor(house.worker, house.gateway)
    figures = bench(house.url, options.conversations, options.clients)
    used = processor(house.worker, house.gateway) - before
    tiers.end(house.worker, house.gateway)
    return figures["per_second"], 1000 * used / options.conversations


def turns(tiers: Tiers, model: str, program: str, number: int) -> tuple[float, float]:
    """Agent turns per second, and processor time of each in ms."""
    tiers.project(None, {"talk": TALK}, llms(model, ", stream: false") + "worker: { max_runs: 32 }\n")
    port = free_port()
    process = tiers.spawn(
        "all", program, "all", "--port", str(port), "--ui-port", str(free_port()), "--data-dir", str(tiers.folder / f"data-{number}")
    )
    url = tiers.served(port)
    each = 2 * options.turns - 1

    def answered() -> int:
        return get(model.removesuffix("/v1"))["answered"]

    def talk(count: int) -> float:
        before, begun = answered(), time.perf_counter()
        for _ in range(count):
            run = call(f"{url}/api/runs", {"workflow": "talk"})["id"]
        while answered() - before < count * each or get(f"{url}/api/runs/{run}")["state"] != "ended":
            time.sleep(0.005)
        return time.perf_counter() - begun

    talk(options.talks // 10)
    used = processor(process)
    seconds = talk(options.talks)
    used = processor(process) - used
    tiers.end(process)
    return options.talks * each / seconds, 1000 * used / (options.talks * each)


MEASURES = ("echo: conversations/s", "echo: processor ms each", "turns/s", "turn: processor ms each")
programs = [str(program.resolve()) for program in options.programs]
rounds: list[list[tuple[float, ...]]] = []
with (
    tempfile.TemporaryDirectory() as folder,
    Tiers(pathlib.Path(folder) / "echo") as tiers,
    Tiers(pathlib.Path(folder) / "turns") as one_process,
):
    nats, model = tiers.nats(), one_process.model()
    # The first round warms the disk and the servers up, and does not count. Every second one goes the other way round.
    for number in range(options.rounds + 1):
        order = range(len(programs)) if number % 2 else reversed(range(len(programs)))
        found = {}
        for place in order:
            found[place] = echo(tiers, nats, programs[place]) + turns(one_process, model, programs[place], number * len(programs) + place)
        if number:
            rounds.append([found[place] for place in range(len(programs))])
            shown = " | ".join(" ".join(f"{value:.3f}" for value in one) for one in rounds[-1])
            print(f"round {number}: {shown} | load {os.getloadavg()[0]:.1f}", flush=True)
for measure, name in enumerate(MEASURES):
    for place, program in enumerate(programs):
        values = [one[place][measure] for one in rounds]
        ratios = [one[place][measure] / one[0][measure] for one in rounds]
        print(f"{name}: {program}: median {statistics.median(values):.3f}, ratio to the first, pair by pair, median {statistics.median(ratios):.3f}"
              f" ({min(ratios):.3f} to {max(ratios):.3f})")
