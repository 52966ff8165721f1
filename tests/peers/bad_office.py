"""Receivers that are ill: each is a mode of the inspector (peers/inspector.py). What they poured out and when they were hung up on is theirs to tell.

`accepts` says whether the office itself counts the letter as taken, whatever its reply says.
"""
import gzip
import random
import socket
import struct
import time


class Office:
    def __init__(self):
        self.poured, self.visits = 0, []  # bytes; (begun, how long until they hung up or were answered)

    def accepts(self, headers, body):
        return False

    def reply(self, handler, headers, body):
        handler.close_connection = True
        begun = time.monotonic()
        try:
            self.answer(handler, headers, body)
        finally:
            self.visits.append((begun, time.monotonic() - begun))

    def send(self, handler, piece):
        handler.wfile.write(piece)
        self.poured += len(piece)


class Says(Office):
    """One status, with headers and a body."""

    def __init__(self, status, body=b"", taken=False, **headers):
        super().__init__()
        self.status, self.body, self.taken = status, body, taken
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def accepts(self, headers, body):
        return self.taken

    def answer(self, handler, headers, body):
        handler.send_response(self.status)
        for name, value in {"content-length": str(len(self.body)), **self.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        self.send(handler, self.body)


class Drips(Office):
    """A right answer, one byte every `every` seconds."""

    def __init__(self, every=1.0):
        super().__init__()
        self.every = every

    def answer(self, handler, headers, body):
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 41\r\ncontent-type: application/json\r\n\r\n" + b'{"ResponseStatusObject":{"StatusCode":0}}':
            self.send(handler, bytes([byte]))
            time.sleep(self.every)


class NeverSpeaks(Office):
    """Takes the request and says nothing until they hang up."""

    def answer(self, handler, headers, body):
        handler.connection.settimeout(60)
        handler.connection.recv(1)


class Cuts(Office):
    """Takes each letter into its books; by chance it resets, or closes, the connection before it has said so."""

    def __init__(self, chance=0.5, seed=27):
        super().__init__()
        self._chance, self._share, self.cut = random.Random(seed), chance, 0

    def accepts(self, headers, body):
        return True

    def answer(self, handler, headers, body):
        if self._chance.random() >= self._share:
            return Says(200, b'{"ResponseStatusObject":{"StatusCode":0}}').answer(handler, headers, body)
        self.cut += 1
        if self.cut % 2:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()


class Pours(Office):
    """10 GiB are announced, and sent."""

    def answer(self, handler, headers, body):
        self.send(handler, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10737418240\r\n\r\n")
        while True:
            self.send(handler, b" " * 0x4000)


class Bomb(Office):
    """A right answer behind 256 MiB of blanks, as gzip."""

    def __init__(self):
        super().__init__()
        self.bomb = gzip.compress(b" " * (256 << 20) + b'{"ResponseStatusObject":{"StatusCode":0}}', 6)

    def answer(self, handler, headers, body):
        Says(200, self.bomb, content_encoding="gzip", content_type="application/json").answer(handler, headers, body)


class Babbles(Office):
    """Each time something else that is not HTTP."""

    WORDS = [b"HTTP/1.1 2oo OK\r\n\r\n", b"\x00\xff" * 500, b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n{}", b"HTTP/9.9 200 OK\r\n\r\n",
             b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * (1 << 20) + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
             b"HTTP/1.1 200 OK\r\ncontent-length: 41\r\n\r\n" + b'{"ResponseStatusObject"']

    def answer(self, handler, headers, body):
        self.send(handler, self.WORDS[len(self.visits) % len(self.WORDS)])


class Refuses(Office):
    """One letter's event is poison to it; all else is welcome."""

    def __init__(self, poison, status=422):
        super().__init__()
        self.poison, self.status = poison, status

    def accepts(self, headers, body):
        return not self.poison(headers, body)

    def answer(self, handler, headers, body):
        if self.poison(headers, body):
            Says(self.status, b'{"error":"no such lift"}').answer(handler, headers, body)
        else:
            Says(200, b'{"ResponseStatusObject":{"StatusCode":0}}').answer(handler, headers, body)
