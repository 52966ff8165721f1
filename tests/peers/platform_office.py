"""A municipal platform: an HTTP receiver that wants its own JSON and its own login, and says no in the ways platforms do.

Digest is verified here from the text of RFC 7616 section 3.4, with hashlib alone: nonces are of this server and end after
`nonce_uses` requests (then `stale=true`), the nonce count must grow by one with each request.
"""
import hashlib
import re
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Request:
    def __init__(self, headers, body, status):
        self.ns, self.headers, self.body, self.status = time.monotonic_ns(), headers, body, status


class Bearer:
    def __init__(self, token):
        self.token = token

    def judge(self, method, uri, headers, body):
        """(status, headers) of a refusal, or None."""
        return None if headers.get("authorization") == f"Bearer {self.token}" else (401, {"www-authenticate": "Bearer"})


class Digest:
    HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}

    def __init__(self, user, password, algorithm, nonce_uses=3, realm="platform 平台"):
        self.user, self.password, self.algorithm, self.nonce_uses, self.realm = user, password, algorithm, nonce_uses, realm
        self.opaque, self.counts, self.seen = secrets.token_hex(8), {}, []

    def judge(self, method, uri, headers, body):
        given = headers.get("authorization", "")
        if not given.lower().startswith("digest "):
            return self.ask(stale=False)
        fields = {name.lower(): quoted if quoted else plain
                  for name, quoted, plain in re.findall(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', given[7:])}
        nonce = fields.get("nonce", "")
        if nonce not in self.counts:
            return self.ask(stale=True)
        count = int(fields["nc"], 16)
        self.seen.append((nonce, count))
        if count != self.counts[nonce] + 1:
            return 400, {}
        self.counts[nonce] = count
        if fields["response"] != self.expected(method, fields) or fields["uri"] != uri or fields["opaque"] != self.opaque:
            return self.ask(stale=False)
        if count > self.nonce_uses:
            del self.counts[nonce]
            return self.ask(stale=True)
        return None

    def expected(self, method, fields):
        h = lambda text: self.HASHES[self.algorithm](text.encode()).hexdigest()  # noqa: E731
        a1, a2 = h(f"{self.user}:{self.realm}:{self.password}"), h(f"{method}:{fields['uri']}")
        return h(":".join([a1, fields["nonce"], fields["nc"], fields["cnonce"], fields["qop"], a2]))

    def ask(self, stale):
        nonce = secrets.token_urlsafe(12)
        self.counts[nonce] = 0
        realm = self.realm.encode().decode("latin-1")
        return 401, {"www-authenticate": f'Digest realm="{realm}", qop="auth", algorithm={self.algorithm}, nonce="{nonce}", '
                                         f'opaque="{self.opaque}", stale={str(stale).lower()}'}


class Platform:
    """refuse(body, nth) → a status to refuse it with, or None. nth: how often this very body came, from 1."""

    def __init__(self, port, access=None, refuse=None, reply=b'{"code":0}'):
        self.port, self.access, self.refuse, self.reply = port, access, refuse or (lambda body, nth: None), reply
        self.requests, self._lock, self._bodies = [], threading.Lock(), {}
        platform = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, more, said = platform.answer(self.command, self.path, headers, body)
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", port), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, method, uri, headers, body):
        with self._lock:
            denied = self.access.judge(method, uri, headers, body) if self.access else None
            if denied:
                status, more, said = *denied, b""
            else:
                nth = self._bodies[body] = self._bodies.get(body, 0) + 1
                status = self.refuse(body, nth)
                more, said = {}, self.said(body) if status is None else b'{"code":422}'
                status = status or 200
            self.requests.append(Request(headers, body, status))
            return status, more, said

    def said(self, body):
        """`reply` is what it always says, or a function of the body."""
        return self.reply(body) if callable(self.reply) else self.reply

    def accepted(self):
        with self._lock:
            return [request for request in self.requests if request.status == 200]

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
