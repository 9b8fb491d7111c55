"""What stands around an SDK: an upstream that serves a fixture, and the real proxy before it."""

import json
import os
import socket
import struct
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

LIMIT = 10


def chunk(handler, piece):
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.wfile.flush()


def closes_late(handler):
    time.sleep(0.5)
    handler.wfile.write(b"0\r\n\r\n")


def resets(handler):
    time.sleep(0.1)  # What has not arrived is lost with a reset.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())


def breaks_off(handler):
    pass  # Its connection is closed, without the last chunk.


def stays_open(handler):
    time.sleep(LIMIT)


def sends_comments(handler):
    while True:
        chunk(handler, b": alive\n\n")
        time.sleep(0.05)


class Upstream:
    """Answers each request with what it was told to serve."""

    def __init__(self):
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers.get("content-length", 0)))
                upstream.asked.append(self.path)
                try:
                    upstream.play(self)
                except OSError:
                    self.close_connection = True

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.asked = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, content_type, pieces, status=200, pause=0.0, behind=0, until=None, broken=False, then=None):
        """Serves these pieces from now on, each as a chunk of its own.

        Pauses behind one of them (behind the head if it is -1), or goes on only until the event `until` and then stalls, or breaks off without an end, or does `then` in place of an end.
        """

        def play(handler):
            handler.send_response(status)
            handler.send_header("content-type", content_type)
            handler.send_header("transfer-encoding", "chunked")
            handler.send_header("connection", "close")
            handler.end_headers()
            handler.wfile.flush()
            time.sleep(pause if behind < 0 else 0)
            for number, piece in enumerate(pieces):
                if until and until.wait(0.15):
                    time.sleep(LIMIT)
                end = b"0\r\n\r\n" if number + 1 == len(pieces) and not broken and not then else b""
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) + end)
                handler.wfile.flush()
                # A moment between two, so that they are not one read of the proxy's.
                time.sleep(pause if number == behind else 0.002)
            if then:
                then(handler)

        self.asked.clear()
        self.play = play


class Proxy:
    """The real binary, on ports of its own."""

    def __init__(self, binary, upstream, *options):
        command = [binary, f"--upstream={upstream.url}", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = self.process.stdout.readline().removeprefix("listening on ").strip()
        self.admin = self.process.stdout.readline().removeprefix("admin on ").strip()
        self.known = None

    def see(self, target, method="GET"):
        with urlopen(Request(self.admin + target, method=method), timeout=LIMIT) as answer:
            return json.load(answer)

    def ending(self):
        """The ending of the exchange behind the last one that was asked for."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            endings = self.see("/endings?limit=1")
            if endings and endings[0]["id"] != self.known:
                self.known = endings[0]["id"]
                return endings[0]
            time.sleep(0.005)
        raise AssertionError("no ending")

    def abort(self):
        """Aborts the only live exchange."""
        [stream] = self.see("/streams")
        assert self.see(f"/streams/{stream['id']}?reason=stop", "DELETE") == {"result": "aborted"}

    def close(self):
        self.process.terminate()
        return self.process.wait(LIMIT)
