"""What functions print, line by line, with the call that it belongs to."""

import contextvars
import io
import os
import threading

from fastagency_values import clean_text

# So many lines of one call are passed on, each of so many characters, and of as many more as the longest secret has: the worker hides
# secrets before it cuts.
MOST_LINES = 200
LONGEST_LINE = 2000

# The call that is under way here; none: what is printed goes where the process's errors go.
current_call = contextvars.ContextVar("fastagency_call", default=None)


class CallOutput:
    """The lines of one call."""

    def __init__(self, send_line, hidden):
        self._send_line = send_line
        self._longest = LONGEST_LINE + hidden
        self._lock = threading.Lock()
        self._begun = ""
        self._lines = 0

    def write(self, text):
        with self._lock:
            *lines, begun = (self._begun + text).split("\n")
            # A line without an end must not fill the memory.
            self._begun = begun[: self._longest + 1]
            for line in lines:
                self._pass_on(line)

    def finish(self):
        with self._lock:
            begun, self._begun = self._begun, ""
            self._pass_on(begun)

    def _pass_on(self, line):
        line = clean_text(line.rstrip("\r"))
        if not line.strip() or self._lines > MOST_LINES:
            return
        self._lines += 1
        if self._lines > MOST_LINES:
            line = f"more than {MOST_LINES} lines: the rest of what this call prints is not shown"
        self._send_line(line[: self._longest], {"is_broken_off": len(line) > self._longest})


class FunctionOutput(io.TextIOBase):
    """What `sys.stdout` and `sys.stderr` are here."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, descriptor):
        self._descriptor = descriptor
        # For those who write bytes: they go to the process's own output.
        self.buffer = io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False), 1)

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        call = current_call.get()
        if call is None:
            data = text.encode(errors="replace")
            while data:
                data = data[os.write(self._descriptor, data) :]
        else:
            call.write(text)
        return len(text)

    def writable(self):
        return True

    def isatty(self):
        return False

    def fileno(self):
        return self._descriptor

    def flush(self):
        self.buffer.flush()

    # A library that closes it must not close it for all others.
    def close(self):
        self.flush()
