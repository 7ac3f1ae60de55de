"""The Python side of the proof: FastAgency's own worker, gateway and console client, as its guide sets them up.

    peer.py worker  --port P [--stand-in]     NatsAdapter over NATS_URL
    peer.py gateway --port P [--page FILE]    FastAPIAdapter over NatsProvider; GET / is the list of workflows, or the page
    peer.py console URL WORKFLOW              ConsoleUI over FastAPIProvider, on stdin and stdout
    peer.py names   URL                       FastAPIProvider's names and descriptions, as JSON
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from fastagency import UI, FastAgency
from fastagency.adapters.fastapi import FastAPIAdapter
from fastagency.adapters.nats import NatsAdapter
from fastagency.runtimes.ag2 import Workflow
from fastagency.ui.console import ConsoleUI

NATS = {
    "nats_url": os.environ.get("NATS_URL", "nats://localhost:4222"),
    "user": os.environ.get("FASTAGENCY_NATS_USER", "fastagency"),
    "password": os.environ.get("FASTAGENCY_NATS_PASSWORD", "fastagency_nats_password"),
}


def workflows(stand_in: bool) -> Workflow:
    wf = Workflow()

    @wf.register(name="echo", description="Asks once and returns the answer")
    def echo(ui: UI, params: dict[str, Any]) -> str:
        answer = ui.text_input(sender="Workflow", recipient="User", prompt="What should I echo?")
        return f"echo: {answer}"

    def everything(ui: UI, params: dict[str, Any]) -> str:
        ui.text_message(sender="Alice", recipient="Bob", body="hello, živjo 😀\nsecond line")
        ui.text_message(body=None)
        name = ui.text_input(sender="Alice", recipient="User", prompt="name?", suggestions=["Ann", "Ben"])
        secret = ui.text_input(sender="Alice", recipient="User", prompt="secret?", password=True)
        one = ui.multiple_choice(sender="Alice", recipient="User", prompt="one of?", choices=["x", "y", "z"], default="y")
        many = ui.multiple_choice(sender="Alice", recipient="User", prompt="many of?", choices=["x", "y", "z"], single=False)
        ui.system_message(sender="Sys", recipient="User", message={"heading": "H", "nested": {"k": [1, 2.5, None, True]}})
        ui.suggested_function_call(sender="Agent", recipient="Exec", function_name="f", call_id="call_1", arguments={"a": [1, 2]})
        ui.function_call_execution(sender="Exec", recipient="Agent", function_name="f", call_id="call_1", retval={"ok": True})
        ui.error(sender="Alice", recipient="User", short="short", long="long\nsecond line")
        ui.keep_alive()
        ui.text_message(sender="Alice", recipient="Bob", uuid="my-own-uuid", auto_reply=True, body="a uuid of its own")
        return f"answers: {name} | {secret} | {one} | {many}"

    wf.register(name="everything", description="Every UI call once")(everything)

    @wf.register(name="boom", description="Raises after one message")
    def boom(ui: UI, params: dict[str, Any]) -> str:
        ui.text_message(sender="Alice", recipient="Bob", body="about to raise")
        raise ValueError("boom happened")

    if stand_in:
        # For trying the harness itself without the Rust worker: the names of its workflows, and as much talk.
        wf.register(name="tour", description="Every question and message once")(everything)

        @wf.register(name="simple_learning", description="Student and teacher learning chat")
        def simple_learning(ui: UI, params: dict[str, Any]) -> str:
            subject = ui.text_input(sender="Workflow", recipient="User", prompt="What subject you would like to explore?")
            for sender, recipient in [("Student_Agent", "Teacher_Agent"), ("Teacher_Agent", "Student_Agent")] * 2:
                ui.text_message(sender=sender, recipient=recipient, body=f"{sender} on {subject}")
            return f"summary of {subject}"

    return wf


def main() -> None:
    parser = argparse.ArgumentParser()
    role = parser.add_subparsers(dest="role", required=True)
    for name in ("worker", "gateway"):
        tier = role.add_parser(name)
        tier.add_argument("--port", type=int, required=True)
        tier.add_argument("--stand-in", action="store_true")
        tier.add_argument("--page", type=Path)
    console = role.add_parser("console")
    console.add_argument("url")
    console.add_argument("workflow")
    role.add_parser("names").add_argument("url")
    args = parser.parse_args()

    if args.role == "names":
        provider = FastAPIAdapter.create_provider(fastapi_url=args.url)
        print(json.dumps({name: provider.get_description(name) for name in provider.names}))
        return
    if args.role == "console":
        agency = FastAgency(provider=FastAPIAdapter.create_provider(fastapi_url=args.url), ui=ConsoleUI())
        agency.start(import_string="", name=args.workflow, params={})
        return

    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse

    if args.role == "worker":
        wf = workflows(args.stand_in)
        adapter = NatsAdapter(provider=wf, **NATS)
        app = FastAPI(lifespan=adapter.lifespan)
    else:
        wf = NatsAdapter.create_provider(**NATS)
        app = FastAPI()
        app.include_router(FastAPIAdapter(provider=wf).router)

    @app.get("/")
    def front() -> Any:
        if args.page:
            return HTMLResponse(args.page.read_text())
        return {"Workflows": {name: wf.get_description(name) for name in wf.names}}

    uvicorn.run(app, host="127.0.0.1", port=args.port)


main()
