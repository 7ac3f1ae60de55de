"""Calls the tools of a specification as a model does, and keeps what arrives at the API.

A server stands for both, the model and the API. `fastagency run` asks the model once for each agent; the reply has all calls of
this agent's tools. The API answers each request with its number, so the results, which the model is sent next, say which request
each call made. An agent has as many tools as there is room for their calls in one reply."""

import dataclasses
import json
import pathlib
import shutil
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from arguments import ToolArguments
from cases import MadeCase
from wire import Difference, WireRequest

# A model may ask for no more calls in one reply (docs/reference/limits.md).
MOST_CALLS = 256
BASE_PATH = "/base/v1"
MODEL_PATH = "/model"
# Headers that no parameter says.
OWN_HEADERS = {"accept", "authorization", "content-length", "host", "idempotency-key", "user-agent"}
# What all security schemes are given; Schemathesis makes no credentials. With a colon it is also a login of `basic`.
CREDENTIAL = "me:sesame-0815"
# Parameters of these names are ignored (OpenAPI 3.0.3, Parameter Object).
IGNORED_HEADERS = {"accept", "content-type", "authorization"}
METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")


@dataclasses.dataclass
class ToolCall:
    """A call of a tool, and what came of it: the request that arrived, or what the model is told instead."""

    tool: dict
    arguments: dict
    case: MadeCase
    # Places of the case that no argument leads to.
    left_out: set[str]
    request: WireRequest | None = None
    refusal: str | None = None

    @classmethod
    def of_case(cls, tool: dict, arguments: ToolArguments, case: MadeCase) -> "ToolCall":
        given, left_out = arguments.of_case(case)
        return cls(tool, given, case, left_out)

    @property
    def operation(self):
        return self.case.case.operation

    def differences(self) -> list[Difference]:
        """In what the request that arrived differs from that of Schemathesis."""
        if self.request is None:
            return [Difference("refused", self.refusal or "there was no result", None)]
        found = []
        media_type = self.case.media_type
        if self.request.media_type in (body.media_type for body in self.operation.body):
            # Of several media types each takes its own. The bodies are compared all the same.
            if self.request.media_type != media_type:
                found.append(Difference("media_type", self.request.media_type, media_type))
            media_type = self.request.media_type
        prepared = self.case.request(f"http://127.0.0.1:1{BASE_PATH}", media_type)
        body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body or b""
        theirs = WireRequest.read(prepared.method, prepared.path_url, dict(prepared.headers), body)
        declared = {parameter.name.lower() for parameter in self.operation.headers} - IGNORED_HEADERS
        ours = self.request.without(CREDENTIAL)
        return found + ours.differences(theirs, declared | ours.headers.keys() - OWN_HEADERS)


class Server(ThreadingHTTPServer):
    """The model and the API."""

    request_queue_size = MOST_CALLS
    daemon_threads = True

    def __init__(self, calls_of: Callable[[dict], list[ToolCall]]):
        self.calls_of = calls_of
        self.calls: dict[str, ToolCall] = {}
        self.requests: list[WireRequest] = []
        self.lock = threading.Lock()
        self.failures: list[BaseException] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def server_bind(self):
        # The usual one asks for the name of the machine.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def keep(self, request: WireRequest) -> dict:
        with self.lock:
            self.requests.append(request)
            return {"request": len(self.requests) - 1}

    def reply(self, request: dict) -> dict:
        """What the model says: the calls of all offered tools, and when it has their results, that it is done."""
        results = [message for message in request["messages"] if message["role"] == "tool"]
        if not results:
            with self.lock:
                return {"content": None, "tool_calls": [self.told(call) for call in self.made(request["tools"])]}
        for result in results:
            self.note(self.calls[result["tool_call_id"]], result["content"])
        return {"content": "Done."}

    def made(self, tools: list[dict]) -> list[ToolCall]:
        return [call for tool in tools for call in self.calls_of(tool["function"])]

    def told(self, call: ToolCall) -> dict:
        name = f"call_{len(self.calls)}"
        self.calls[name] = call
        function = {"name": call.tool["name"], "arguments": json.dumps(call.arguments, ensure_ascii=False)}
        return {"id": name, "type": "function", "function": function}

    def note(self, call: ToolCall, result: str):
        try:
            call.request = self.requests[json.loads(result)["request"]]
        except (ValueError, TypeError):
            call.refusal = result


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith(MODEL_PATH):
            try:
                message = self.server.reply(json.loads(body))
            except BaseException as error:
                self.server.failures.append(error)
                raise
            choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
            said = {"id": "reply", "object": "chat.completion", "model": "oracle", "choices": [choice]}
        else:
            said = self.server.keep(WireRequest.read(self.command, self.path, dict(self.headers.items()), body))
        written = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

    def log_message(self, *_):
        pass


for method in METHODS:
    setattr(Handler, f"do_{method}", Handler.answer)


def project(folder: pathlib.Path, url: str, specification: pathlib.Path, schemes: list[str], groups: list[list[str]]):
    """Writes a workflow with an agent for each group of tools. What is JSON is YAML."""
    shutil.copy(specification, folder / specification.name)
    source = {"openapi": specification.name, "server": url + BASE_PATH, "security": {scheme: "secret" for scheme in schemes}}
    workflow = {
        "version": 1,
        "name": "oracle",
        "tools": {f"set_{number}": {**source, "only": names} for number, names in enumerate(groups)},
        "agents": {f"agent_{number}": {"tools": [f"set_{number}"]} for number in range(len(groups))},
        "steps": [{"agent": {"agent": f"agent_{number}", "message": "Call them."}} for number in range(len(groups))],
    }
    config = {
        "version": 1,
        "outgoing": {"allow_private": ["127.0.0.1"]},
        "secrets": {"secret": {"value": CREDENTIAL, "hosts": ["127.0.0.1"]}},
        "llms": {"default": {"provider": "compatible", "model": "oracle", "base_url": url + MODEL_PATH, "stream": False}},
    }
    (folder / "workflows").mkdir()
    (folder / "workflows/oracle.yaml").write_text(json.dumps(workflow))
    (folder / "fastagency.yaml").write_text(json.dumps(config))


def tools_of(program: str, specification: pathlib.Path) -> list[dict]:
    """The tools of a specification: name, method and path."""
    listed = subprocess.run([program, "tools", "list", "--openapi", specification, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(listed.stdout)["tools"]


def call_all(program: str, specification: pathlib.Path, schemes, groups, calls_of) -> list[ToolCall]:
    """Makes the calls that `calls_of` gives for each tool as it is offered; returns all of them."""
    server = Server(calls_of)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            project(pathlib.Path(folder), server.url, specification, schemes, groups)
            command = [program, "run", "oracle", "--json", "--data-dir", "data"]
            run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    if server.failures:
        raise server.failures[0]
    if run.returncode != 0:
        raise SystemExit(f"{specification.name}: the run has failed:\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}")
    return list(server.calls.values())
