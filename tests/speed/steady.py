"""Load that goes on while what has ended is removed, beside the same while all is kept. Run by scripts/steady.sh."""

import os
import pathlib
import re
import statistics
import sys
import tempfile
import time

from tiers import ECHO, Tiers, bench, get

SECONDS, CLIENTS, WINDOW = (int(given) for given in (sys.argv[1:] + ["180", "200", "5000"][len(sys.argv) - 1:]))


def phase(name: str, folder: pathlib.Path, keep_ended: str) -> float:
    """The median of the windows' conversations per second."""
    with Tiers(folder) as tiers:
        tiers.project(tiers.nats(), ECHO, f"keep_ended: {keep_ended}\n")
        house = tiers.house()
        begun, rates = time.monotonic(), []
        while time.monotonic() - begun < SECONDS:
            figures = bench(house.url, WINDOW, CLIENTS)
            rates.append(figures["per_second"])
            jsz = get(f"{tiers.monitor}/jsz?streams=true")
            streams = [stream for account in jsz["account_details"] for stream in account["stream_detail"]]
            runs = next(stream["state"] for stream in streams if stream["name"] == "FA_RUNS")
            removed = sum(map(int, re.findall(r", (\d+) removed", (folder / "worker.log").read_text())))
            print(
                f"{name:8} {time.monotonic() - begun:4.0f} s: {figures['per_second']:7.1f}/s, answer to next p99"
                f" {figures['answer_to_next']['p99_ms']:.0f} ms; FA_RUNS {runs['messages']} messages, {runs['bytes'] / 1e6:.0f} MB;"
                f" all streams {jsz['bytes'] / 1e6:.0f} MB; {removed} removed",
                flush=True,
            )
        for round_trip in re.findall(r"went round .*", (folder / "worker.log").read_text()):
            print(f"{name}: {round_trip}")
    # The first window warms everything up.
    return statistics.median(rates[1:] or rates)


with tempfile.TemporaryDirectory() as folder:
    kept = phase("kept", pathlib.Path(folder) / "kept", "30d")
    removed = phase("removed", pathlib.Path(folder) / "removed", os.environ.get("KEEP_ENDED", "10s"))
print(f"medians: {kept:.1f} conversations/s while all is kept, {removed:.1f} while what has ended is removed: {100 * removed / kept:.0f} %")
