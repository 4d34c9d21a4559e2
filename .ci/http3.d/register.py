"""Registers the backend over the pipe, and stays. Prints a line once all routes serve."""
import socket
import sys

pipe, backend = sys.argv[1:]
host, port = pipe.rsplit(":", 1)
lines = socket.create_connection((host, int(port))).makefile("rw", newline="\n")


def ask(line):
    lines.write(line + "\n")
    lines.flush()
    reply = lines.readline().strip()
    assert not reply.startswith("ERROR"), (line, reply)
    return reply


session = ask("REGISTER|shop|shop-1|5|{}").split("|")[1]
ask(f"ROUTE_ADD|{session}|a.test,b.test|/|http://127.0.0.1:{backend}|0")
small = ask(f"ROUTE_ADD|{session}|a.test|/small|http://127.0.0.1:{backend}|0").split("|")[1]
ask(f"OPTIONS_SET|{session}|{small}|max_body_size|1000")
ask(f"CONFIG_APPLY|{session}")
print("ready", flush=True)
lines.readline()  # until the program ends
