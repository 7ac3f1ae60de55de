"""The process that calls the functions of a project. It reads frames and writes frames: four bytes that say how long, a line of JSON
that says what it is, and the JSON that belongs to it. Files are imported in the main thread; ordinary functions are called in a pool of
threads, and async ones in one event loop."""

import asyncio
import concurrent.futures
import contextvars
import faulthandler
import inspect
import json
import os
import queue
import signal
import struct
import sys
import threading
import traceback

import fastagency_output
from fastagency_files import ProjectFiles, UnfitFile
from fastagency_output import CallOutput, FunctionOutput, current_call
from fastagency_types import UnfitArgument
from fastagency_values import UnfitValue, clean_text, read_json, result_text

# So many characters of a failure are shown, and so many of a traceback, of which the end is what matters. The worker hides secrets before
# it cuts, so it gets as many more as the longest secret has.
LONGEST_MESSAGE = 2000
LONGEST_TRACEBACK = 8000


def beginning(text, most):
    """The beginning of a text, and whether there is more of it."""
    return text[:most], len(text) > most


class FrameWriter:
    def __init__(self, descriptor):
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, head, body=""):
        data = (json.dumps(head) + "\n" + body).encode(errors="replace")
        data = struct.pack(">I", len(data)) + data
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]


class ToolCaller:
    def __init__(self, frames, files, threads):
        self._frames = frames
        self._files = files
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, "tool")
        self._loop = asyncio.new_event_loop()
        self._imports = queue.SimpleQueue()
        self._tasks = {}
        threading.Thread(target=self._loop.run_forever, name="async tools", daemon=True).start()

    def read(self, requests):
        """Takes requests until there are no more: then the program that asks has ended, and so must all that was begun here."""
        try:
            while True:
                length = requests.read(4)
                if len(length) < 4:
                    break
                self._take(requests.read(struct.unpack(">I", length)[0]))
        finally:
            os.killpg(0, signal.SIGKILL)

    def _take(self, frame):
        head, _, body = frame.decode().partition("\n")
        request = json.loads(head)
        if request["kind"] == "cancel":
            self._loop.call_soon_threadsafe(self._cancel, request["id"])
        elif request["kind"] == "call" and self._files.tool(request["file"], request["tool"]):
            self._begin(request, body)
        else:
            self._imports.put((request, body))

    def import_files(self):
        """The main thread's work."""
        while True:
            request, body = self._imports.get()
            said = {"kind": "said", "by": request["file"]}
            output = CallOutput(lambda line, more, said=said: self._frames.send({**said, **more}, line), request["hidden"])
            token = current_call.set(output)
            try:
                self._look(request, body)
            except UnfitFile as unfit:
                self._send_unfit(request, clean_text(str(unfit)))
            except BaseException as error:
                traceback.print_exc()
                self._send_unfit(request, self._files.failure(error))
            finally:
                current_call.reset(token)
                output.finish()

    def _send_unfit(self, request, words):
        words, is_broken_off = beginning(words, LONGEST_MESSAGE + request["hidden"])
        self._frames.send({"kind": "unfit", "id": request["id"], "is_broken_off": is_broken_off}, words)

    def _look(self, request, body):
        if request["kind"] == "list" and self._files.has_changed():
            self._frames.send({"kind": "stale", "id": request["id"]})
            return
        listed = self._files.listed(request["file"], request["function"])
        if request["kind"] == "list":
            self._frames.send({"kind": "listed", "id": request["id"]}, json.dumps(listed, allow_nan=False))
        elif self._files.tool(request["file"], request["tool"]) is None:
            raise UnfitFile(f"{request['file']} has no function {request['tool']} any more")
        else:
            self._begin(request, body)

    def _begin(self, request, body):
        call = OneCall(self._frames, self._files, request, body, self._loop)
        if call.tool.is_async:
            self._loop.call_soon_threadsafe(self._begin_task, call)
        else:
            self._pool.submit(contextvars.Context().run, call.run)

    def _begin_task(self, call):
        task = self._loop.create_task(call.run_async())
        self._tasks[call.id] = task
        task.add_done_callback(lambda _: self._end_task(call))

    def _end_task(self, call):
        if self._tasks.pop(call.id).cancelled():
            call.finish("cancelled", "")

    def _cancel(self, call_id):
        # A function that is no task goes on: no thread can be stopped from outside.
        if call_id in self._tasks:
            self._tasks[call_id].cancel()


class OneCall:
    def __init__(self, frames, files, request, body, loop):
        self.id = request["id"]
        self.tool = files.tool(request["file"], request["tool"])
        # The worker hides secrets before it cuts, so it gets what it keeps, and as much more as the longest secret has.
        self._hidden = request["hidden"]
        self._most = request["max_result"] + self._hidden
        self._body = body
        self._files = files
        self._frames = frames
        self._loop = loop
        self._output = CallOutput(self._said, self._hidden)

    def _said(self, line, more):
        self._frames.send({"kind": "said", "by": self.tool.name, "id": self.id, **more}, line)

    def run(self):
        current_call.set(self._output)
        try:
            by_place, by_name = self.tool.bound(read_json(self._body))
            result = self.tool.function(*by_place, **by_name)
            if inspect.isawaitable(result):
                result = asyncio.run_coroutine_threadsafe(self._awaited(result), self._loop).result()
            self._succeed(result)
        except BaseException as error:
            self._fail(error)

    async def run_async(self):
        current_call.set(self._output)
        try:
            by_place, by_name = self.tool.bound(read_json(self._body))
            self._succeed(await self.tool.function(*by_place, **by_name))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fail(error)

    async def _awaited(self, result):
        current_call.set(self._output)
        return await result

    def _succeed(self, result):
        try:
            text, is_text, is_broken_off = result_text(result, self._most)
            self.finish("value", text, is_text=is_text, is_broken_off=is_broken_off)
        except UnfitValue as unfit:
            self._finish_failed(f"the result of {self.tool.name} {unfit}")

    def _fail(self, error):
        if isinstance(error, UnfitArgument):
            problems = [f"{'.'.join(map(str, place))}: {sentence}" for place, sentence in error.problems]
            self._finish_failed(f"{self.tool.name} was called with arguments that do not fit: " + "; ".join(problems))
            return
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        longest = LONGEST_TRACEBACK + self._hidden
        raised = {"kind": "raised", "by": self.tool.name, "id": self.id, "is_broken_off": len(text) > longest}
        self._frames.send(raised, clean_text(text[-longest:]))
        self._finish_failed(self._files.failure(error))

    def _finish_failed(self, words):
        words, is_broken_off = beginning(words, LONGEST_MESSAGE + self._hidden)
        self.finish("failed", words, is_broken_off=is_broken_off)

    def finish(self, kind, body, **more):
        self._output.finish()
        self._frames.send({"kind": kind, "id": self.id, **more}, clean_text(body))


def main(requests):
    frames = FrameWriter(os.dup(1))
    # Whatever prints, in Python or not, cannot reach the frames from here on, nor take requests away.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdin = open(0, closefd=False)
    sys.stdout, sys.stderr = FunctionOutput(1), FunctionOutput(2)
    # What crashes Python itself says in the log where it did.
    faulthandler.enable(2)
    request = json.loads(requests.read(struct.unpack(">I", requests.read(4))[0]).decode())
    folder = request["folder"]
    # A process that is forked must neither keep the pipes open nor write frames.
    os.register_at_fork(after_in_child=lambda: (os.close(frames._descriptor), os.close(requests.fileno())))
    sys.path[:] = [folder, *(path for path in sys.path if path not in ("", folder))]
    # The worker says when this process ends: a service manager that stops all processes at once must not end calls that the worker waits
    # for. Programs that functions start are not kept from anything by it.
    signal.signal(signal.SIGTERM, lambda *_: None)
    caller = ToolCaller(frames, ProjectFiles(folder), request["threads"])
    threading.Thread(target=caller.read, args=(requests,), name="requests", daemon=True).start()
    frames.send({"kind": "ready", "version": ".".join(map(str, sys.version_info[:3]))})
    caller.import_files()
