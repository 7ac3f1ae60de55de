"""Three ways to have a conversation: over the socket, through ConsoleUI, and with a page in a browser."""

import itertools
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from pathlib import Path

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tiers import PEER, Failed

# The keys of each message's content, in FastAgency's order.
CONTENT = {
    "text_message": ["body"],
    "suggested_function_call": ["function_name", "call_id", "arguments"],
    "function_call_execution": ["function_name", "call_id", "retval"],
    "text_input": ["prompt", "suggestions", "password"],
    "multiple_choice": ["prompt", "choices", "default", "single"],
    "system_message": ["message"],
    "keep_alive": [],
    "workflow_started": ["name", "description", "params"],
    "workflow_completed": ["result"],
    "error": ["short", "long"],
}
ENVELOPE = ["workflow_uuid", "sender", "recipient", "auto_reply", "uuid", "content", "type"]


def fetch(url: str, body: object = None) -> object:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def wait_for_names(url: str, wanted: set[str], seconds: float = 20) -> list[dict[str, str]]:
    """The gateway's list, once it has all that is wanted."""
    until = time.monotonic() + seconds
    while True:
        found = fetch(f"{url}/fastagency/discovery")
        if wanted <= {w["name"] for w in found}:
            return found
        if time.monotonic() > until:
            raise Failed(f"discovery lists {found}, not all of {sorted(wanted)}")
        time.sleep(0.3)


def answer_to(kind: str, prompt: str, suggestions: list[str], choices: list[str], single: bool, token: str) -> str:
    """What a person could say: the first that is offered, several where several may be, or something unmistakable."""
    if kind == "multiple_choice":
        return choices[0] if single else ",".join([choices[0], choices[-1]])
    if suggestions:
        return suggestions[0]
    if "json" in prompt.lower():  # a form, which FastAgency does not know, is asked for in words
        return json.dumps(form_answer(prompt))
    if "whole number" in prompt:
        return "42"
    return token


def form_answer(prompt: str) -> dict:
    """Something that fits each field of a form that is asked for in words: a line per field, with its type and options."""
    answer: dict = {}
    # ConsoleUI folds the lines into one, so a field ends where the next begins.
    for name, kind, rest in re.findall(r"- `(\w+)` \((\w+)[^)]*\)(.*?)(?=- `|$)", prompt, re.DOTALL):
        options = re.search(r'one of ("[^"]*")', rest)
        if options:
            answer[name] = json.loads(options[1])
        else:
            answer[name] = {"boolean": True, "integer": 1, "number": 1.5}.get(kind, "something")
    return answer


class Talk:
    """One conversation over the socket: what came, and what was answered."""

    def __init__(self, url: str, workflow: str, params: dict | None = None, seconds: float = 40):
        self.messages: list[dict] = []
        self.answers: list[str] = []
        self.after = ""
        start = {"workflow_name": workflow, "workflow_uuid": str(uuid.uuid4()), "user_id": None, "params": params or {}}
        self.init = fetch(f"{url}/fastagency/initiate_workflow", start)
        until = time.monotonic() + seconds
        with connect("ws" + url.removeprefix("http") + "/fastagency/ws", max_size=None) as socket:
            socket.send(json.dumps(self.init))
            try:
                while not self.ended():
                    message = json.loads(socket.recv(timeout=max(0.01, until - time.monotonic())))
                    self.messages.append(message)
                    content = message["content"]
                    if message["type"] in ("text_input", "multiple_choice"):
                        if len(self.answers) == 40:
                            raise Failed(f"asked without end, last: {message}")
                        # FastAPIProvider's client pings every 20 s, and hangs up where no pong comes within 20 s more.
                        if not self.answers and not socket.ping().wait(5):
                            raise Failed(f"{workflow}: the gateway answers no ping while it waits for a person")
                        token = f"token-{uuid.uuid4().hex[:12]}"
                        self.answers.append(
                            answer_to(
                                message["type"], content["prompt"] or "", content.get("suggestions", []),
                                content.get("choices", []), content.get("single", True), token,
                            )
                        )  # fmt: skip
                        socket.send(self.answers[-1])
            except TimeoutError:
                raise Failed(f"{workflow}: nothing more came, after {self.types()}") from None
            except ConnectionClosed as e:
                raise Failed(f"{workflow}: the gateway closed ({e}), after {self.types()}") from None
            try:
                self.after = f"then came {socket.recv(timeout=1)}"
            except TimeoutError:
                self.after = "open"
            except ConnectionClosed as e:
                self.after = f"closed with {e.rcvd.code if e.rcvd else 'no close frame'}"

    def ended(self) -> bool:
        return bool(self.messages) and self.messages[-1]["type"] == "workflow_completed"

    def types(self) -> list[str]:
        return [m["type"] for m in self.messages]

    def of(self, kind: str) -> list[dict]:
        return [m["content"] for m in self.messages if m["type"] == kind]

    def result(self) -> object:
        return self.messages[-1]["content"]["result"]

    def misshapen(self) -> str:
        """What differs from FastAgency's envelope; nothing: empty."""
        run = uuid.UUID(self.init["workflow_uuid"]).hex
        for m in self.messages:
            if list(m) != ENVELOPE or list(m["content"]) != CONTENT.get(m["type"]):
                return f"keys of {m}"
            if m["workflow_uuid"] != run:
                return f"workflow_uuid {m['workflow_uuid']}, not {run}"
        if self.types()[0] != "workflow_started":
            return f"the first message is {self.types()[0]}"
        uuids = [m["uuid"] for m in self.messages]
        return "" if len(uuids) == len(set(uuids)) else "a uuid came twice"


class Console:
    """One conversation through ConsoleUI over FastAPIProvider: reads its boxes, writes its stdin."""

    BOX = re.compile(r"╭─ [^\n]*?\[(\w+)\] ?─*─╮\n(.*?)\n *╰─+╯", re.S)

    def __init__(self, url: str, workflow: str, seconds: float = 60):
        self.boxes: list[tuple[str, str]] = []
        self.answers: list[str] = []
        # Without a terminal of its own getpass reads stdin too.
        process = subprocess.Popen(
            [sys.executable, "-u", "-W", "ignore", str(PEER), "console", url, workflow],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )  # fmt: skip
        chunks: queue.Queue[bytes] = queue.Queue()

        def read() -> None:
            while chunk := os.read(process.stdout.fileno(), 65536):
                chunks.put(chunk)
            chunks.put(b"")

        threading.Thread(target=read, daemon=True).start()
        output, seen, until = b"", 0, time.monotonic() + seconds
        try:
            while not self.ended():
                try:
                    chunk = chunks.get(timeout=max(0.01, until - time.monotonic()))
                except queue.Empty:
                    raise Failed(f"{workflow}: ConsoleUI says nothing more, after {self.types()}") from None
                if not chunk:
                    raise Failed(f"{workflow}: ConsoleUI ended:\n{output.decode(errors='replace')[-1500:]}")
                output += chunk
                text = output.decode(errors="ignore")
                if "Invalid choice" in text:
                    raise Failed(f"{workflow}: ConsoleUI refused the choice {self.answers[-1]!r}")
                for box in self.BOX.finditer(text, seen):
                    seen = box.end()
                    kind, body = box[1], " ".join(line.strip("│ ") for line in box[2].splitlines()).strip()
                    self.boxes.append((kind, body))
                    if kind in ("text_input", "multiple_choice"):
                        self.answers.append(self.answer(kind, body))
                        process.stdin.write((self.answers[-1] + "\n").encode())
                        process.stdin.flush()
            time.sleep(1)
            self.after = "waits on" if process.poll() is None else f"ended with {process.returncode}"
        finally:
            process.kill()
            process.wait()

    @staticmethod
    def answer(kind: str, body: str) -> str:
        token = f"token-{uuid.uuid4().hex[:12]}"
        if kind == "multiple_choice":  # ConsoleUI takes one, even where several may be chosen
            choices = re.search(r"\(choices: (.*), default: .*\)$", body)
            return choices[1].split(", ")[0]
        suggestions = re.search(r"\(suggestions: (.*)\):$", body)
        return answer_to(kind, body, suggestions[1].split(", ") if suggestions else [], [], True, token)

    def ended(self) -> bool:
        return bool(self.boxes) and self.boxes[-1][0] == "workflow_completed"

    def types(self) -> list[str]:
        return [kind for kind, _ in self.boxes]


class Browser:
    """A page of FastAgency's custom client in headless Chromium, spoken to over its debugging protocol.

    The guide's page has the address 127.0.0.1:8008 written into it: the browser takes it for the gateway's real one, so
    that the page stays as it is and the port may be any.
    """

    def __init__(self, chromium: str, gateway_port: int):
        self.folder = tempfile.TemporaryDirectory(prefix="dropin-chromium-", ignore_cleanup_errors=True)
        self.ids = itertools.count(1)
        self.events: list[dict] = []
        flags = ["--headless", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        self.process = subprocess.Popen(
            [chromium, *flags, f"--user-data-dir={self.folder.name}", "--remote-debugging-port=0",
             f"--host-resolver-rules=MAP 127.0.0.1:8008 127.0.0.1:{gateway_port}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port_file = Path(self.folder.name) / "DevToolsActivePort"
            until = time.monotonic() + 30
            while not (port_file.exists() and len(port_file.read_text().split()) == 2):
                if self.process.poll() is not None or time.monotonic() > until:
                    raise Failed("Chromium did not start")
                time.sleep(0.1)
            targets = fetch(f"http://127.0.0.1:{port_file.read_text().split()[0]}/json/list")
            page = next(t for t in targets if t["type"] == "page")
            self.socket = connect(page["webSocketDebuggerUrl"], max_size=None)
            self.call("Page.enable")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def send(self, method: str, **params: object) -> int:
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        return number

    def call(self, method: str, **params: object) -> dict:
        number = self.send(method, **params)
        while True:
            message = json.loads(self.socket.recv(timeout=20))
            if message.get("id") == number:
                if "error" in message:
                    raise Failed(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def evaluate(self, script: str) -> object:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def pump(self, seconds: float) -> list[dict]:
        """The events so far, and those within some time."""
        until = time.monotonic() + seconds
        try:
            while not self.events:
                self.events.append(json.loads(self.socket.recv(timeout=max(0.01, until - time.monotonic()))))
        except TimeoutError:
            pass
        events, self.events = self.events, []
        return events

    def converse(self, description: str, reply: str, seconds: float = 60) -> tuple[list[str], list[str]]:
        """Presses the workflow's button and answers the page's prompts, until it is over: the lines shown, and the prompts."""
        prompts: list[str] = []
        until = time.monotonic() + seconds
        self.call("Page.navigate", url="http://127.0.0.1:8008/")
        button = f"[...document.querySelectorAll('#workflows button')].find(b => b.textContent === {json.dumps(description)})"
        while not self.evaluate(f"!!({button})"):
            if time.monotonic() > until:
                raise Failed(f"the page has no button {description!r}: {self.evaluate('document.body.innerText')!r}")
            self.pump(0.2)
        self.evaluate(f"{button}.click()")
        while True:
            opened = [e for e in self.pump(0.3) if e.get("method") == "Page.javascriptDialogOpening"]
            for dialog in opened:
                prompts.append(dialog["params"]["message"])
                self.call("Page.handleJavaScriptDialog", accept=True, promptText=reply)
            # Not asked while a prompt is open, when the page cannot answer.
            if not opened and not any(e.get("method") == "Page.javascriptDialogOpening" for e in self.events):
                lines = self.lines(seconds=until - time.monotonic())
                if lines and lines[-1].endswith(": workflow_completed"):
                    return lines, prompts
            if time.monotonic() > until:
                raise Failed(f"the page did not come to the end; prompts {prompts}")

    def lines(self, seconds: float) -> list[str]:
        """What the page shows, or nothing while a prompt opened meanwhile keeps it busy."""
        number = self.send(
            "Runtime.evaluate", expression="[...document.querySelectorAll('#messages li')].map(l => l.textContent)", returnByValue=True
        )
        while True:
            message = json.loads(self.socket.recv(timeout=max(0.01, seconds)))
            if message.get("id") == number:
                return message["result"]["result"].get("value", [])
            self.events.append(message)
            if message.get("method") == "Page.javascriptDialogOpening":
                return []
