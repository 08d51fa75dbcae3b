#!/usr/bin/env python3
"""Serves the files of a folder on loopback as a good mirror does: a thread a connection, kept open; ranges, ETag and If-Range; bodies by sendfile.

Prints the port and serves until its standard input ends. Standard library only.
"""

import http.server
import re
import sys
import threading
from pathlib import Path


def byte_range(text, size):
    """First and last byte of the one range that a header asks for; None for the whole; ValueError where there is nothing.

    >>> byte_range("bytes=0-9", 100), byte_range("bytes=90-", 100), byte_range("bytes=-5", 100), byte_range("bytes=90-200", 100)
    ((0, 9), (90, 99), (95, 99), (90, 99))
    >>> byte_range(None, 100), byte_range("bytes=1-2,5-6", 100), byte_range("lines=1-2", 100)
    (None, None, None)
    >>> byte_range("bytes=100-", 100)
    Traceback (most recent call last):
        ...
    ValueError: nothing at 100
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text or "")
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size - 1
    if int(first) >= size:
        raise ValueError(f"nothing at {first}")
    return int(first), min(int(last or size), size - 1)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = self.server.folder / Path(self.path).name
        try:
            file = open(path, "rb")
        except OSError:
            return self.send_error(404)
        with file:
            status = path.stat()
            size, etag = status.st_size, f'"{status.st_size:x}-{status.st_mtime_ns:x}"'
            asked = self.headers.get("Range") if self.headers.get("If-Range", etag) == etag else None
            try:
                part = byte_range(asked, size)
            except ValueError:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            first, last = part or (0, size - 1)
            self.send_response(206 if part else 200)
            if part:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", etag)
            self.send_header("Last-Modified", self.date_time_string(status.st_mtime))
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            self.wfile.flush()
            if body:
                try:
                    self.connection.sendfile(file, first, last + 1 - first)
                except (BrokenPipeError, ConnectionResetError):
                    # Whoever asked has enough.
                    self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = Path(folder)


def main():
    server = Server(sys.argv[1])
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
