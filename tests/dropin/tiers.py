"""Starts the tiers, each as a process of its own on a free port, and ends those processes and no others."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEER = Path(__file__).with_name("peer.py")
PASSWORD = "dropin-password"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Failed(Exception):
    """Something that should have happened did not."""


class Tier:
    def __init__(self, name: str, argv: list[str], folder: Path, env: dict[str, str]):
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **env}
            )

    def ready(self, url: str, seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise Failed(f"{self.name} was not ready at {url} within {seconds:.0f} s:\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(4)
        except subprocess.TimeoutExpired:  # a Python gateway with an open conversation does not end otherwise
            self.process.kill()
            self.process.wait()


# Whether each tier has a login of its own at the NATS server, and FastAgency's tiers an account.
EACH = os.environ.get("DROPIN_LOGINS") == "each"


class Tiers:
    """`with Tiers(folder) as tiers:`, then the tiers in the order in which they need each other."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.running: list[Tier] = []
        self.nats_url = ""

    def __enter__(self) -> "Tiers":
        return self

    def __exit__(self, *_: object) -> None:
        for tier in reversed(self.running):
            tier.stop()

    def start(self, name: str, *argv: str) -> Tier:
        env = {"FASTAGENCY_NATS_PASSWORD": PASSWORD, "FASTAGENCY_NATS_USER": "python" if EACH else "fastagency", "NATS_URL": self.nats_url, "PYTHONUNBUFFERED": "1"}
        tier = Tier(name, list(argv), self.folder, env)
        self.running.append(tier)
        return tier

    def nats(self, mute: bool = False) -> None:
        """The server with nats-server.conf as shipped, but for its ports and its folder; with a second user, who may not tell
        FastAgency's workers any answer, where one is wanted."""
        if EACH:
            return self.nats_with_logins()
        conf = (ROOT / "nats-server.conf").read_text()
        ports = {port: free_port() for port in ("4222", "9222", "8222")}
        for port, free in ports.items():
            conf = conf.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
        conf = re.sub(r"store_dir:.*", f'store_dir: "{self.folder}/nats"', conf)
        if mute:
            users = f'{{ user: fastagency, password: "{PASSWORD}" }}, {{ user: mute, password: "{PASSWORD}", permissions: {{ publish: {{ deny: "chat.server.messages.>" }} }} }}'
            conf, times = re.subn(r"(?m)^authorization \{[^}]*\}", lambda _: f"authorization {{ users: [ {users} ] }}", conf)
            assert times == 1, "nats-server.conf has one user"
        path = self.folder / "nats.conf"
        path.write_text(conf)
        self.nats_url = f"nats://127.0.0.1:{ports['4222']}"
        self.start("nats", os.environ["NATS_SERVER"], "-c", str(path)).ready(f"http://127.0.0.1:{ports['8222']}/healthz")

    def nats_with_logins(self) -> None:
        """The server with nats-server.tiers.conf: a login for each tier, and an account of their own for FastAgency's."""
        conf = (ROOT / "nats-server.tiers.conf").read_text()
        port, monitor = free_port(), free_port()
        conf = conf.replace("listen: 127.0.0.1:4222", f"listen: 127.0.0.1:{port}\nhttp: 127.0.0.1:{monitor}")
        conf = re.sub(r"store_dir:.*", f'store_dir: "{self.folder}/nats"', conf)
        conf = re.sub(r"password: \$\w+", f'password: "{PASSWORD}"', conf)
        path = self.folder / "nats.conf"
        path.write_text(conf)
        self.nats_url = f"nats://127.0.0.1:{port}"
        self.start("nats", os.environ["NATS_SERVER"], "-c", str(path)).ready(f"http://127.0.0.1:{monitor}/healthz")
        operator = self.folder / "operator.yaml"
        operator.write_text(f"version: 1\nnats: {{ {self.login('operator', 'python')} }}\n")
        subprocess.run([ours(), "nats", "setup", "-c", str(operator)], check=True, stdout=subprocess.DEVNULL)

    def login(self, user: str, python: str) -> str:
        return f"url: '{self.nats_url}', user: {user}, password: {PASSWORD}, python: {{ user: {python}, password: {PASSWORD} }}"

    def config(self, static_dir: Path | None, user: str = "fastagency", more: str = "", tier: str = "") -> str:
        single = f"url: '${{NATS_URL}}', user: {user}, password: '${{FASTAGENCY_NATS_PASSWORD}}'"
        path = self.folder / f"fastagency-{user}{tier}{'-page' if static_dir else ''}{'-more' if more else ''}.yaml"
        front = f"gateway: {{ static_dir: '{static_dir}' }}\n" if static_dir else ""
        workflows = self.folder / "workflows"
        workflows.mkdir(exist_ok=True)
        for source in [*(ROOT / "workflows").glob("*.yaml"), PEER.with_name("agents.yaml")]:
            shutil.copy(source, workflows)
        path.write_text(
            "version: 1\nname: dropin\n"
            f"nats: {{ {self.login(tier, f'{tier}-python') if EACH else single} }}\n"
            f"workflows: '{workflows}'\n"
            # never asked: the worker runs with --mock-llm
            "llms: { default: { provider: openai, model: gpt-4o-mini, api_key: none } }\n" + more + front
        )
        return str(path)

    def worker(self, kind: str, stand_in: bool = False, more: str = "") -> None:
        if kind == "ours":
            self.start("worker", ours(), "worker", "-c", self.config(None, more=more, tier="worker"), "--nats-url", self.nats_url, "--mock-llm")
            return  # it listens nowhere: its workflows turn up in the gateway's list
        port = free_port()
        extra = ["--stand-in"] if stand_in else []
        self.start("worker", sys.executable, str(PEER), "worker", "--port", str(port), *extra).ready(f"http://127.0.0.1:{port}/")

    def gateway(self, kind: str, page: Path | None = None, user: str = "fastagency") -> str:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        if kind == "ours":
            static_dir = None
            if page:
                static_dir = self.folder / "static"
                static_dir.mkdir(exist_ok=True)
                (static_dir / "index.html").write_text(page.read_text())
            self.start(
                f"gateway-{user}", ours(), "gateway", "-c", self.config(static_dir, user, tier="gateway"), "--nats-url", self.nats_url, "--port", str(port)
            ).ready(f"{url}/readyz")
        else:
            extra = ["--page", str(page)] if page else []
            self.start("gateway", sys.executable, str(PEER), "gateway", "--port", str(port), *extra).ready(f"{url}/openapi.json")
        return url

    def logs(self) -> str:
        return "\n".join(f"--- {tier.name}\n{tier.tail()}" for tier in self.running if tier.name != "nats")


def ours() -> str:
    return os.environ["FASTAGENCY_BIN"]
