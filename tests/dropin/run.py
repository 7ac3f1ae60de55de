"""The drop-in proof: every tier of FastAgency's "FastAPI + Nats.io" set-up, one at a time, beside the others in Python.

    a   ConsoleUI over FastAPIProvider (Python)  ->  our gateway  ->  our worker
    b   a socket client  ->  the FastAPI gateway (Python)  ->  our worker
    c   a socket client  ->  our gateway  ->  the NatsAdapter worker (Python)
    d   a custom HTML client in a browser  ->  our gateway  ->  our worker

And what must hold when somebody is away:

    e   an answer through the FastAPI gateway (Python) wakes a run that our worker has parked
    f   an answer that died with our gateway, after the log and before the NatsAdapter worker (Python) was told

With `--gateway python` or `--worker python` FastAgency's own tier stands in for ours: that tries the harness itself.
"""

import argparse
import ast
import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

from websockets.sync.client import connect

from clients import Browser, Console, Talk, fetch, wait_for_names
from tiers import PEER, ROOT, Failed, Tiers

SAMPLES = {"echo", "tour", "simple_learning"}
# What `tour` and `everything` must say and ask; FastAgency's other types come where a workflow has them.
TOUR = {"workflow_started", "text_message", "text_input", "multiple_choice", "system_message", "workflow_completed"}
UNHANDLED = "Unhandled exception occurred when executing the workflow"

passed = failed = 0


def check(what: str, true: object, detail: object = "") -> None:
    global passed, failed
    passed, failed = (passed + 1, failed) if true else (passed, failed + 1)
    print(f"  {'ok  ' if true else 'FAIL'} {what}" + (f": {detail}" if detail and not true else ""), flush=True)


def note(text: str) -> None:
    print(f"  note {text}", flush=True)


def python(*args: str) -> str:
    return subprocess.run([sys.executable, str(PEER), *args], capture_output=True, text=True, timeout=60, check=True).stdout


def is_tour(types: list[str], result: object) -> bool:
    return set(types) >= TOUR and UNHANDLED not in str(result)


def check_agents(types: list[str], shown: str, result: str) -> None:
    """What agents do, as FastAgency's client was shown it (docs/get-started/from-ag2.md has the mapping)."""
    wanted = {"text_message", "suggested_function_call", "function_call_execution", "multiple_choice", "text_input", "system_message"}
    check("agents: every kind of message comes", set(types) >= wanted, types)
    check("agents: both calls of the tool are allowed before they are made", types.count("multiple_choice") == 2 and "May I call" in shown, types)
    check("agents: a person speaks in a conversation", "Replying as guest" in shown, shown)
    check("agents: nothing went wrong", "error" not in types and UNHANDLED not in result and "Error:" not in shown, shown)
    check("agents: the result is what the steps returned", '"paid":7' in result.replace(" ", "").replace("\\", ""), result)


def console_to_gateway(tiers: Tiers, args: argparse.Namespace) -> None:
    tiers.nats()
    tiers.worker(args.worker, stand_in=True)
    url = tiers.gateway(args.gateway)
    listed = {w["name"]: w["description"] for w in wait_for_names(url, SAMPLES)}
    names = json.loads(python("names", url))
    check("FastAPIProvider sees the names and descriptions that the gateway lists", names == listed, f"{names} != {listed}")
    front = fetch(f"{url}/")
    check("GET / lists the workflows as FastAgency's example does", front == {"Workflows": listed}, front)

    talk = Console(url, "echo")
    check("echo through ConsoleUI returns what was typed", f"echo: {talk.answers[0]}" in talk.boxes[-1][1], talk.boxes)
    check("echo asks once", talk.types() == ["workflow_started", "text_input", "workflow_completed"], talk.types())
    note(f"after the end ConsoleUI {talk.after} (over FastAgency's gateway it waits on)")
    talk = Console(url, "tour")
    check("tour through ConsoleUI comes to its end with every kind of message", is_tour(talk.types(), talk.boxes[-1]), talk.boxes)
    note(f"tour said {talk.types()}")
    talk = Console(url, "simple_learning")
    check("simple_learning through ConsoleUI: its agents talk", talk.types().count("text_message") >= 3, talk.boxes)
    check("simple_learning comes to its end without an error", "error" not in talk.types() and UNHANDLED not in talk.boxes[-1][1], talk.boxes)
    if args.worker == "ours":
        talk = Console(url, "agents")
        check_agents(talk.types(), " ".join(body for _, body in talk.boxes), talk.boxes[-1][1])


def worker_under_python_gateway(tiers: Tiers, args: argparse.Namespace) -> None:
    tiers.nats()
    tiers.worker(args.worker, stand_in=True)
    url = tiers.gateway("python")
    wait_for_names(url, SAMPLES)
    check("FastAgency's gateway lists our worker's workflows", True)
    talk = Talk(url, "echo")
    check("echo under FastAgency's gateway returns the answer", talk.result() == f"echo: {talk.answers[0]}", talk.messages)
    check("echo's messages have FastAgency's shape", not talk.misshapen(), talk.misshapen())
    talk = Talk(url, "tour")
    check("tour under FastAgency's gateway comes to its end", is_tour(talk.types(), talk.result()), talk.messages)
    check("tour's messages have FastAgency's shape", not talk.misshapen(), talk.misshapen())
    talk = Talk(url, "simple_learning")
    check("simple_learning under FastAgency's gateway", len(talk.of("text_message")) >= 3 and not talk.misshapen(), talk.messages)
    if args.worker == "ours":
        talk = Talk(url, "agents")
        check("agents' messages have FastAgency's shape", not talk.misshapen(), talk.misshapen())
        check_agents(talk.types(), json.dumps(talk.messages), str(talk.result()))


def python_worker_under_gateway(tiers: Tiers, args: argparse.Namespace) -> None:
    tiers.nats()
    tiers.worker("python")
    url = tiers.gateway(args.gateway)
    listed = {w["name"]: w["description"] for w in wait_for_names(url, {"echo", "everything", "boom"})}
    check("the gateway lists the Python worker's workflows", listed["everything"] == "Every UI call once", listed)
    talk = Talk(url, "echo")
    check("echo: the answer arrives at the Python worker", talk.result() == f"echo: {talk.answers[0]}", talk.messages)
    check("echo's messages have FastAgency's shape", not talk.misshapen(), talk.misshapen())
    note(f"after the end the socket is {talk.after} (FastAgency's gateway leaves it open)")

    talk = Talk(url, "everything")
    kinds = ["workflow_started", "text_message", "text_message", "text_input", "text_input", "multiple_choice", "multiple_choice",
             "system_message", "suggested_function_call", "function_call_execution", "error", "keep_alive", "text_message",
             "workflow_completed"]  # fmt: skip
    check("everything: every message, in order", talk.types() == kinds, talk.types())
    check("everything's messages have FastAgency's shape", not talk.misshapen(), talk.misshapen())
    check("everything: the answers arrive, the password's and both choices'", talk.result() == "answers: " + " | ".join(talk.answers), talk.result())
    check("everything: what is not ASCII, and null, pass as they are",
          [m["body"] for m in talk.of("text_message")[:2]] == ["hello, živjo 😀\nsecond line", None], talk.of("text_message"))  # fmt: skip
    check("everything: nested values pass as they are",
          talk.of("system_message")[0]["message"]["nested"] == {"k": [1, 2.5, None, True]} and talk.of("function_call_execution")[0]["retval"] == {"ok": True},
          talk.messages)  # fmt: skip
    check("everything: the workflow's own uuid passes", talk.messages[-2]["uuid"] == "my-own-uuid" and talk.messages[-2]["auto_reply"], talk.messages[-2])

    talk = Talk(url, "boom")
    check("boom: the error comes, then the end", talk.types() == ["workflow_started", "text_message", "error", "workflow_completed"], talk.types())
    check("boom: both say why", talk.of("error")[0]["long"] == "boom happened" and talk.result() == f"{UNHANDLED}: boom happened", talk.messages)


def records(url: str, run: str) -> list[dict]:
    """What the log of a run holds, as our gateway shows it."""
    with urllib.request.urlopen(f"{url}/api/runs/{run}/events?follow=false", timeout=20) as response:
        events = response.read().decode().split("\n\n")
    return [json.loads(event.split("data: ", 1)[1]) for event in events if event.startswith("event: record")]


def until(what: str, holds: Callable[[], object], seconds: float = 30) -> object:
    """Waits until something is there, and returns it."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)
    return found


def asked(url: str, run: str) -> str | None:
    """The question that a run has asked."""
    messages = [record["message"] for record in records(url, run) if record.get("message")]
    return next((message["uuid"] for message in messages if message["type"] == "text_input"), None)


def parked_under_python_gateway(tiers: Tiers, args: argparse.Namespace) -> None:
    tiers.nats()
    tiers.worker("ours", more="worker: { park_after: 1s }\n")
    ours, theirs = tiers.gateway("ours"), tiers.gateway("python")
    wait_for_names(theirs, SAMPLES)
    start = {"workflow_name": "echo", "workflow_uuid": str(uuid.uuid4()), "user_id": None, "params": {}}
    init = fetch(f"{theirs}/fastagency/initiate_workflow", start)
    run = uuid.UUID(init["workflow_uuid"]).hex
    with connect("ws" + theirs.removeprefix("http") + "/fastagency/ws", max_size=None) as socket:
        socket.send(json.dumps(init))
        while json.loads(socket.recv(timeout=20))["type"] != "text_input":
            pass
        until("the run is parked", lambda: any(record["kind"] == "parked" for record in records(ours, run)))
        answered = time.monotonic()
        socket.send("is anybody there?")
        while (message := json.loads(socket.recv(timeout=20)))["type"] != "workflow_completed":
            pass
    took = time.monotonic() - answered
    check("a parked run is woken by an answer through FastAgency's gateway", message["content"]["result"] == "echo: is anybody there?", message)
    check("within a second", took < 1, f"{took:.2f} s")
    note(f"it took {took * 1000:.0f} ms")


def answer_that_died_with_its_gateway(tiers: Tiers, args: argparse.Namespace) -> None:
    tiers.nats(mute=True)
    tiers.worker("python")
    # The one that will die may write logs and inboxes, and tells no worker: it never comes further than that.
    dying, living = tiers.gateway("ours", user="mute"), tiers.gateway("ours")
    for url in (dying, living):
        wait_for_names(url, {"echo"})
    run = fetch(f"{dying}/api/runs", {"workflow": "echo"})["id"]
    question = until("the Python worker asks", lambda: asked(living, run))

    def answer() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            fetch(f"{dying}/api/runs/{run}/answers/{question}", {"value": "hello"})

    answering = threading.Thread(target=answer)
    answering.start()
    time.sleep(1)
    tier = next(tier for tier in tiers.running if tier.name == "gateway-mute")
    tier.process.kill()
    tier.process.wait()
    answering.join(25)
    worker = next(tier for tier in tiers.running if tier.name == "worker")
    check("the worker was not told while its gateway lived", "hello" not in worker.log.read_text(), worker.tail())
    check("the answer was taken all the same", "answered" in [record["kind"] for record in records(living, run)], records(living, run))
    killed = time.monotonic()
    until("the run ends", lambda: records(living, run)[-1]["kind"] == "ended")
    note(f"passed on by another gateway after {time.monotonic() - killed:.1f} s")
    log = records(living, run)
    check("the Python worker was told by another gateway, and went on", log[-1]["result"] == "echo: hello", log)
    check("it was told once: one question, one answer", [record["kind"] for record in log].count("answered") == 1, log)


def page_of(path: Path, folder: Path) -> Path:
    """The page itself; out of a Python file (as the guide has it) the one that its variable `html` holds."""
    if path.suffix != ".py":
        return path
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "html":
            page = folder / "page.html"
            page.write_text(ast.literal_eval(node.value))
            return page
    raise Failed(f"{path} has no page in a variable `html`")


def page_to_gateway(tiers: Tiers, args: argparse.Namespace) -> None:
    tiers.nats()
    tiers.worker(args.worker, stand_in=True)
    url = tiers.gateway(args.gateway, page=page_of(args.page, tiers.folder))
    descriptions = {w["name"]: w["description"] for w in wait_for_names(url, SAMPLES)}
    subject = f"subject-{uuid.uuid4().hex[:8]}"
    with Browser(args.chromium, int(url.rsplit(":", 1)[1])) as browser:
        lines, prompts = browser.converse(descriptions["simple_learning"], subject)
    check("the page lists the workflows and starts one", lines[0].endswith(": workflow_started"), lines)
    check("the page asks once", len(prompts) == 1 and prompts[0].endswith("explore?"), prompts)
    talk = [line for line in lines if line.startswith(("Student_Agent", "Teacher_Agent"))]
    check("the agents' talk is on the page, and knows the answer", len(talk) >= 3 and subject in "".join(talk), lines)
    check("the page comes to the end without an error", lines[-1] == "Workflow -> User: workflow_completed" and not any(": error" in line for line in lines), lines)


DIRECTIONS = {
    "a": ("ConsoleUI (Python) -> {gateway} gateway -> {worker} worker", console_to_gateway),
    "b": ("socket -> Python gateway -> {worker} worker", worker_under_python_gateway),
    "c": ("socket -> {gateway} gateway -> Python worker", python_worker_under_gateway),
    "d": ("custom HTML client -> {gateway} gateway -> {worker} worker", page_to_gateway),
    "e": ("socket -> Python gateway -> our worker, parked", parked_under_python_gateway),
    "f": ("our gateway, killed -> another one -> Python worker", answer_that_died_with_its_gateway),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", choices=["ours", "python"], default="ours")
    parser.add_argument("--worker", choices=["ours", "python"], default="ours")
    parser.add_argument("--only", default="abcdef", help="some of the letters abcdef")
    parser.add_argument("--page", type=Path, default=PEER.with_name("client.html"),
                        help="another custom client: .html, or .py with the page in its variable html (a copy of the guide's)")  # fmt: skip
    args = parser.parse_args()
    args.chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)

    skipped = 0
    folder = ROOT / "target" / "dropin" / time.strftime("%H%M%S")
    for letter in args.only:
        title, direction = DIRECTIONS[letter]
        print(f"{letter}: {title.format(gateway=args.gateway, worker=args.worker)}", flush=True)
        if letter == "d" and not args.chromium:
            print("  SKIP no Chromium here (apt-get install chromium, or CHROMIUM=its path)")
            skipped += 1
            continue
        with Tiers(folder / letter) as tiers:
            before = failed
            try:
                direction(tiers, args)
            except Failed as e:
                check("came to its end", False, e)
            except Exception:  # an answer of quite another kind: the other directions are still worth their run
                check("came to its end", False, traceback.format_exc(limit=-3))
            if failed > before:
                print(tiers.logs())
    print(f"the tiers' logs: {folder.relative_to(ROOT)}")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


sys.exit(main())
