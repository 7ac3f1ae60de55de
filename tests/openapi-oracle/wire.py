"""A request as it is on the wire, read so that two requests that say the same are the same; and in what two of them differ."""

import dataclasses
import email.parser
import email.policy
import json
import re
from typing import NamedTuple
from urllib.parse import unquote

ENCODED_COMMA = "%2C"


class Difference(NamedTuple):
    """A place in which two requests differ, what stands there in ours, and what in Schemathesis's."""

    place: str
    ours: object
    theirs: object


@dataclasses.dataclass
class WireRequest:
    method: str
    path: list[str]
    query: list[tuple[str, str]]
    headers: dict[str, str]
    cookies: list[tuple[str, str]]
    media_type: str
    body: object

    @classmethod
    def read(cls, method: str, target: str, headers: dict[str, str], body: bytes) -> "WireRequest":
        path, _, query = target.partition("?")
        headers = {name.lower(): value for name, value in headers.items()}
        pairs = [pair.strip().partition("=") for pair in headers.pop("cookie", "").split(";") if pair.strip()]
        written = headers.pop("content-type", "")
        media_type = written.partition(";")[0].strip().lower()
        return cls(
            method,
            [text(step) for step in path.split("/")],
            query_pairs(query),
            headers,
            [(name, text(value)) for name, _, value in pairs],
            media_type,
            read_body(written, media_type, body),
        )

    def without(self, credential: str) -> "WireRequest":
        """The request, as it would be without this value of a header, the query or a cookie."""
        headers = {name: value for name, value in self.headers.items() if value != credential}
        query, cookies = ([pair for pair in pairs if pair[1] != credential] for pairs in (self.query, self.cookies))
        return dataclasses.replace(self, headers=headers, query=query, cookies=cookies)

    def differences(self, theirs: "WireRequest", declared: set[str]) -> list[Difference]:
        """In what this request differs from another one: of the headers in those that are declared."""
        found = []
        for place in ("method", "path", "media_type"):
            if getattr(self, place) != getattr(theirs, place):
                found.append(Difference(place, getattr(self, place), getattr(theirs, place)))
        found += of_pairs("query", self.query, theirs.query)
        found += of_pairs("cookie", self.cookies, theirs.cookies)
        for name in sorted(declared):
            if not is_same(self.headers.get(name), theirs.headers.get(name)):
                found.append(Difference(f"header {name}", self.headers.get(name), theirs.headers.get(name)))
        if self.media_type == theirs.media_type:
            found += of_values("body ", self.body, theirs.body)
        return found


def text(encoded: str) -> str:
    """What is encoded in an address. A comma that was encoded is part of a value, and another one stands between two."""
    return unquote(re.sub(ENCODED_COMMA, "%25%32%43", encoded, flags=re.IGNORECASE), errors="surrogateescape")


def query_pairs(query: str) -> list[tuple[str, str]]:
    pairs = (pair.replace("+", "%20").partition("=") for pair in query.split("&") if pair)
    return [(unquote(name, errors="surrogateescape"), text(value)) for name, _, value in pairs]


def read_body(written: str, media_type: str, body: bytes):
    """The body as the value, the pairs or the parts that it stands for, or as its bytes."""
    if not body:
        return None
    if media_type.endswith(("/json", "+json")):
        return json.loads(body)
    if media_type == "application/x-www-form-urlencoded":
        return Pairs(query_pairs(body.decode()))
    if media_type == "multipart/form-data":
        head = f"Content-Type: {written}\r\n\r\n".encode()
        whole = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        return Pairs(part(one) for one in whole.iter_parts())
    return body


class Pairs(list):
    """Names and values, whose order says nothing."""


def part(one) -> tuple[str, tuple]:
    """The name of a part, and its content with its media type. How a file is called is left to who sends it."""
    name = one.get_param("name", header="content-disposition") or ""
    content = one.get_payload(decode=True) or b""
    kind = one.get_content_type() if one["content-type"] else None
    return str(name), (kind, content)


def of_pairs(place: str, ours: list, theirs: list) -> list[Difference]:
    """In what two lists of pairs differ, name by name, whatever the order of the names is."""
    found = []
    for name in dict.fromkeys(name for name, _ in ours + theirs):
        values = [[value for known, value in pairs if known == name] for pairs in (ours, theirs)]
        if not is_same(*values):
            found.append(Difference(f"{place} {name}", *values))
    return found


def is_same(one, other) -> bool:
    """Whether two values are one. `true` is not 1; 1.0 is 1; a text that is a JSON document is the same however it is written."""
    if one == other and not isinstance(one, (list, tuple, dict, bool, int, float)):
        return True
    documents = [document(value) for value in (one, other)]
    if None not in documents:
        return is_same(*documents)
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    return one == other


def document(value):
    """The list or the object that a text is in JSON."""
    if not isinstance(value, (str, bytes)) or value[:1] not in ("{", "[", b"{", b"["):
        return None
    try:
        return json.loads(value if isinstance(value, bytes) else value.replace(ENCODED_COMMA, ","))
    except ValueError:
        return None


def of_values(place: str, ours, theirs) -> list[Difference]:
    """In what two bodies differ, as deep as their maps go."""
    if isinstance(ours, Pairs) and isinstance(theirs, Pairs):
        return of_pairs(place.strip(), ours, theirs)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            difference for key in {**ours, **theirs} for difference in of_values(f"{place}/{key}", ours.get(key), theirs.get(key))
        ]
    return [] if is_same(ours, theirs) else [Difference(place, ours, theirs)]
