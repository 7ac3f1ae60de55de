#!/usr/bin/env bash
# Makes a kept data folder: an earlier version of the program begins runs of every kind that waits, and ends; its data are kept
# in tests/kept/FOLDER/data, for the test kept:: to go on with. FOLDER has the project already: fastagency.yaml and workflows/.
#
#   scripts/keep-data.sh COMMIT FOLDER        tests/kept/2026-11-26 was made with c40b5b2
#
# BINARY=path takes a program that was built from that commit already. A kept folder is never made again, nor changed.
set -euo pipefail
cd "$(dirname "$0")/.."
commit=${1:?a commit} kept=tests/kept/${2:?a folder of tests/kept}
work=$(mktemp -d)
started=
finish() {
  [ -z "$started" ] || kill "$started" 2>/dev/null || true
  git worktree remove --force "$work/tree" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

if [ -z "${BINARY:-}" ]; then
  git worktree add --detach "$work/tree" "$commit" >&2
  (cd "$work/tree" && cargo build --locked --target-dir "$work/target") >&2
  BINARY=$work/target/debug/fastagency
fi
mkdir "$work/project"
cp -r "$kept/fastagency.yaml" "$kept/workflows" "$work/project"
port=${PORT:-18097}
(cd "$work/project" && exec "$BINARY" all --port "$port" --ui-port $((port + 1))) > "$work/log" 2>&1 &
started=$!

python3 - "http://127.0.0.1:$port" "$kept" <<'PYTHON'
import json, pathlib, sys, time, urllib.error, urllib.request

url, kept = sys.argv[1], pathlib.Path(sys.argv[2])

def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")

def eventually(what, look):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.1)
    raise SystemExit(f"not in time: {what}")

names = sorted(path.stem for path in (kept / "workflows").glob("*.yaml"))
eventually("every workflow is known", lambda: len(call("GET", "/api/workflows")["workflows"]) == len(names))
# The child is begun by `detached`. What would be over soon comes last.
late = ["busy", "timer", "deadline"]
runs = {}
for name in [name for name in names if name not in late + ["child"]] + late[::-1]:
    runs[name] = call("POST", "/api/runs", {"workflow": name})["id"]

def question(run, prompt):
    asked = [one for one in call("GET", "/api/questions")["questions"] if one["run"]["id"] == run]
    return next((one["id"] for one in asked if one["prompt"] == prompt), None)

# One password is in the log, sealed, when its run goes on.
first = eventually("the password is asked for", lambda: question(runs["sealed"], "Password?"))
call("POST", f"/api/runs/{runs['sealed']}/answers/{first}", {"value": "hunter2"})
eventually("the run goes on to the next question", lambda: question(runs["sealed"], "Sure?"))
# approval, two at once, choice, deadline, detached, its child, group, handed, parent, password, sealed, text
asked = 13
eventually("everything waits", lambda: len(call("GET", "/api/questions")["questions"]) == asked)
over = lambda: call("GET", f"/api/runs/{runs['over']}")["state"] == "ended"
eventually("one is over", over)
# Until those that only wait are parked, and before the first of their deadlines.
time.sleep(2)
PYTHON

# As a crash leaves them: nothing is tidied up, and nothing that is at work comes to its end.
kill -9 "$started"
wait "$started" 2>/dev/null || true
started=
rm -rf "$kept/data"
(cd "$work/project" && find data -type f) | while read -r file; do
  mkdir -p "$kept/$(dirname "$file")"
  gzip -9 -n -c "$work/project/$file" > "$kept/$file.gz"
done
cat "$work/log" >&2
du -ab "$kept"
