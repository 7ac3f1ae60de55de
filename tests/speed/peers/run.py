"""The same conversation on several systems: how many each second, how long a person waits, and what a conversation that waits for a
person holds of memory and disk. Run by scripts/peers.sh."""

import argparse
import asyncio
import contextlib
import os
import pathlib
import statistics
import tempfile
import time
from typing import NamedTuple

import aiohttp
from systems import SYSTEMS, System, Tiers

options = argparse.ArgumentParser()
options.add_argument("--systems", default=",".join(SYSTEMS), help=f"some of {', '.join(SYSTEMS)}")
options.add_argument("--at-once", default="1,10,200", help="how many conversations are held at once")
options.add_argument("--seconds", type=float, default=10, help="how long conversations are begun, for each number at once")
options.add_argument("--patience", type=float, default=30, help="the longest that a question or a result may take")
options.add_argument("--waiting", type=int, default=10_000, help="how many are opened and left waiting; 0: none")
options.add_argument("--opening-seconds", type=float, default=120, help="the longest that they are opened")
options = options.parse_args()

TICKS = os.sysconf("SC_CLK_TCK")
# How many are opened at the same time; and how many of those that wait are answered at the end.
OPENED_AT_ONCE, ANSWERED_AT_LAST = 50, 100
# After they were opened: what is put away when it waits is away by then.
SETTLE = 10


def family(roots: list[int]) -> list[int]:
    """These processes and all that they have started."""
    children: dict[int, list[int]] = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, next_ones = [], list(roots)
    while next_ones:
        one = next_ones.pop()
        if one not in found:
            found.append(one)
            next_ones += children.get(one, [])
    return found


def memory(system: System) -> float:
    """MB in all its processes; what they share counts once."""
    total = 0
    for pid in family(system.processes):
        try:
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def processor(pids: list[int]) -> float:
    """Seconds in all these processes, and in those that they have waited for."""
    total = 0
    for pid in pids:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / TICKS


def disk(folder: pathlib.Path) -> float:
    """MB in its folder."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file() and not file.is_symlink()) / 1e6


class Speed(NamedTuple):
    """What came of conversations at once."""

    at_once: int
    completed: int
    seconds: float
    questions: list[float]
    results: list[float]
    errors: dict[str, int]
    processor_ms: float
    client: float

    def rate(self) -> str:
        failed = sum(self.errors.values())
        return f"{self.completed / self.seconds:.1f}" + (f" ({failed} failed)" if failed else "")


def times(seconds: list[float]) -> str:
    if not seconds:
        return "–"
    ordered = sorted(seconds)
    return f"{1000 * statistics.median(ordered):.1f} / {1000 * ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]:.1f}"


def kind(error: BaseException) -> str:
    return "nothing came in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"[:120]


async def patiently(step):
    return await asyncio.wait_for(step, options.patience)


async def converse(system: System, session: aiohttp.ClientSession, number: int) -> tuple[float, float]:
    """The seconds to the question, and from the answer to the result."""
    begun = time.perf_counter()
    conversation = await patiently(system.ask(session))
    asked = time.perf_counter()
    result = await patiently(system.answer(session, conversation, f"hello {number}"))
    assert result == f"echo: hello {number}", result
    return asked - begun, time.perf_counter() - asked


async def speed(system: System, session: aiohttp.ClientSession, at_once: int, seconds: float) -> Speed:
    questions, results, errors, numbers = [], [], {}, iter(range(10**9))
    used, mine, begun = processor(family(system.processes)), time.process_time(), time.perf_counter()

    async def one_after_the_other():
        while time.perf_counter() - begun < seconds:
            try:
                question, result = await converse(system, session, next(numbers))
                questions.append(question)
                results.append(result)
            except (aiohttp.ClientError, OSError, TimeoutError, AssertionError, TypeError, KeyError) as error:
                errors[kind(error)] = errors.get(kind(error), 0) + 1

    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
    took = time.perf_counter() - begun
    spent = processor(family(system.processes)) - used
    client = (time.process_time() - mine) / took
    return Speed(at_once, len(results), took, questions, results, errors, 1000 * spent / max(1, len(results)), client)


class Waiting(NamedTuple):
    """What came of conversations that were opened and left waiting."""

    opened: int
    seconds: float
    errors: dict[str, int]
    before: float
    after: float
    disk: float
    answered: int

    def each(self) -> str:
        return f"{1024 * (self.after - self.before) / self.opened:.1f}" if self.opened else "–"

    def disk_each(self) -> str:
        return f"{1000 * self.disk / self.opened:.1f}" if self.opened else "–"


async def waiting(system: System, session: aiohttp.ClientSession) -> Waiting:
    before, room, begun = memory(system), disk(system.tiers.folder), time.perf_counter()
    open_ones, errors, numbers = [], {}, iter(range(options.waiting))

    async def open_some():
        for _ in numbers:
            if time.perf_counter() - begun > options.opening_seconds:
                return
            try:
                conversation = await patiently(system.ask(session))
                await system.leave(conversation)
                open_ones.append(conversation)
            except (aiohttp.ClientError, OSError, TimeoutError, AssertionError, TypeError, KeyError) as error:
                errors[kind(error)] = errors.get(kind(error), 0) + 1

    await asyncio.gather(*(open_some() for _ in range(OPENED_AT_ONCE)))
    took = time.perf_counter() - begun
    await asyncio.sleep(SETTLE)
    after, room = memory(system), disk(system.tiers.folder) - room
    step = max(1, len(open_ones) // ANSWERED_AT_LAST)
    answers = (patiently(system.answer(session, one, "at last")) for one in open_ones[::step][:ANSWERED_AT_LAST])
    results = await asyncio.gather(*answers, return_exceptions=True)
    for error in (one for one in results if one != "echo: at last"):
        what = f"at last: {kind(error) if isinstance(error, BaseException) else error}"
        errors[what] = errors.get(what, 0) + 1
    return Waiting(len(open_ones), took, errors, before, after, room, sum(one == "echo: at last" for one in results))


@contextlib.asynccontextmanager
async def client():
    # No limit of connections, and none on how long a request may take but ours.
    connector, limits = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=limits) as session:
        yield session


@contextlib.contextmanager
def started(name: str):
    """A system with nothing in it."""
    with tempfile.TemporaryDirectory(prefix="peers-") as folder, Tiers(pathlib.Path(folder)) as tiers:
        system = SYSTEMS[name](tiers)
        system.start()
        yield system


async def measure_speeds(system: System) -> list[Speed]:
    speeds = []
    async with client() as session:
        await speed(system, session, 1, 1)
        for at_once in map(int, options.at_once.split(",")):
            one = await speed(system, session, at_once, options.seconds)
            say(system, f"{at_once} at once: {one.rate()}/s, client {100 * one.client:.0f} % of a processor", one.errors)
            speeds.append(one)
    return speeds


async def measure_waiting(system: System) -> Waiting:
    async with client() as session:
        # What is made for the first conversations is not counted.
        await speed(system, session, 1, 2)
        waited = await waiting(system, session)
    say(system, f"{waited.opened} wait after {waited.seconds:.0f} s; {waited.answered} of those answered at last ended", waited.errors)
    return waited


def say(system: System, words: str, errors: dict[str, int]) -> None:
    print(f"{system.name}: {words}; load {os.getloadavg()[0]:.1f}", flush=True)
    for error, count in sorted(errors.items(), key=lambda one: -one[1])[:3]:
        print(f"  {count} × {error}", flush=True)


def table(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def note(system: System, speeds: list[Speed], waited: Waiting | None) -> str:
    """What the table does not show of a system."""
    words = [f"- {system.name}: {system.version}. Durable: {system.durability}. The client waits by: {system.waiting}, and took at most"
             f" {100 * max(one.client for one in speeds):.0f} % of a processor."]
    if waited:
        words.append(f"{waited.opened} of {options.waiting} conversations waited when no more were opened, at most"
                     f" {options.opening_seconds:.0f} s after the first; of {min(ANSWERED_AT_LAST, waited.opened)} that were then answered, {waited.answered} ended.")
    failed = [("at once", one.errors) for one in speeds] + [("waiting", waited.errors if waited else {})]
    words += [f"{count} × {error} ({where})." for where, errors in failed for error, count in errors.items()]
    return " ".join(words)


def main() -> None:
    at_once = options.at_once.split(",")
    head = ["system"] + [f"conversations/s, {number} at once" for number in at_once]
    head += ["start to question, p50 / p99 ms, 1 at once", "answer to result, p50 / p99 ms, 1 at once"]
    head += [f"processor ms each, {at_once[-1]} at once", "MB idle", f"opened of {options.waiting}", "kB of memory each that waits", "kB of disk each"]
    rows, notes = [head], []
    load = os.getloadavg()[0]
    for name in options.systems.split(","):
        with started(name) as system:
            idle = memory(system)
            speeds = asyncio.run(measure_speeds(system))
        waited = None
        if options.waiting:
            with started(name) as system:
                waited = asyncio.run(measure_waiting(system))
        first, last = speeds[0], speeds[-1]
        row = [system.name, *(one.rate() for one in speeds), times(first.questions), times(first.results)]
        row += [f"{last.processor_ms:.1f}" if last.completed else "–", f"{idle:.0f}"]
        row += [f"{waited.opened} in {waited.seconds:.0f} s", waited.each(), waited.disk_each()] if waited else ["–"] * 3
        rows.append(row)
        notes.append(note(system, speeds, waited))
    print(f"\n{table(rows)}\n\n" + "\n".join(notes))
    print(f"\n{os.cpu_count()} processors, load {load:.1f} at the start and {os.getloadavg()[0]:.1f} at the end; one client in Python (aiohttp"
          f" {aiohttp.__version__}) for all, on the same machine.")


main()
