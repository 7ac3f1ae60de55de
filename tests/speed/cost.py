"""What it costs to be asked who calls and to be counted, or that gateways sign: conversations per second of tiers without and with it,
in turn, on one NATS server. Run by scripts/cost.sh."""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile
import threading
import time
import urllib.request

from tiers import BINARY, ECHO, Tiers, bench, free_port, until

ROUNDS, CONVERSATIONS, CLIENTS = (int(given) for given in (sys.argv[1:] + ["5", "3000", "200"][len(sys.argv) - 1:]))
WHAT = os.environ.get("COST_OF", "jwt and metrics")
SECRET = "the-secret-of-a-measurement-and-of-nothing-else"
SIGNING_KEY = "the-signing-key-of-a-measurement-and-of-nothing-else"
# Prometheus does it every 15 s by default.
SCRAPED_EVERY = 5


def token() -> str:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    claims = [json.dumps(one).encode() for one in ({"alg": "HS256", "typ": "JWT"}, {"sub": "bench", "exp": int(time.time()) + 7200})]
    signed = ".".join(map(part, claims))
    return f"{signed}.{part(hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).digest())}"


def public_key(tiers: Tiers, nats: str) -> str:
    """A gateway says its public key when it starts."""
    tiers.project(nats, ECHO, f"gateway: {{ signing_key: {SIGNING_KEY} }}\n")
    gateway = tiers.spawn("key", BINARY, "gateway", "--port", str(free_port()))

    def said() -> str:
        found = re.search(r"worker\.trusted_gateways: \[([^\]]*)\]", (tiers.folder / "key.log").read_text())
        if not found:
            raise OSError("it has not said it yet")
        return found[1]

    key = until(said)
    tiers.end(gateway)
    return key


def scrape(metrics: tuple[str, ...], over: threading.Event) -> None:
    while not over.wait(SCRAPED_EVERY):
        for place in metrics:
            urllib.request.urlopen(place, timeout=10).read()


def measure(tiers: Tiers, nats: str, settings: str, key: str | None = None) -> float:
    """The conversations per second of tiers that live only meanwhile: two sets of them would share the queue."""
    tiers.project(nats, ECHO, settings)
    house = tiers.house(show_metrics=key is not None, key=key)
    over = threading.Event()
    scraper = threading.Thread(target=scrape, args=(house.metrics, over), daemon=True)
    scraper.start()
    report = bench(house.url, CONVERSATIONS, CLIENTS, key=key)
    over.set()
    scraper.join()
    tiers.end(house.worker, house.gateway)
    return report["per_second"]


with tempfile.TemporaryDirectory() as folder, Tiers(pathlib.Path(folder)) as tiers:
    nats = tiers.nats()
    if WHAT == "signing":
        settings, key = f"gateway: {{ signing_key: {SIGNING_KEY} }}\nworker: {{ trusted_gateways: [{public_key(tiers, nats)}] }}\n", None
    else:
        settings, key = f"auth: {{ mode: jwt, jwt: {{ algorithms: [HS256], secret: {SECRET} }} }}\n", token()
    # The first warms the disk and the server up, and does not count.
    measure(tiers, nats, "")
    rates = []
    for number in range(1, ROUNDS + 1):
        rates.append((measure(tiers, nats, ""), measure(tiers, nats, settings, key)))
        print(f"round {number}: {rates[-1][0]:.1f} conversations/s with nothing, {rates[-1][1]:.1f} with {WHAT}", flush=True)
off, on = (statistics.median(side) for side in zip(*rates))
print(f"medians: {off:.1f} with nothing, {on:.1f} with {WHAT}: {100 * on / off:.0f} %")
