"""What the measurements start and end: NATS servers, our tiers, and the instant model, each on a port of its own."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ["FASTAGENCY_BIN"]
# The workflow that most measurements have their conversations with.
ECHO = {"echo": (ROOT / "workflows/echo.yaml").read_text()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url: str, key: str | None = None) -> dict:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def call(url: str, body: dict | None = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
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


def memory(process: subprocess.Popen, what: str = "VmRSS") -> float:
    """In MB."""
    lines = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(what + ":"))) / 1024


def llms(model_url: str, more: str = "") -> str:
    """The settings of a project whose agents ask the instant model."""
    return f"llms: {{ default: {{ provider: compatible, model: instant, base_url: '{model_url}'{more} }} }}\n"


def bench(gateway: str, conversations: int, clients: int, *more: str, workflow: str = "echo", key: str | None = None) -> dict:
    """The report of `fastagency bench`; it must not have met an error."""
    command = [BINARY, "bench", "--gateway-url", gateway, "--workflow", workflow, "-n", str(conversations), "-j", str(clients), "--json", *more]
    environment = {**os.environ, **({"FASTAGENCY_KEY": key} if key else {})}
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere, env=environment)
    if not done.stdout:
        raise SystemExit(done.stderr)
    report = json.loads(done.stdout)["conversations"]
    if report["errors"] or report["crossed"] or report["completed"] != conversations:
        raise SystemExit(f"{report}\n{done.stderr}")
    return report


class House(NamedTuple):
    """A worker and a gateway at work."""

    url: str
    worker: subprocess.Popen
    gateway: subprocess.Popen
    # Where they show their metrics, if they do.
    metrics: tuple[str, ...] = ()


class Tiers(contextlib.ExitStack):
    """Processes that are ended together, in the order opposite to their start."""

    def __init__(self, folder: pathlib.Path):
        super().__init__()
        folder.mkdir(exist_ok=True)
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
    def end(*children: subprocess.Popen) -> None:
        for child in children:
            child.send_signal(signal.SIGTERM)
        for child in children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()

    def model(self, *arguments: str) -> str:
        """The instant model; returns its base_url."""
        child = self.spawn("model", str(ROOT / "target/instant_model"), *(arguments or ("0",)), stdout=subprocess.PIPE)
        return child.stdout.readline().strip()

    def nats(self, sync_interval: str = "1s") -> str:
        """A NATS server with the settings that we ship, but for how often it forces to the disk; returns its URL. `server` is its process,
        `monitor` where it tells of itself."""
        port, monitor = free_port(), free_port()
        self.monitor = f"http://127.0.0.1:{monitor}"
        settings = (ROOT / "nats-server.conf").read_text()
        ours = {
            "listen: 127.0.0.1:4222": f"listen: 127.0.0.1:{port}",
            "http: 127.0.0.1:8222": f"http: 127.0.0.1:{monitor}",
            "\n  sync_interval: 1s": f"\n  sync_interval: {sync_interval}",
        }
        for line, mine in ours.items():
            assert line in settings, f"nats-server.conf has no {line!r}"
            settings = settings.replace(line, mine, 1)
        begin, rest = settings.split("websocket {", 1)
        settings = begin + rest.split("}", 1)[1]
        (self.folder / "nats.conf").write_text(settings)
        self.server = self.spawn("nats", os.environ["NATS_SERVER"], "-c", "nats.conf",
                   env={"FASTAGENCY_NATS_PASSWORD": "fastagency_nats_password"})
        until(lambda: socket.create_connection(("127.0.0.1", port)).close())
        return f"nats://127.0.0.1:{port}"

    def project(self, nats_url: str | None, workflows: dict[str, str], settings: str = "") -> None:
        (self.folder / "workflows").mkdir(exist_ok=True)
        nats = f"nats: {{ url: '{nats_url}', user: fastagency, password: fastagency_nats_password }}\n" if nats_url else ""
        (self.folder / "fastagency.yaml").write_text(f"version: 1\nname: speed\n{nats}{settings}")
        for name, text in workflows.items():
            (self.folder / f"workflows/{name}.yaml").write_text(text)

    def house(self, program: str = BINARY, show_metrics: bool = False, key: str | None = None) -> House:
        """One worker and one gateway, which serve; `key`: of a caller, if the gateway asks for one."""
        port = free_port()
        metrics = tuple(f"127.0.0.1:{free_port()}" for _ in range(2)) if show_metrics else ()
        flags = [("--metrics-listen", place) for place in metrics] or [(), ()]
        worker = self.spawn("worker", program, "worker", *flags[0])
        gateway = self.spawn("gateway", program, "gateway", "--port", str(port), *flags[1])
        return House(self.served(port, key), worker, gateway, tuple(f"http://{place}/metrics" for place in metrics))

    def one_process(self) -> str:
        """`fastagency all`, with its own broker unless the project names a NATS server; returns the gateway's URL."""
        port = free_port()
        self.spawn("all", BINARY, "all", "--port", str(port), "--ui-port", str(free_port()), "--data-dir", str(self.folder / "data"))
        return self.served(port)

    @staticmethod
    def served(port: int, key: str | None = None) -> str:
        url = f"http://127.0.0.1:{port}"

        def served():
            workflows = get(f"{url}/api/workflows", key)["workflows"]
            if not workflows or not all(one["available"] for one in workflows):
                raise OSError("no worker yet")

        until(served)
        return url
