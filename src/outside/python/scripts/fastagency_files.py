"""The files of a project: imported once, looked at again when they change, and what is said if one cannot be imported."""

import importlib.util
import inspect
import os
import re
import sys
import traceback

from fastagency_tools import UnfitFunction, is_ag2_tool, tool_of
from fastagency_values import clean_text


class UnfitFile(Exception):
    """A file that cannot be used; the text says why."""


class ProjectFiles:
    def __init__(self, folder):
        self._folder = folder
        self._modules = {}
        self._tools = {}
        self._listings = {}
        self._seen = {}

    def tool(self, file, name):
        """A tool of a file that is there already; none: the file must be imported first."""
        return self._tools.get((file, name))

    def listed(self, file, function):
        """The tools of a file, or one of them, and a sentence for each function that is none."""
        if (file, function) not in self._listings:
            self._listings[(file, function)] = self._listing(file, function)
        return self._listings[(file, function)]

    def _listing(self, file, function):
        module = self._module(file)
        tools, left_out = [], []
        for name, found in self._candidates(module, file, function):
            try:
                tool = tool_of(found, name)
                tools.append(tool.listed())
                self._tools[(file, tool.name)] = tool
            except UnfitFunction as unfit:
                left_out.append(f"{file}: {name} is no tool: {unfit}")
        names = [tool["name"] for tool in tools]
        for name in {name for name in names if names.count(name) > 1}:
            raise UnfitFile(f"{file}: two tools have the name {name}")
        if function is not None and left_out:
            raise UnfitFile(left_out[0])
        return {"tools": tools, "left_out": left_out}

    def _candidates(self, module, file, function):
        names = vars(module)
        if function is not None:
            if function not in names:
                raise UnfitFile(f"{file} has no function {function}")
            return [(function, names[function])]
        public = names.get("__all__")
        if public is not None:
            missing = [name for name in public if name not in names]
            if missing:
                raise UnfitFile(f"{file}: __all__ names {missing[0]}, which is not there")
            found = [(name, names[name]) for name in public]
        else:
            found = [(name, one) for name, one in names.items() if not name.startswith("_") and _is_own(one, module)]
        return [(name, one) for name, one in found if inspect.isfunction(one) or is_ag2_tool(one)]

    def has_changed(self):
        """Whether a file of the project is another one than was imported."""
        return any(_state(path) != state for path, state in self._seen.items())

    def _module(self, file):
        if file not in self._modules:
            try:
                self._modules[file] = self._imported(file)
            finally:
                self._note_files()
        return self._modules[file]

    def _imported(self, file):
        path = os.path.join(self._folder, *file.split("/"))
        name = file[: -len(".py")].replace("/", ".")
        if name in sys.modules:
            name = f"fastagency_file.{name}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            sys.modules.pop(name, None)
            traceback.print_exc()
            raise UnfitFile(self._import_failure(file, error)) from error
        return module

    def _import_failure(self, file, error):
        if isinstance(error, FileNotFoundError) and error.filename == os.path.join(self._folder, *file.split("/")):
            return f"there is no file {file}"
        if isinstance(error, SyntaxError):
            where = self._relative(error.filename) or file
            return f"{where}, line {error.lineno}: {error.msg}"
        places = [(self._relative(one.filename), one.lineno) for one in traceback.extract_tb(error.__traceback__)]
        place = next(((name, line) for name, line in reversed(places) if name), None)
        where = f"{place[0]}, line {place[1]}" if place else file
        return f"{where}: {self.failure(error)}"

    def failure(self, error):
        """An exception in a sentence: its type and its words, without the paths of this machine."""
        try:
            words = str(error)
        except Exception:
            words = ""
        kind = type(error).__name__
        if isinstance(error, SystemExit):
            words = f"the code asked to end the process ({error.code})"
        return clean_text(f"{kind}: {self._without_paths(words)}" if words else kind)

    def _without_paths(self, words):
        words = words.replace(self._folder.rstrip("/") + "/", "")
        return _PATH.sub(lambda found: "…/" + found.group().rstrip("/").rsplit("/", 1)[1], words)

    def _relative(self, path):
        start = self._folder.rstrip("/") + "/"
        path = os.path.realpath(path) if path and os.path.isabs(path) else ""
        is_own = path.startswith(start) and not path.startswith(os.path.join(sys.prefix, ""))
        return path[len(start) :] if is_own else None

    def _note_files(self):
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and path not in self._seen and self._relative(path):
                self._seen[path] = _state(path)


def _is_own(found, module):
    if is_ag2_tool(found):
        return inspect.unwrap(found.func).__module__ == module.__name__
    return getattr(found, "__module__", None) == module.__name__


def _state(path):
    try:
        state = os.stat(path)
    except OSError:
        return None
    return (state.st_mtime_ns, state.st_size)


def _path_pattern():
    """Absolute paths of this machine: those that begin with a folder that it has."""
    try:
        folders = [re.escape(name) for name in os.listdir("/")]
    except OSError:
        folders = []
    return re.compile(r"(?<![\w:/.])/(?:%s)/[^\s'\"<>]+" % "|".join(folders or ["nothing"]))


_PATH = _path_pattern()
