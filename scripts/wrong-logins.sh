#!/usr/bin/env bash
# What guessing passwords comes to: whether the time of a refusal says which users there are, and what 10 000 wrong logins do
# to a right one meanwhile and to the gateway's memory. Usage: scripts/wrong-logins.sh PROGRAM [LOGINS]
set -euo pipefail
program=$(realpath "$1")
logins=${2:-10000}
port=${PORT:-18491}
folder=$(mktemp -d)
trap 'kill "${tier:-0}" 2>/dev/null || true; rm -rf "$folder"' EXIT
mkdir "$folder/workflows"
cp "$(dirname "$0")/../workflows/echo.yaml" "$folder/workflows/"
cd "$folder"
# The script speaks for many addresses, as a proxy does that is believed.
printf 'version: 1\nauth: { mode: basic, file: access.yaml, proxies: [127.0.0.0/8] }\n' >fastagency.yaml
echo 'the right password' | "$program" user add alice --file access.yaml >/dev/null
echo 'the right password' | "$program" user add bob --file access.yaml >/dev/null
"$program" all --port "$port" --ui-port "$((port + 1))" >all.log 2>&1 & tier=$!
until curl -sf "http://127.0.0.1:$port/readyz" >/dev/null; do kill -0 "$tier" || { cat all.log; exit 1; }; sleep 0.2; done
python3 - "$port" "$logins" "$tier" <<'PYTHON'
import base64, collections, http.client, statistics, sys, threading, time

port, logins, tier = map(int, sys.argv[1:])

def client():
    return http.client.HTTPConnection("127.0.0.1", port, timeout=60)

def login(connection, user, password, address):
    proof = base64.b64encode(f"{user}:{password}".encode()).decode()
    start = time.perf_counter()
    connection.request("GET", "/api/me", headers={"Authorization": f"Basic {proof}", "X-Forwarded-For": address})
    answer = connection.getresponse()
    answer.read()
    return answer.status, (time.perf_counter() - start) * 1e3

def memory():
    with open(f"/proc/{tier}/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))

# One try for each address, so that nobody waits for a throttle.
took, one = collections.defaultdict(list), client()
for number in range(80):
    for user in ("alice", "nobody"):
        status, milliseconds = login(one, user, f"wrong {number}", f"10.1.{user == 'alice':d}.{number}")
        assert status == 401, status
        took[user].append(milliseconds)
known, unknown = took["alice"][5:], took["nobody"][5:]
print(f"a wrong password of a user that there is: median {statistics.median(known):.2f} ms (deciles {statistics.quantiles(known, n=10)[0]:.2f} to {statistics.quantiles(known, n=10)[-1]:.2f})")
print(f"of one that there is not:                 median {statistics.median(unknown):.2f} ms (deciles {statistics.quantiles(unknown, n=10)[0]:.2f} to {statistics.quantiles(unknown, n=10)[-1]:.2f})")

def right(stop, times, user, address):
    connection = client()
    while not stop.is_set():
        times.append(login(connection, user, "the right password", address))
        time.sleep(0.1)

def attack(what, aim):
    assert login(one, "bob", "the right password", "10.9.9.9")[0] == 200
    # Not from where it was right just now, which is remembered for a minute: as somebody whom nobody knows yet.
    before, counts, lock, times, stop = memory(), collections.Counter(), threading.Lock(), [], threading.Event()
    def guess(numbers):
        connection = client()
        for number in numbers:
            status, _ = login(connection, *aim(number))
            with lock:
                counts[status] += 1
    watcher = threading.Thread(target=right, args=(stop, times, "bob", "10.9.9.9"))
    watcher.start()
    start = time.perf_counter()
    threads = [threading.Thread(target=guess, args=(range(first, logins, 20),)) for first in range(20)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    statuses = collections.Counter(status for status, _ in times)
    slow = statistics.quantiles([milliseconds for _, milliseconds in times], n=100)
    print(f"{logins} wrong logins {what}: {seconds:.1f} s, answers {dict(counts)}; bob, who is right, meanwhile: {dict(statuses)}, "
          f"median {slow[49]:.1f} ms, p99 {slow[98]:.1f} ms; memory {before} -> {memory()} MB")

attack("from one address, at many names", lambda n: (f"guess {n}" if n % 2 else "alice", f"wrong {n}", "10.2.0.1"))
attack("at bob, from 5 000 addresses", lambda n: ("bob", f"wrong {n}", f"10.3.{n % 5000 // 250}.{n % 250}"))
PYTHON
