"""Several programs in turn on one machine: throughput, processor time and NATS messages of `echo` over NATS, and throughput and processor
time of agent turns in one process. Run by scripts/compare.sh."""

import argparse
import contextlib
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from tiers import ECHO, Tiers, bench, call, free_port, get, llms

options = argparse.ArgumentParser()
options.add_argument("--rounds", type=int, default=21)
options.add_argument("--conversations", type=int, default=2000)
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


class Program:
    """One program at work twice: worker and gateway with a NATS server of their own, and all in one process."""

    def __init__(self, path: str, folder: pathlib.Path, model: str, stack: contextlib.ExitStack):
        self.path, self.model = path, model
        self.tiers = stack.enter_context(Tiers(folder / "echo"))
        self.tiers.project(self.tiers.nats(), ECHO)
        self.house = self.tiers.house(program=path)
        alone = stack.enter_context(Tiers(folder / "turns"))
        alone.project(None, {"talk": TALK}, llms(model, ", stream: false") + "worker: { max_runs: 32 }\n")
        port = free_port()
        command = ("--port", str(port), "--ui-port", str(free_port()), "--data-dir", str(alone.folder / "data"))
        self.process = alone.spawn("all", path, "all", *command)
        self.url = alone.served(port)

    def echo(self, conversations: int) -> tuple[float, ...]:
        """What ECHO_MEASURES names."""
        before = self.used()
        figures = bench(self.house.url, conversations, options.clients)
        each = [(after - first) / conversations for first, after in zip(before, self.used())]
        return figures["per_second"], 1000 * sum(each[:3]), *(1000 * spent for spent in each[:3]), *each[3:]

    def used(self) -> tuple[float, ...]:
        """Processor time of NATS, worker and gateway in seconds; messages to NATS, from it, and stored."""
        processes = (processor(one) for one in (self.tiers.server, self.house.worker, self.house.gateway))
        server = get(f"{self.tiers.monitor}/varz")
        streams = get(f"{self.tiers.monitor}/jsz?streams=1")["account_details"][0]["stream_detail"]
        return *processes, server["in_msgs"], server["out_msgs"], sum(one["state"]["last_seq"] for one in streams)

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


ECHO_MEASURES = (
    "conversations/s", "processor ms each", "processor ms of NATS", "processor ms of the worker", "processor ms of the gateway",
    "messages to NATS", "messages from NATS", "messages stored",
)
MEASURES = (*(f"echo: {one}" for one in ECHO_MEASURES), "turns/s", "turn: processor ms each")
rounds: list[list[tuple[float, ...]]] = []
with contextlib.ExitStack() as stack:
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    model = stack.enter_context(Tiers(folder / "model")).model()
    programs = [
        Program(str(path.resolve()), folder / str(number), model, stack)
        for number, path in enumerate(options.programs)
        if not (folder / str(number)).mkdir()
    ]
    # The first round warms everything up, and does not count. Every second one goes the other way round. All programs are there
    # all the time, and take turns of less than a second: a machine that others share may be half as quick a few seconds later.
    for number in range(options.rounds + 1):
        order = range(len(programs)) if number % 2 else reversed(range(len(programs)))
        order = list(order)
        echoes = {place: programs[place].echo(options.conversations) for place in order}
        talks = {place: programs[place].turns(options.talks) if options.talks else (1, 1) for place in order}
        if number:
            rounds.append([echoes[place] + talks[place] for place in range(len(programs))])
            shown = " | ".join(" ".join(f"{value:.3f}" for value in one) for one in rounds[-1])
            print(f"round {number}: {shown} | load {os.getloadavg()[0]:.1f}", flush=True)
for measure, name in enumerate(MEASURES):
    for place, program in enumerate(programs):
        values = [one[place][measure] for one in rounds]
        ratios = sorted(one[place][measure] / one[0][measure] for one in rounds)
        low, high = ratios[len(ratios) // 4], ratios[len(ratios) * 3 // 4]
        print(f"{name}: {program.path}: median {statistics.median(values):.3f}, ratio to the first, pair by pair, median {statistics.median(ratios):.3f}"
              f" (half of them {low:.3f} to {high:.3f}, all {min(ratios):.3f} to {max(ratios):.3f})")
