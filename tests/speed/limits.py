"""What one caller can take of memory and disk, and what another user notices of it. Run by scripts/limits.sh."""

import base64
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid

from tiers import BINARY, ECHO, Tiers, free_port, memory

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
# Connections that an attack has at once.
MOST = 400
# Another user's requests: p99 may double, and up to here nobody notices.
UNNOTICED_MS = 50
MOST_MEMORY_MB = 512


def connection(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=5)
    made.settimeout(5)
    return made


def send(to: socket.socket, data: bytes) -> bool:
    try:
        to.sendall(data)
        return True
    except OSError:
        return False


def frame(text: bytes) -> bytes:
    """A masked text frame; the mask is of zeros."""
    size = len(text)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big") if size < 65536 else b"\xff" + size.to_bytes(8, "big")
    return b"\x81" + length + b"\0\0\0\0" + text


class Attack:
    """One caller that takes what it gets. `again` is called until the time is over; what it opens stays open."""

    def __init__(self, port: int, key: str):
        self.port, self.key, self.held = port, key, []

    def request(self, head: str) -> bytes:
        return f"{head}\r\nhost: 127.0.0.1:{self.port}\r\nauthorization: Bearer {self.key}\r\n".encode()

    def hold(self, opened: socket.socket) -> None:
        self.held.append(opened)
        if len(self.held) > MOST:
            self.held.pop(0).close()

    def frames(self) -> None:
        """Large frames before a question."""
        opened = connection(self.port)
        nonce = base64.b64encode(os.urandom(16)).decode()
        send(opened, self.request("GET /fastagency/ws HTTP/1.1") + b"connection: upgrade\r\nupgrade: websocket\r\n"
             b"sec-websocket-version: 13\r\nsec-websocket-key: " + nonce.encode() + b"\r\n\r\n")
        with contextlib.suppress(OSError):
            opened.recv(4096)
        first = {"workflow_uuid": str(uuid.uuid4()), "name": "echo", "params": {}}
        send(opened, frame(json.dumps(first).encode()))
        for _ in range(16):
            if not send(opened, frame(b"x" * 1_500_000)):
                break
        self.hold(opened)

    def headers(self) -> None:
        """Headers that never end."""
        opened = connection(self.port)
        send(opened, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-filled: " + b"x" * 200_000)
        self.hold(opened)

    def bodies(self) -> None:
        """Bodies that never end."""
        opened = connection(self.port)
        head = self.request("POST /api/runs HTTP/1.1") + b"content-type: application/json\r\ncontent-length: 2000000\r\n\r\n"
        send(opened, head + b"{" + b" " * 1_900_000)
        self.hold(opened)

    def starts(self) -> None:
        """Large starts, one after the other."""
        body = json.dumps({"workflow": "echo", "params": {"filled": "x" * 880_000}}).encode()
        call = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/runs", body, {
            "content-type": "application/json", "authorization": f"Bearer {self.key}"})
        try:
            urllib.request.urlopen(call, timeout=30).read()
        except urllib.error.HTTPError as refused:
            refused.read()

    def streams(self) -> None:
        """Streams of events that nobody reads."""
        opened = connection(self.port)
        send(opened, self.request("GET /api/runs/" + self.run() + "/events HTTP/1.1") + b"\r\n")
        self.hold(opened)

    def run(self) -> str:
        """A run whose events are large."""
        if not hasattr(self, "large"):
            body = json.dumps({"workflow": "echo", "params": {"filled": "x" * 880_000}}).encode()
            call = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/runs", body, {
                "content-type": "application/json", "authorization": f"Bearer {self.key}"})
            with urllib.request.urlopen(call, timeout=30) as answer:
                self.large = json.load(answer)["id"]
        return self.large


def bystander(port: int, key: str, seconds: float) -> list[float]:
    """How long another user's requests take, in ms."""
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        for path, body in (("/api/runs?limit=5", None), ("/api/runs", b'{"workflow": "echo"}')):
            call = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {
                "content-type": "application/json", "authorization": f"Bearer {key}"})
            begun = time.monotonic()
            urllib.request.urlopen(call, timeout=60).read()
            took.append((time.monotonic() - begun) * 1000)
        time.sleep(0.05)
    return sorted(took)


def p99(sorted_times: list[float]) -> float:
    return sorted_times[min(len(sorted_times) - 1, int(len(sorted_times) * 0.99))]


def disk(folder: pathlib.Path) -> float:
    """In MB."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def key_of(folder: pathlib.Path, user: str) -> str:
    made = subprocess.run([BINARY, "key", "add", user, "--user", user], cwd=folder, capture_output=True, text=True, check=True)
    return next(word for word in (made.stdout + made.stderr).split() if word.startswith("fak_"))


def tried(name: str) -> bool:
    """Whether one attack stays within the limits."""
    with tempfile.TemporaryDirectory() as folder, Tiers(pathlib.Path(folder)) as tiers:
        tiers.project(None, ECHO, "auth: { mode: api_key, file: access.yaml }\n")
        alice, bob = (key_of(tiers.folder, user) for user in ("alice", "bob"))
        port = free_port()
        data = tiers.folder / "data"
        house = tiers.spawn("all", BINARY, "all", "--port", str(port), "--ui-port", str(free_port()), "--data-dir", str(data))
        tiers.served(port, bob)
        before = bystander(port, bob, min(SECONDS, 10))
        memory_before, disk_before = memory(house), disk(data)
        attack, over = Attack(port, alice), threading.Event()

        def go_on() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    getattr(attack, name)()
                # What is tried is what can be held, not how many processors the attacker has.
                time.sleep(0.01)

        attacker = threading.Thread(target=go_on, daemon=True)
        most = 0.0

        def watch() -> None:
            nonlocal most
            while not over.wait(0.2):
                most = max(most, memory(house))

        watcher = threading.Thread(target=watch, daemon=True)
        attacker.start()
        watcher.start()
        meanwhile = bystander(port, bob, SECONDS)
        over.set()
        attacker.join(60)
        watcher.join()
        grown, written = most - memory_before, disk(data) - disk_before
        for opened in attack.held:
            opened.close()
        holds = grown <= MOST_MEMORY_MB and p99(meanwhile) <= max(2 * p99(before), UNNOTICED_MS)
        print(f"{name:8} memory {memory_before:.0f} + {grown:.0f} MB (now {memory(house):.0f}), disk + {written:.0f} MB in {SECONDS} s, "
              f"another's p99 {p99(before):.1f} ms, then {p99(meanwhile):.1f} ms{'' if holds else '  <- too much'}", flush=True)
        return holds


ATTACKS = sys.argv[2:] or ["frames", "headers", "bodies", "starts", "streams"]
sys.exit(0 if all([tried(name) for name in ATTACKS]) else 1)
