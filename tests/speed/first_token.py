"""Time to the first token: from a person's answer, through gateway, NATS, worker, and back as a delta over SSE, beside the same
request sent to the model's server directly. Both alternate. Run by scripts/first-token.sh."""

import http.client
import json
import pathlib
import statistics
import sys
import tempfile
import time

from tiers import Tiers, call, llms

TIMES = int(sys.argv[1]) if len(sys.argv) > 1 else 300

ASK = f"""
version: 1
name: ask
agents: {{ a: {{ system_message: You answer. }} }}
steps:
  - loop:
      max: {TIMES + 20}
      do:
        - {{ id: question, text_input: {{ prompt: "What?" }} }}
        - agent: {{ agent: a, message: "{{{{ steps.question }}}}" }}
"""


def direct(connection: http.client.HTTPConnection) -> float:
    body = {"model": "instant", "stream": True, "messages": [{"role": "system", "content": "You answer."}, {"role": "user", "content": "x"}]}
    begun = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    while not answer.readline().startswith(b"data: "):
        pass
    took = time.perf_counter() - begun
    answer.read()
    return took


class Run:
    """A run that is followed, and answered on another connection."""

    def __init__(self, gateway: str):
        host = gateway.removeprefix("http://")
        self.run = call(f"{gateway}/api/runs", {"workflow": "ask"})["id"]
        self.posts, events = http.client.HTTPConnection(host), http.client.HTTPConnection(host)
        events.request("GET", f"/api/runs/{self.run}/events")
        self.events = events.getresponse()

    def until(self, wanted) -> dict:
        """Reads events up to one that is wanted: its kind, and its data."""
        kind = b""
        while True:
            line = self.events.readline()
            if not line:
                raise OSError("the events have ended")
            if line.startswith(b"event:"):
                kind = line[6:].strip()
            if line.startswith(b"data:"):
                if found := wanted(kind, line[5:]):
                    return found

    def question(self) -> str:
        def asks(kind: bytes, data: bytes):
            message = json.loads(data).get("message") or {} if kind != b"delta" else {}
            return message.get("uuid") if message.get("type") == "text_input" else None

        return self.until(asks)

    def answer(self) -> float:
        question = self.question()
        begun = time.perf_counter()
        self.posts.request("POST", f"/api/runs/{self.run}/answers/{question}", json.dumps({"value": "x"}), {"content-type": "application/json"})
        self.until(lambda kind, _: kind == b"delta")
        took = time.perf_counter() - begun
        answered = self.posts.getresponse()
        assert answered.status == 202, answered.read()
        answered.read()
        return took


with tempfile.TemporaryDirectory() as folder, Tiers(pathlib.Path(folder)) as tiers:
    model = tiers.model("0", "10", "2")
    tiers.project(tiers.nats(), {"ask": ASK}, llms(model))
    gateway = tiers.house().url
    connection = http.client.HTTPConnection(model.removeprefix("http://").removesuffix("/v1"))
    run = Run(gateway)
    for _ in range(10):
        direct(connection), run.answer()
    pairs = [(direct(connection), run.answer()) for _ in range(TIMES)]


def in_ms(values, which: float) -> float:
    return statistics.quantiles([value * 1000 for value in values], n=100)[int(which) - 1]


for name, values in (("directly", [one for one, _ in pairs]), ("through all tiers", [other for _, other in pairs])):
    print(f"{name:18} p50 {in_ms(values, 50):.2f} ms, p99 {in_ms(values, 99):.2f} ms")
print(f"{'more':18} p50 {in_ms([other - one for one, other in pairs], 50):.2f} ms ({TIMES} answers)")
