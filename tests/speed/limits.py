"""What one caller can take of memory and disk, and what another user notices of it. Run by scripts/limits.sh."""

import base64
import contextlib
import http.server
import json
import multiprocessing
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
from typing import NamedTuple

from tiers import BINARY, ECHO, Tiers, free_port, llms, memory

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
# Connections that an attack has at once.
MOST = 400
# Another user's p99 at most doubles. Below this it may do more: on a quiet machine a request takes a millisecond or two, and twice
# as much is what the attacker takes of the same processors, which no limit of the gateway can give back. Nobody notices 10 ms.
FLOOR_MS = 10
# What docs/reference/limits.md names, in MiB: what a user's large bodies and frames hold together, with 64 KiB for each connection, and what
# the allocator keeps besides; histories that nobody takes; model replies at once.
UPLOADS_MIB = 128
HISTORIES_MIB = 256 + 64
REPLIES_AT_ONCE = 20
REPLY_MIB = 4
# The stream, the reply, its record, the message that says it, and the pieces in which both are stored.
REPLIES_MIB = REPLIES_AT_ONCE * REPLY_MIB * 5 + 64
# On the disk: what the other user stores meanwhile and a write-ahead log that is quiet; a busy one; `bytes_per_hour`.
OTHERS_MIB = 80
BUSY_LOG_MIB = 272
BYTES_PER_HOUR_MIB = 256
# Runs hold what they were started with until they are parked.
PARAMETERS_MIB = BYTES_PER_HOUR_MIB * 1.5 + 64


class Limit(NamedTuple):
    """What an attack may take, in MiB."""

    memory: float = UPLOADS_MIB
    disk: float = OTHERS_MIB


LIMITS = {
    "frames": Limit(),
    # Each of its sockets starts a run and answers its question.
    "early": Limit(disk=BYTES_PER_HOUR_MIB + BUSY_LOG_MIB),
    "headers": Limit(),
    "halves": Limit(),
    "silent_ui": Limit(),
    "headers_ui": Limit(),
    "halves_ui": Limit(),
    "bodies": Limit(),
    "chunked": Limit(),
    "starts": Limit(memory=PARAMETERS_MIB, disk=BYTES_PER_HOUR_MIB + BUSY_LOG_MIB),
    "streams": Limit(memory=HISTORIES_MIB),
    # Each reply is in its run's log twice: as the reply, and as what was said.
    "replies": Limit(memory=REPLIES_MIB, disk=4 * REPLIES_AT_ONCE * REPLY_MIB + BUSY_LOG_MIB),
}
ASK = """
version: 1
name: ask
agents: { a: { system_message: You answer. } }
steps:
  - agent: { agent: a, message: Say something long. }
  - return: done
"""


class SlowModel(http.server.BaseHTTPRequestHandler):
    """A model that takes half a minute for a reply as long as it may be."""

    protocol_version = "HTTP/1.1"
    pieces, size, pause = 60, 65_000, 0.5

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(self.pieces):
                self.wfile.write(self.event({"content": "word " * (self.size // 5)}, None))
                time.sleep(self.pause)
            self.wfile.write(self.event({}, "stop") + b"data: [DONE]\n\n")
        self.close_connection = True

    @staticmethod
    def event(delta: dict, why: str | None) -> bytes:
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "slow",
                 "choices": [{"index": 0, "delta": delta, "finish_reason": why}]}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    def log_message(self, *_) -> None:
        pass


def slow_model() -> str:
    """Its base_url."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowModel)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


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

    def __init__(self, port: int, ui_port: int, key: str):
        self.port, self.ui_port, self.key, self.held = port, ui_port, key, []
        self.begun: list[float] = []

    def request(self, head: str) -> bytes:
        return f"{head}\r\nhost: 127.0.0.1:{self.port}\r\nauthorization: Bearer {self.key}\r\n".encode()

    def hold(self, opened: socket.socket) -> None:
        self.held.append(opened)
        if len(self.held) > MOST:
            self.held.pop(0).close()

    def socket(self) -> socket.socket:
        """A socket of FastAgency's, in which a run begins."""
        opened = connection(self.port)
        nonce = base64.b64encode(os.urandom(16)).decode()
        send(opened, self.request("GET /fastagency/ws HTTP/1.1") + b"connection: upgrade\r\nupgrade: websocket\r\n"
             b"sec-websocket-version: 13\r\nsec-websocket-key: " + nonce.encode() + b"\r\n\r\n")
        with contextlib.suppress(OSError):
            opened.recv(4096)
        first = {"workflow_uuid": str(uuid.uuid4()), "name": "echo", "params": {}}
        send(opened, frame(json.dumps(first).encode()))
        return opened

    def frames(self) -> None:
        """Large frames before a question."""
        opened = self.socket()
        for _ in range(16):
            if not send(opened, frame(b"x" * 1_500_000)):
                break
        self.hold(opened)

    def early(self) -> None:
        """As many frames before a question as a socket may have, and half of a last one."""
        opened = self.socket()
        for _ in range(15):
            send(opened, frame(b"x" * 4_000))
        send(opened, frame(b"x" * 60_000)[:-1])
        self.hold(opened)

    def headers(self, port: int | None = None) -> None:
        """Headers that never end."""
        opened = connection(port or self.port)
        send(opened, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-filled: " + b"x" * 200_000)
        self.hold(opened)

    def headers_ui(self) -> None:
        """The same at the page."""
        self.headers(self.ui_port)

    def halves(self, port: int | None = None) -> None:
        """Headers within the limit that are half sent."""
        opened = connection(port or self.port)
        send(opened, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-filled: " + b"x" * 30_000)
        self.hold(opened)

    def halves_ui(self) -> None:
        """The same at the page."""
        self.halves(self.ui_port)

    def silent_ui(self) -> None:
        """Connections to the page on which nothing is said."""
        self.hold(connection(self.ui_port))

    def bodies(self) -> None:
        """Bodies that never end."""
        opened = connection(self.port)
        head = self.request("POST /api/runs HTTP/1.1") + b"content-type: application/json\r\ncontent-length: 2000000\r\n\r\n"
        send(opened, head + b"{" + b" " * 1_900_000)
        self.hold(opened)

    def chunked(self) -> None:
        """Bodies whose length nobody says, and which never end."""
        opened = connection(self.port)
        head = self.request("POST /api/runs HTTP/1.1") + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        send(opened, head + b"1\r\n{\r\n")
        for _ in range(29):
            if not send(opened, b"10000\r\n" + b" " * 0x10000 + b"\r\n"):
                break
        self.hold(opened)

    def replies(self) -> None:
        """Runs whose model takes long for a large reply: as many at once as `open_runs` would let a user have, which is not set,
        as the other user has more runs."""
        self.begun = [at for at in self.begun if time.monotonic() - at < SlowModel.pieces * SlowModel.pause]
        if len(self.begun) < REPLIES_AT_ONCE:
            self.start({"workflow": "ask"})
            self.begun.append(time.monotonic())

    def start(self, body: dict) -> dict:
        call = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/runs", json.dumps(body).encode(), {
            "content-type": "application/json", "authorization": f"Bearer {self.key}"})
        with urllib.request.urlopen(call, timeout=30) as answer:
            return json.load(answer)

    def starts(self) -> None:
        """Large starts, one after the other."""
        with contextlib.suppress(urllib.error.HTTPError):
            self.start({"workflow": "echo", "params": {"filled": "x" * 880_000}})

    def streams(self) -> None:
        """Streams of events that nobody reads."""
        opened = connection(self.port)
        send(opened, self.request("GET /api/runs/" + self.run() + "/events HTTP/1.1") + b"\r\n")
        self.hold(opened)

    def run(self) -> str:
        """A run whose events are large."""
        if not hasattr(self, "large"):
            self.large = self.start({"workflow": "echo", "params": {"filled": "x" * 880_000}})["id"]
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
    """In MiB."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / (1 << 20)


def key_of(folder: pathlib.Path, user: str) -> str:
    made = subprocess.run([BINARY, "key", "add", user, "--user", user], cwd=folder, capture_output=True, text=True, check=True)
    return next(word for word in (made.stdout + made.stderr).split() if word.startswith("fak_"))


def go_on(name: str, port: int, ui_port: int, key: str) -> None:
    """Attacks until the process is ended."""
    attack = Attack(port, ui_port, key)
    while True:
        with contextlib.suppress(OSError):
            getattr(attack, name)()
        # What is tried is what can be held, not how many processors the attacker has.
        time.sleep(0.01)


def model_process(told: multiprocessing.Queue) -> None:
    """The slow model, and where it listens."""
    told.put(slow_model())
    threading.Event().wait()


def tried(name: str) -> bool:
    """Whether one attack stays within the limits."""
    with tempfile.TemporaryDirectory() as folder, Tiers(pathlib.Path(folder)) as tiers:
        settings = "auth: { mode: api_key, file: access.yaml }\n"
        if name == "replies":
            told: multiprocessing.Queue = multiprocessing.Queue()
            multiprocessing.Process(target=model_process, args=(told,), daemon=True).start()
            settings += llms(told.get(timeout=30))
        tiers.project(None, {**ECHO, "ask": ASK} if name == "replies" else ECHO, settings)
        alice, bob = (key_of(tiers.folder, user) for user in ("alice", "bob"))
        port, ui_port = free_port(), free_port()
        data = tiers.folder / "data"
        house = tiers.spawn("all", BINARY, "all", "--port", str(port), "--ui-port", str(ui_port), "--data-dir", str(data))
        tiers.served(port, bob)
        before = bystander(port, bob, min(SECONDS, 10))
        memory_before, disk_before = memory(house), disk(data)
        # In a process of its own: here it would take its turns from the one that measures.
        over = threading.Event()
        attacker = multiprocessing.Process(target=go_on, args=(name, port, ui_port, alice), daemon=True)
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
        watcher.join()
        grown, written = most - memory_before, disk(data) - disk_before
        attacker.terminate()
        attacker.join(60)
        limit, fastest = LIMITS[name], max(2 * p99(before), FLOOR_MS)
        over_limit = [what for what, is_over in (
            ("memory", grown > limit.memory), ("disk", written > limit.disk), ("p99", p99(meanwhile) > fastest)) if is_over]
        print(f"{name:10} memory {memory_before:.0f} + {grown:.0f} of {limit.memory:.0f} MiB (now {memory(house):.0f}), disk + {written:.0f} of "
              f"{limit.disk:.0f} MiB in {SECONDS} s, another's p99 {p99(before):.1f} ms, then {p99(meanwhile):.1f} of {fastest:.1f} ms"
              f"{'  <- too much: ' + ', '.join(over_limit) if over_limit else ''}", flush=True)
        return not over_limit


ATTACKS = sys.argv[2:] or list(LIMITS)
sys.exit(0 if all([tried(name) for name in ATTACKS]) else 1)
