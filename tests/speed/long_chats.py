"""Whether long conversations stay linear: a group of 30 agents over 200 rounds, and a chat whose history grows to 5 MB. A request
says all of the history again, so a round may cost as much more as its request is longer, and no more than that. Run by
scripts/long-chats.sh."""

import http.client
import json
import pathlib
import tempfile
import time

from tiers import Tiers, call, get, llms, memory

AGENTS, ROUNDS = 30, 200
TURNS, REPLY = 60, 42_000

GROUP = f"""
version: 1
name: group
agents:
{"".join(f"  a{n}: {{ system_message: You are agent {n}., human_input_mode: NEVER }}" + chr(10) for n in range(AGENTS))}
steps:
  - group_chat: {{ agents: [{", ".join(f"a{n}" for n in range(AGENTS))}], message: Let us talk., speaker_selection_method: round_robin, max_round: {ROUNDS} }}
"""
CHAT = f"""
version: 1
name: chat
agents:
  a: {{ system_message: You talk., human_input_mode: NEVER }}
  b: {{ system_message: You talk., human_input_mode: NEVER }}
steps:
  - chat: {{ sender: a, recipient: b, message: Let us talk., max_turns: {TURNS} }}
"""


def play(gateway: str, workflow: str) -> list[float]:
    """Runs a workflow; the moments at which its texts came."""
    run = call(f"{gateway}/api/runs", {"workflow": workflow})["id"]
    connection = http.client.HTTPConnection(gateway.removeprefix("http://"))
    connection.request("GET", f"/api/runs/{run}/events")
    events = connection.getresponse()
    moments, kind = [], b""
    while line := events.readline():
        if line.startswith(b"event:"):
            kind = line[6:].strip()
        if line.startswith(b"data:") and kind != b"delta":
            head = line[:2000]
            if b'"text_message"' in head or b'"text_message"' in line[-2000:]:
                moments.append(time.perf_counter())
            elif b'"kind":"ended"' in line.replace(b" ", b"")[:2000]:
                ended = json.loads(line[5:])
                assert ended["outcome"] == "completed", ended
                return moments
    raise OSError("the events have ended")


for title, workflow, reply in (
    (f"{AGENTS} agents, {ROUNDS} rounds", "group", 60), (f"a chat of {2 * TURNS * REPLY / 1e6:.1f} MB", "chat", REPLY)
):
    with tempfile.TemporaryDirectory() as folder, Tiers(pathlib.Path(folder)) as tiers:
        model = tiers.model("0", "1", "0", str(reply))
        tiers.project(tiers.nats(), {"group": GROUP, "chat": CHAT}, llms(model, ", stream: false"))
        house = tiers.house()
        before = memory(house.worker)
        begun = time.perf_counter()
        moments = play(house.url, workflow)
        seconds = time.perf_counter() - begun
        sent = get(model.removesuffix("/v1"))
        gaps = [later - earlier for earlier, later in zip(moments, moments[1:])]
        tenth = len(gaps) // 10

        def mean(some: list[float]) -> float:
            return sum(some) / len(some) * 1000

        parts = [mean(gaps[at : at + tenth]) for at in range(0, tenth * 10, tenth)]
        print(f"{title}: {seconds:.2f} s, {sent['answered']} requests of {sent['bytes'] / 1e6:.1f} MB in all")
        print(f"  ms a round, tenth by tenth: {' '.join(f'{part:.2f}' for part in parts)}")
        grown = memory(house.worker, "VmHWM") - before
        print(f"  worker: {before:.0f} MB before, at most {grown:.0f} MB more; gateway at most {memory(house.gateway, 'VmHWM'):.0f} MB")
