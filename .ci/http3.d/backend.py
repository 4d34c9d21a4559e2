"""A backend: pages, large bodies, uploads, and a request that waits until its client goes away. Prints its port."""
import http.server
import json
import select
import threading

PAGE = b"""<!doctype html><title>page</title><img src="/pixel?1"><img src="/pixel?2"><p id="seen"></p><script>
addEventListener("load", () => {
  const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  document.getElementById("seen").textContent = "protocols: " + entries.map((entry) => entry.nextHopProtocol).join(" ");
});
</script>"""
given_up = threading.Event()
waiting = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body, kind="text/plain"):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("alt-svc", 'h3="elsewhere:1"')
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/page":
            self.answer(PAGE, "text/html")
        elif path == "/large":
            self.answer(b"x" * int(self.path.split("?")[1]))
        elif path == "/waits":
            waiting.set()
            # The proxy closes the connection when its client gives the request up.
            select.select([self.connection], [], [], 20)
            given_up.set()
            self.close_connection = True
        elif path == "/given-up":
            self.answer(json.dumps(waiting.wait(10) and given_up.wait(10)).encode())
        elif path == "/waiting":
            self.answer(json.dumps(waiting.wait(10)).encode())
        else:
            seen = {name.lower(): value for name, value in self.headers.items()}
            self.answer(json.dumps({"path": self.path, "fields": seen}).encode(), "application/json")

    def do_POST(self):
        total = 0
        if self.headers.get("transfer-encoding"):
            while size := int(self.rfile.readline(), 16):
                total += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            total = len(self.rfile.read(int(self.headers.get("content-length", "0"))))
        self.answer(str(total).encode())


class Server(http.server.ThreadingHTTPServer):
    # Hundreds of connections may come at once; those that do not fit wait for half a minute and more.
    request_queue_size = 1024


server = Server(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
