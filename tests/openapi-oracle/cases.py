"""The requests that Schemathesis makes of a specification: for each operation some cases of valid data, always the same ones."""

import copy
import dataclasses
import pathlib
import sys
import unicodedata

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode

# So often Schemathesis may try for each case. For a schema that is very large it makes none in any number of tries.
MOST_TRIES = 60


@dataclasses.dataclass
class MadeCase:
    """A case, and the values of its parameters by `path`, `query`, `header` and `cookie`, before they became texts of a style."""

    case: schemathesis.Case
    values: dict[str, dict]

    def __post_init__(self):
        self.media_type = self.case.media_type

    def request(self, base_url: str, media_type: str | None) -> requests.PreparedRequest:
        """What Schemathesis sends for it, with this media type."""
        self.case.media_type = media_type
        return requests.Request(**self.case.as_transport_kwargs(base_url=base_url)).prepare()

    def body(self, media_type: str | None) -> bytes:
        """The bytes of the body that it sends."""
        body = self.request("http://127.0.0.1", media_type).body or b""
        return body.encode() if isinstance(body, str) else body


class TooManyTries(Exception):
    """Schemathesis finds no data that fits."""


class CaseGenerator:
    """Makes the cases of one specification."""

    def __init__(self, specification: pathlib.Path, count: int, seed: int):
        self.schema = schemathesis.openapi.from_path(specification)
        self.schema.config.generation.with_security_parameters = False
        self.count = count
        self.most_tries = MOST_TRIES * count
        self.seed = seed
        self.values: dict[str, dict] = {}
        self.tries = 0
        self.written = self.schema.get_parameter_serializer
        self.schema.get_parameter_serializer = self.remembering

    def remembering(self, operation, location):
        """What Schemathesis writes parameters of a location with. Their values are kept: the texts do not tell what they were."""
        write = self.written(operation, location) or (lambda values: values)
        location = getattr(location, "value", location)

        def remember(values):
            self.tries += 1
            if self.tries > self.most_tries:
                raise TooManyTries
            self.values[location] = copy.deepcopy(values)
            return write(values)

        return remember

    def operations(self) -> list:
        return [result.ok() for result in self.schema.get_all_operations()]

    def security_schemes(self) -> list[str]:
        return list((self.schema.raw_schema.get("components") or {}).get("securitySchemes") or {})

    def cases(self, operation) -> list[MadeCase]:
        """The cases of an operation; none: Schemathesis cannot make one."""
        made: list[MadeCase] = []
        self.values, self.tries = {}, 0

        @seed(self.seed)
        @settings(
            max_examples=self.count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE).filter(self.may_be_in_a_path))
        def collect(case):
            made.append(MadeCase(case, self.values))
            self.values, self.tries = {}, 0

        try:
            collect()
        except Exception as error:  # Whatever the reason is, the operation is counted as one without cases.
            if not made:
                why = f"none in {self.tries} tries" if self.tries > self.most_tries else str(error).splitlines()[0]
                print(f"{operation.label}: no cases: {why}", file=sys.stderr)
        return made

    def may_be_in_a_path(self, _) -> bool:
        """Whether our tools send this: they refuse control characters in a path, and too many texts of Schemathesis have some."""
        return not any(unicodedata.category(letter) == "Cc" for letter in texts_in(self.values.get("path")))


def texts_in(value) -> str:
    """All texts in a value, one after the other."""
    if isinstance(value, dict):
        return "".join(map(texts_in, [*value.keys(), *value.values()]))
    if isinstance(value, list):
        return "".join(map(texts_in, value))
    return value if isinstance(value, str) else ""
