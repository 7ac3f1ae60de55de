#!/usr/bin/env bash
# schemathesis 4.32.5: a value for a path is percent-decoded before it is percent-encoded. The valid value `100%41` is sent as `/a/100A`,
# and `a%2Fb` as `/a/a%2Fb`, so a server reads `100A` and `a/b`, which may not even fit the schema. Encoded once, as RFC 6570 (3.2.2)
# has it, they are `/a/100%2541` and `/a/a%252Fb`. In a query the same values arrive as they are.
# Runs Schemathesis alone on valid data. Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install --quiet --disable-pip-version-check schemathesis==4.32.5
cat > "$folder/path.py" <<'PYTHON'
import requests
import schemathesis
from hypothesis import Phase, given, settings


def url(value):
    schema = {"type": "string", "enum": [value]}
    parameters = [{"name": name, "in": name, "required": True, "schema": schema} for name in ("path", "query")]
    operation = {"parameters": parameters, "responses": {"200": {"description": "Good"}}}
    document = {"openapi": "3.0.3", "info": {"title": "Paths", "version": "1"}, "paths": {"/a/{path}": {"get": operation}}}
    sent = []

    @settings(max_examples=1, database=None, deadline=None, phases=[Phase.generate])
    @given(case=schemathesis.openapi.from_dict(document)["/a/{path}"]["GET"].as_strategy())
    def send(case):
        sent.append(requests.Request(**case.as_transport_kwargs(base_url="http://127.0.0.1")).prepare().path_url)

    send()
    return sent[0]


plain, slash = url("100%41"), url("a%2Fb")
print(plain, slash, sep="\n")
assert plain == "/a/100A?query=100%2541" and slash == "/a/a%2Fb?query=a%252Fb"
PYTHON
"$folder/python/bin/python" "$folder/path.py"
