"""Registers the two servers over the pipe, with the routes that the clients expect, and stays. Prints a line once all serve."""
import socket
import sys
import time

pipe, python_port, node_port = sys.argv[1:]
host, port = pipe.rsplit(":", 1)
lines = socket.create_connection((host, int(port))).makefile("rw", newline="\n")


def ask(line):
    lines.write(line + "\n")
    lines.flush()
    reply = lines.readline().strip()
    assert not reply.startswith("ERROR"), (line, reply)
    return reply


session = ask("REGISTER|echo|echo-1|5|{}").split("|")[1]
routes = {
    "python.test": f"h2c://127.0.0.1:{python_port}",
    "node.test": f"h2c://127.0.0.1:{node_port}",
    "limited.test": f"h2c://127.0.0.1:{python_port}",
    "dead.test": "h2c://127.0.0.1:9",
}
ids = {domain: ask(f"ROUTE_ADD|{session}|{domain}|/|{url}|0").split("|")[1] for domain, url in routes.items()}
ask(f"HEALTH_SET|{session}|{ids['python.test']}|grpc:test.Echo|1s|1s")
ask(f"RATELIMIT_SET|{session}|{ids['limited.test']}|1|1h")
ask(f"CONFIG_APPLY|{session}")
end = time.monotonic() + 10
while '"healthy":true' not in (said := ask(f"CIRCUIT_BREAKER_STATUS|{session}|{ids['python.test']}").replace(" ", "")):
    assert time.monotonic() < end, said
    time.sleep(0.1)
print("ready", flush=True)
lines.readline()  # until the program ends
