"""Functions as people give them to AG2, with types of Python's own library alone."""

import asyncio
import dataclasses
import datetime
import decimal
import enum
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Dict, List, Literal, Optional, Set, Tuple, Union


class Unit(enum.Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(str, enum.Enum):
    """How loud a word is."""

    SOFT = "soft"
    LOUD = "loud"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 1.5


@dataclasses.dataclass
class Line:
    start: Point
    end: Point
    tags: List[str] = dataclasses.field(default_factory=list)


def get_weather(city: Annotated[str, "Name of the city"], unit: Literal["celsius", "fahrenheit"] = "celsius") -> str:
    """Get the weather for a city."""
    return f"{city}: 21 {unit}"


async def get_news(topic: Annotated[str, "What it is about"]) -> str:
    """Get the news.

    The newest come first.
    """
    await asyncio.sleep(0)
    return f"No news about {topic}"


def nothing():
    return None


def no_docstring(a: int, b: int) -> int:
    return a + b


def simple_types(s: str, i: int, f: float, b: bool, n: None) -> str:
    """Each simple type."""
    return f"{s} {i} {f} {b} {n}"


def any_types(a: Any, b: object, c: Annotated[Any, "whatever"] = None) -> str:
    """Anything."""
    return repr((a, b, c))


def lists(a: list, b: List[str], c: List[List[int]], d: Annotated[List[float], "numbers"] = []) -> str:
    """Lists."""
    return repr((a, b, c, d))


def tuples(a: Tuple[int, str], b: Tuple[int, ...], c: tuple) -> str:
    """Tuples."""
    return repr((a, b, c))


def sets(a: Set[int], b: frozenset, c: Annotated[Set[str], "names"]) -> str:
    """Sets."""
    return repr((sorted(a), sorted(b), sorted(c)))


def dictionaries(b: Dict[str, int], c: Dict[str, Any], d: Mapping[str, List[int]]) -> str:
    """Dictionaries."""
    return repr((b, c, d))


def abstract_lists(a: Sequence[int], b: Sequence[str]) -> str:
    """A sequence is a list."""
    return repr((list(a), list(b)))


def optional(a: Optional[int], b: Optional[str] = None, c: Annotated[Optional[List[str]], "names"] = None) -> str:
    """What may be missing."""
    return repr((a, b, c))


def unions(a: Union[int, str], b: Union[int, str, None] = 1, c: Union[List[int], int] = 2) -> str:
    """One or the other."""
    return repr((a, b, c))


def inner_annotation(a: Optional[Annotated[int, "inner"]] = None, b: Annotated[Optional[Annotated[int, "in"]], "outer"] = 3):
    """The outer text counts."""
    return repr((a, b))


def literals(a: Literal["x"], b: Literal["x", "y"], c: Literal[1, 2], d: Literal[1, "a"], e: Literal[True, False] = True) -> str:
    """Literals."""
    return repr((a, b, c, d, e))


def enums(a: Unit, b: Annotated[Level, "how high"], c: Word) -> str:
    """Enums."""
    return repr((a.name, b.name, c.name))


def string_enum_default(a: Word = Word.SOFT) -> str:
    """A default that is an enum and a text."""
    return a.value


def enum_default(a: Unit = Unit.CELSIUS) -> str:
    """A default that is an enum."""
    return a.name


def dataclass_parameter(point: Annotated[Point, "where"]) -> str:
    """A dataclass."""
    return repr(point)


def dataclass_default(point: Point = Point(1, 2.5)) -> str:
    """A default that is a dataclass."""
    return repr(point)


def nested_dataclass(line: Line) -> str:
    """Dataclasses in a dataclass."""
    return repr(line)


def listed_dataclasses(points: List[Point], units: List[Unit]) -> str:
    """Classes in lists."""
    return repr((points, units))


def times(a: datetime.datetime, b: datetime.date, c: datetime.time, d: Optional[datetime.date] = None) -> str:
    """Times."""
    return repr((a, b, c, d))


def time_default(when: datetime.date = datetime.date(2026, 11, 30)) -> str:
    """A default that is a date."""
    return when.isoformat()


def exact(amount: decimal.Decimal, identity: uuid.UUID) -> str:
    """A decimal number."""
    return f"{amount} {identity}"


def data(content: bytes) -> str:
    """Bytes."""
    return repr(content)


def many_defaults(a: str = "x", b: int = 1, c: float = 1.5, d: bool = True, e: Optional[int] = None, f: List[int] = [1, 2]):
    """Defaults."""
    return repr((a, b, c, d, e, f))


def untyped_default(a: int, verbose=False) -> str:
    """A parameter without an annotation."""
    return repr((a, verbose))


def keyword_only(a: int, *, b: Annotated[str, "by name"], c: int = 2) -> str:
    """By name alone."""
    return repr((a, b, c))


def positional_only(a: int, b: int = 2, /, c: int = 3) -> str:
    """By place alone."""
    return repr((a, b, c))


def text_annotation(a: "Annotated[int, 'a number']", b: "Optional[str]" = None) -> str:
    """Annotations that are texts."""
    return repr((a, b))


def forward_reference(later: "Later") -> str:
    """A class that comes later in the file."""
    return repr(later)


@dataclasses.dataclass
class Later:
    name: str


def unicode_words(größe: Annotated[int, "Wie groß? 大小"]) -> str:
    """Größe und 大小."""
    return f"{größe} 大小 🦀"


def long_docstring(a: int) -> str:
    """Does something.

    Args:
        a: a number

    Returns:
        a text
    """
    return str(a)


def no_return_annotation(a: int):
    """Says nothing about what it returns."""
    return {"a": a}


# What AG2 makes of these cannot be called, or not be sent; see docs/how-to/python-tools.md.


def variadic(a: int, *more: int, **named: str) -> str:
    """Any number of arguments."""
    return repr((a, more, named))


def without_annotation(a):
    """No tool."""
    return a


def _hidden(a: int) -> int:
    return a


def generator(a: int) -> Iterable[int]:
    """No tool here."""
    yield a
