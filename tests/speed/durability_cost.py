"""What it costs that no run can be lost: the echo workflow with the tiers of two programs, in turn. Run by scripts/durability-cost.sh."""

import pathlib
import statistics
import sys
import tempfile

from tiers import ECHO, Tiers, bench

BEFORE, AFTER = sys.argv[1:3]
ROUNDS, CONVERSATIONS, CLIENTS = (int(given) for given in (sys.argv[3:] + ["5", "3000", "200"][len(sys.argv) - 3:]))


def measure(tiers: Tiers, program: str) -> dict:
    house = tiers.house(program)
    figures = bench(house.url, CONVERSATIONS, CLIENTS)
    tiers.end(house.worker, house.gateway)
    return figures


with tempfile.TemporaryDirectory() as folder:
    here = pathlib.Path(folder)
    # A store for each, the other one idle: what one program makes of its streams is not always what the other expects.
    with Tiers(here / "before") as before, Tiers(here / "after") as after:
        sides = [(before, BEFORE), (after, AFTER)]
        for tiers, program in sides:
            tiers.project(tiers.nats(), ECHO)
            # The first of each warms disk and server up, and does not count.
            measure(tiers, program)
        rates = []
        for number in range(1, ROUNDS + 1):
            # Who comes first changes: what the machine does meanwhile is nobody's alone.
            order = (0, 1) if number % 2 else (1, 0)
            found = {side: measure(*sides[side]) for side in order}
            rates.append((found[0]["per_second"], found[1]["per_second"]))
            words = (
                f"{name} {found[side]['per_second']:.1f}/s (answer to next p50 {found[side]['answer_to_next']['p50_ms']} ms,"
                f" p99 {found[side]['answer_to_next']['p99_ms']} ms)"
                for side, name in enumerate(("before", "after"))
            )
            print(f"round {number}: {', '.join(words)}", flush=True)
before_rate, after_rate = (statistics.median(side) for side in zip(*rates))
print(f"medians: {before_rate:.1f} conversations/s before, {after_rate:.1f} after: {100 * after_rate / before_rate:.0f} %")
