"""A small serverless host: ``server.py DIRECTORY PORT``.

A request for /NAME forks a worker, which runs the function NAME and answers with what it returned. Workers keep their
files in DIRECTORY/workers; the parent keeps a log beside it.
"""

import http.server
import os
import pathlib
import socket
import socketserver
import sys

ROOT, PORT = pathlib.Path(sys.argv[1]), int(sys.argv[2])
WORKERS = ROOT / "workers"


def hello():
    """Needs nothing."""
    return "hello"


def count():
    """Keeps a number in a file of its own."""
    file = WORKERS / "count"
    number = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(number))
    return f"request {number}"


def local():
    """Reaches a service on this host: the server itself."""
    with socket.create_connection(("127.0.0.1", PORT), timeout=10):
        return "connected to this host"


def snoop():
    """Reads what is none of its business."""
    return f"read {len(pathlib.Path('/etc/passwd').read_text())} letters"


def escape():
    """The same by another spelling."""
    link = WORKERS / f"link-{os.getpid()}"
    link.symlink_to("/proc/self/root/etc/passwd")
    try:
        return f"read {len(link.read_text())} letters"
    finally:
        link.unlink()


def spill():
    """Writes outside its folder."""
    (ROOT / "server.log").write_text("")
    return "the log is empty"


def phone():
    """Sends a datagram to somewhere else (an address for documentation, RFC 5737)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(b"data", ("192.0.2.1", 9))
    return "sent"


FUNCTIONS = {function.__name__: function for function in (hello, count, local, snoop, escape, spill, phone)}


class Worker(http.server.BaseHTTPRequestHandler):
    """One request, in a process of its own."""

    def do_GET(self):
        """Run the function."""
        try:
            answer = FUNCTIONS[self.path.strip("/")]()
        except KeyError:
            answer = "no such function"
        except OSError as error:
            answer = f"failed: {error.strerror}"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{answer}\n".encode())

    def log_message(self, *words):
        """The parent logs."""


class Server(socketserver.ForkingMixIn, http.server.HTTPServer):
    """The parent."""

    allow_reuse_address = True

    def process_request(self, request, client_address):
        """Log, then fork."""
        with open(ROOT / "server.log", "a") as log:
            log.write(f"request from {client_address[0]}\n")
        super().process_request(request, client_address)


if __name__ == "__main__":
    WORKERS.mkdir(parents=True, exist_ok=True)
    Server(("127.0.0.1", PORT), Worker).serve_forever()
