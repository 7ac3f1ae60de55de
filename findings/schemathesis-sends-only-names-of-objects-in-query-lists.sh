#!/usr/bin/env bash
# schemathesis 4.32.5: of a query parameter that is a list of objects (`style: form`, `explode: true`), the names of the properties are
# sent as values, and the values not at all: `[{"a": "x", "b": 1}]` becomes `o=a&o=b`. If another parameter of the operation is a
# list with `explode: false`, the same value becomes `o={'a': 'x', 'b': 1}`, which is Python's spelling and no JSON. The OpenAPI
# specification leaves the form open; one would guess that the values are sent, and in one form.
# Runs Schemathesis alone on valid data. Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install --quiet --disable-pip-version-check schemathesis==4.32.5
cat > "$folder/query.py" <<'PYTHON'
from urllib.parse import unquote_plus

import requests
import schemathesis
from hypothesis import Phase, given, settings

ITEM = {
    "type": "object",
    "additionalProperties": False,
    "required": ["a", "b"],
    "properties": {"a": {"type": "string", "enum": ["x"]}, "b": {"type": "integer", "enum": [1]}},
}
OBJECTS = {"name": "o", "in": "query", "required": True, "schema": {"type": "array", "minItems": 1, "maxItems": 1, "items": ITEM}}
WORDS = {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string", "enum": ["w"]}}
JOINED = {"name": "w", "in": "query", "required": True, "explode": False, "schema": WORDS}


def query(*parameters):
    operation = {"parameters": list(parameters), "responses": {"200": {"description": "Good"}}}
    document = {"openapi": "3.0.3", "info": {"title": "Lists", "version": "1"}, "paths": {"/a": {"get": operation}}}
    sent = []

    @settings(max_examples=1, database=None, deadline=None, phases=[Phase.generate])
    @given(case=schemathesis.openapi.from_dict(document)["/a"]["GET"].as_strategy())
    def send(case):
        prepared = requests.Request(**case.as_transport_kwargs(base_url="http://127.0.0.1")).prepare()
        sent.append(unquote_plus(prepared.url.partition("?")[2]))

    send()
    return sent[0]


alone, beside = query(OBJECTS), query(OBJECTS, JOINED)
print(f"alone: {alone}\nbeside a joined list: {beside}")
assert alone == "o=a&o=b" and "o={'a': 'x', 'b': 1}" in beside
PYTHON
"$folder/python/bin/python" "$folder/query.py"
