"""Arguments and results as JSON that keeps its digits. Python's own library, 3.9 or later."""

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import json
import re
import sys

# A value may have so many levels of lists and objects: the program reads 64, and puts nothing around it.
MOST_LEVELS = 60
# Python refuses to read and write longer whole numbers unless it is asked to.
LONGEST_INTEGER = 100_000

if hasattr(sys, "set_int_max_str_digits"):
    sys.set_int_max_str_digits(LONGEST_INTEGER)


class UnfitValue(Exception):
    """A value that is no JSON; the text says why."""


class ExactFloat(float):
    """A number with a fraction that still knows its digits: a Decimal is made of those."""

    def __new__(cls, text):
        number = super().__new__(cls, text)
        number.text = text
        return number

    # What pydantic and decimal.Decimal(str(x)) read.
    def __str__(self):
        return self.text


def read_json(text):
    return json.loads(text, parse_float=ExactFloat)


def plain(value):
    """The same value with ordinary numbers, where no type has asked for digits."""
    if type(value) is ExactFloat:
        return float(value)
    if type(value) is list:
        return [plain(item) for item in value]
    if type(value) is dict:
        return {name: plain(item) for name, item in value.items()}
    return value


_HALF_LETTERS = re.compile("[\ud800-\udfff]")


def clean_text(text):
    """A text that UTF-8 can hold: half letters are replaced."""
    return _HALF_LETTERS.sub("\ufffd", text)


class _Enough(Exception):
    """More than is kept."""


class _Pieces:
    """A text that grows up to so many characters."""

    def __init__(self, most):
        self._most = most
        self._pieces = []
        self._length = 0

    def append(self, piece):
        self._pieces.append(piece)
        self._length += len(piece)
        if self._length > self._most:
            raise _Enough

    def text(self):
        return "".join(self._pieces)


def to_json(value, most=float("inf")):
    """The JSON of what a function returned, as text; of one that is longer than so many characters more than those."""
    pieces = _Pieces(most)
    try:
        _write(value, pieces, 0)
    except _Enough:
        # What never ends is not read to its end.
        pass
    return pieces.text()


def _write(value, pieces, level):
    if level > MOST_LEVELS:
        raise UnfitValue(f"is nested more than {MOST_LEVELS} levels deep")
    if value is None or value is True or value is False:
        pieces.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, enum.Enum):
        _write(value.value, pieces, level)
    elif isinstance(value, str):
        pieces.append(json.dumps(clean_text(str(value)), ensure_ascii=False))
    elif isinstance(value, int):
        pieces.append(int.__repr__(value))
    elif isinstance(value, (float, decimal.Decimal)):
        pieces.append(_number(value))
    elif isinstance(value, collections.abc.Mapping):
        _write_fields(((_key(name), item) for name, item in value.items()), pieces, level)
    elif is_pydantic_model(value):
        pieces.append(clean_text(value.model_dump_json()))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        _write_fields(((name, getattr(value, name)) for name in names), pieces, level)
    elif isinstance(value, _LISTS):
        _write_items(value, pieces, level)
    elif type(value).__module__.split(".")[0] == "numpy" and hasattr(value, "tolist"):
        _write(value.tolist(), pieces, level + 1)
    else:
        _write(_text(value), pieces, level)


_LISTS = (list, tuple, collections.abc.Set, collections.deque, range, collections.abc.ValuesView, collections.abc.Iterator)


def _write_items(items, pieces, level):
    pieces.append("[")
    for number, item in enumerate(items):
        pieces.append("," if number else "")
        _write(item, pieces, level + 1)
    pieces.append("]")


def _write_fields(fields, pieces, level):
    pieces.append("{")
    for number, (name, item) in enumerate(fields):
        pieces.append("," if number else "")
        pieces.append(json.dumps(clean_text(name), ensure_ascii=False) + ":")
        _write(item, pieces, level + 1)
    pieces.append("}")


def _number(value):
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            raise UnfitValue(f"holds {value}, which is no number in JSON")
        return str(value)
    if value != value or value in (float("inf"), float("-inf")):
        name = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        raise UnfitValue(f"holds {name}, which is no number in JSON")
    return float.__repr__(value)


def _key(name):
    if isinstance(name, enum.Enum):
        name = name.value
    if name is None or isinstance(name, bool):
        return {None: "null", True: "true", False: "false"}[name]
    return str(name)


def _text(value):
    """The text of anything else, as AG2 has it, unless that would be nothing but an address in memory."""
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise UnfitValue("holds bytes that are no text") from None
    kind = type(value)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__ or isinstance(value, type) or callable(value):
        raise UnfitValue(f"holds {with_article(kind.__name__)}, which is no JSON: return a text, a dictionary or a model")
    return str(value)


def with_article(name):
    return f"{'an' if name[:1].lower() in ('a', 'e', 'i', 'o', 'u') else 'a'} {name}"


def is_pydantic_model(value):
    pydantic = sys.modules.get("pydantic")
    base = getattr(pydantic, "BaseModel", None)
    return base is not None and isinstance(value, base) and hasattr(value, "model_dump_json")


def result_text(value, most):
    """A result as it is sent: its text, whether that is a text of the function and not JSON, and whether it is broken off after so many
    bytes."""
    is_text = isinstance(value, str) and not isinstance(value, enum.Enum)
    shown = clean_text(str(value)) if is_text else to_json(value, most)
    encoded = shown.encode()
    is_broken_off = len(encoded) > most
    return encoded[:most].decode(errors="ignore") if is_broken_off else shown, is_text, is_broken_off
