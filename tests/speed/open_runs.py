"""What open conversations weigh: many over FastAgency's sockets, which all wait for an answer at once, and what worker and gateway hold
of memory meanwhile. Run by scripts/open-runs.sh."""

import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request

from tiers import BINARY, ECHO, Tiers, memory

CONVERSATIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000

# Each needs a file in the gateway, and one in the client.
_, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))


def waiting(metrics: str) -> int:
    with urllib.request.urlopen(metrics, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    counts = (line.split()[1] for line in lines if line.startswith("fastagency_worker_runs{") and 'state="waiting"' in line)
    return sum(int(count) for count in counts)


with tempfile.TemporaryDirectory() as folder, Tiers(pathlib.Path(folder)) as tiers:
    # As in production: metrics on. Runs stay in memory all the while.
    tiers.project(tiers.nats(), ECHO, f"worker: {{ park_after: 1h, max_runs: {CONVERSATIONS} }}\n")
    house = tiers.house(show_metrics=True)
    print(f"idle: worker {memory(house.worker):.1f} MB, gateway {memory(house.gateway):.1f} MB", flush=True)
    bench = subprocess.Popen([
        BINARY, "bench", "--gateway-url", house.url, "--workflow", "echo", "-n", str(CONVERSATIONS), "-j", "200",
        "--hold", "--hold-for", "15s", "--timeout", "180s",
    ])
    tiers.callback(tiers.end, bench)
    while waiting(house.metrics[0]) != CONVERSATIONS:
        if bench.poll() is not None:
            sys.exit("the conversations ended before all were open")
        time.sleep(0.5)
    time.sleep(5)
    worker, gateway = memory(house.worker), memory(house.gateway)
    print(f"all {CONVERSATIONS} wait: worker {worker:.1f} MB + gateway {gateway:.1f} MB = {worker + gateway:.1f} MB", flush=True)
    ended = bench.wait()
    print(f"at most: worker {memory(house.worker, 'VmHWM'):.1f} MB, gateway {memory(house.gateway, 'VmHWM'):.1f} MB")
sys.exit(ended)
