"""What the measurements start and end: a NATS server, our tiers, and the instant model, each on a port of its own."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ["FASTAGENCY_BIN"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def until(what, patience: float = 20):
    """Waits until something returns without an error."""
    end = time.monotonic() + patience
    while True:
        try:
            return what()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


class Tiers(contextlib.ExitStack):
    """Processes that are ended together, in the order opposite to their start."""

    def __init__(self, folder: pathlib.Path):
        super().__init__()
        self.folder = folder

    def spawn(self, name: str, *command: str, env: dict | None = None, **more) -> subprocess.Popen:
        log = self.enter_context(open(self.folder / f"{name}.log", "w"))
        child = subprocess.Popen(
            command, cwd=self.folder, stderr=log, env={**os.environ, **(env or {})}, text=True,
            stdout=more.pop("stdout", log), **more,
        )
        self.callback(self.end, child)
        return child

    @staticmethod
    def end(child: subprocess.Popen) -> None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()

    def model(self, *arguments: str) -> str:
        """The instant model; returns its base_url."""
        child = self.spawn("model", str(ROOT / "target/instant_model"), *(arguments or ("0",)), stdout=subprocess.PIPE)
        return child.stdout.readline().strip()

    def nats(self) -> str:
        """A NATS server with the settings that we ship; returns its URL."""
        port = free_port()
        settings = (ROOT / "nats-server.conf").read_text()
        for line, mine in (("listen: 127.0.0.1:4222", f"listen: 127.0.0.1:{port}"), ("http: 127.0.0.1:8222", "")):
            assert line in settings, f"nats-server.conf has no {line!r}"
            settings = settings.replace(line, mine, 1)
        begin, rest = settings.split("websocket {", 1)
        settings = begin + rest.split("}", 1)[1]
        (self.folder / "nats.conf").write_text(settings)
        self.spawn("nats", os.environ["NATS_SERVER"], "-c", "nats.conf",
                   env={"FASTAGENCY_NATS_PASSWORD": "fastagency_nats_password"})
        until(lambda: socket.create_connection(("127.0.0.1", port)).close())
        return f"nats://127.0.0.1:{port}"

    def project(self, nats_url: str | None, model_url: str, workflows: dict[str, str], llm: str = "", more: str = "") -> None:
        (self.folder / "workflows").mkdir(exist_ok=True)
        nats = f"nats: {{ url: '{nats_url}', user: fastagency, password: fastagency_nats_password }}\n" if nats_url else ""
        (self.folder / "fastagency.yaml").write_text(
            f"version: 1\nname: speed\n{nats}"
            f"llms: {{ default: {{ provider: compatible, model: instant, base_url: '{model_url}'{llm} }} }}\n{more}\n"
        )
        for name, text in workflows.items():
            (self.folder / f"workflows/{name}.yaml").write_text(text)

    def house(self) -> tuple[str, subprocess.Popen, subprocess.Popen]:
        """One worker and one gateway; returns the gateway's URL and both processes."""
        port = free_port()
        worker = self.spawn("worker", BINARY, "worker")
        gateway = self.spawn("gateway", BINARY, "gateway", "--port", str(port))
        return self.served(port), worker, gateway

    def one_process(self) -> str:
        """`fastagency all`, with its own broker unless the project names a NATS server; returns the gateway's URL."""
        port = free_port()
        self.spawn("all", BINARY, "all", "--port", str(port), "--ui-port", str(free_port()), "--data-dir", str(self.folder / "data"))
        return self.served(port)

    @staticmethod
    def served(port: int) -> str:
        url = f"http://127.0.0.1:{port}"

        def served():
            workflows = get(f"{url}/api/workflows")["workflows"]
            if not workflows or not all(one["available"] for one in workflows):
                raise OSError("no worker yet")

        until(served)
        return url


def call(url: str, body: dict | None = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)
