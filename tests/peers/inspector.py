#!/usr/bin/env python3
"""The inspection office: an HTTP receiver that checks each request with other people's libraries and keeps it.

The signature is verified with `standardwebhooks`, the body parsed with the CloudEvents SDK. Every request is kept with its headers,
raw body, time, the verdict and the status it was answered with. `mode` says how to answer:

    up          200, {"ResponseStatusObject": {"StatusCode": 0}}
    down        the listening socket is closed, open connections are cut
    error-body  200, but {"ResponseStatusObject": {"StatusCode": 1}}: received, not accepted
    500 …       any status, the body says nothing
    307 …       any 3xx, with `location`
    hang        the request is read and never answered
    cut         the request is read and the connection closed
    endless     200, and a body that does not end

or it is an object of its own (peers/bad_office.py): `accepts(headers, body)` says what counts as taken, `reply(handler, headers, body)` answers.
"""
import argparse
import base64
import dataclasses
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from standardwebhooks import Webhook, WebhookVerificationError

from ledger import Ledger

ACCEPTED = b'{"ResponseStatusObject":{"StatusCode":0}}'
REFUSED = b'{"ResponseStatusObject":{"StatusCode":1}}'


@dataclasses.dataclass
class Request:
    ns: int
    headers: dict          # names in lower case
    body: bytes
    verdict: str           # "ok", or what was wrong with it
    mode: str              # how the inspector answered
    accepted: bool
    event: object = None   # the SDK's event, when the verdict is "ok"

    @property
    def id(self):
        return self.headers.get("webhook-id")

    @property
    def json(self):
        return json.loads(self.body)


class Inspector:
    def __init__(self, port, secret, ledger=None):
        self.port, self.ledger, self.requests = port, ledger or Ledger(), []
        self._webhook = Webhook(secret)
        self._lock = threading.Lock()
        self._open = set()      # connections
        self._server = None
        self.mode, self.location, self.endless_sent = "down", "", 0

    def set(self, mode, location=""):
        self.location = location
        if mode == "down":
            self.mode = mode
            self._close()
        else:
            self.mode = mode
            if not self._server:
                self._listen()
        return self

    def stop(self):
        self.set("down")

    def accepted(self):
        """What was accepted, in the order of receipt."""
        with self._lock:
            return [request for request in self.requests if request.accepted]

    def received(self):
        with self._lock:
            return list(self.requests)

    def judge(self, headers, body):
        """(verdict, event): does the signature hold, and is the body one CloudEvent?"""
        try:
            self._webhook.verify(body, headers)
        except WebhookVerificationError as error:
            return f"signature: {error}", None
        try:
            return "ok", from_structured_event(HTTPMessage(headers, body))
        except Exception as error:  # whatever the SDK refuses
            return f"event: {error!r}", None

    def _listen(self):
        inspector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                inspector._open.add(self.connection)

            def finish(self):
                inspector._open.discard(self.connection)
                super().finish()

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                inspector._answer(self, {k.lower(): v for k, v in self.headers.items()}, body)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_):
                pass  # connections are cut on purpose here

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def _close(self):
        server, self._server = self._server, None
        if server:
            server.shutdown()
            server.server_close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _answer(self, handler, headers, body):
        verdict, event = self.judge(headers, body)
        mode = self.mode
        own_way = not isinstance(mode, str)
        accepted = verdict == "ok" and (mode.accepts(headers, body) if own_way else mode == "up")
        with self._lock:
            fact = self.ledger.write(id=headers.get("webhook-id"), verdict=verdict, mode=str(mode), accepted=accepted, headers=headers,
                                     body=base64.b64encode(body).decode())
            self.requests.append(Request(fact["ns"], headers, body, verdict, mode, accepted, event))
        if own_way:
            try:
                mode.reply(handler, headers, body)
            except OSError:
                handler.close_connection = True  # the other side has gone
        elif mode == "down" or mode == "cut":
            handler.close_connection = True
        elif mode == "hang":
            while self.mode == "hang" and handler.connection in self._open:
                time.sleep(0.1)
            handler.close_connection = True
        elif mode == "endless":
            self._pour(handler)
        elif mode == "up":
            self._reply(handler, 200 if accepted else 400, ACCEPTED if accepted else REFUSED)
        elif mode == "error-body":
            self._reply(handler, 200, REFUSED)
        else:
            self._reply(handler, int(mode), b"")

    def _reply(self, handler, status, body):
        try:
            handler.send_response(status)
            if 300 <= status < 400:
                handler.send_header("location", self.location)
            handler.send_header("content-type", "application/json")
            handler.send_header("content-length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True  # the other side has gone

    def _pour(self, handler):
        handler.close_connection = True
        try:
            handler.send_response(200)
            handler.send_header("content-type", "application/json")
            handler.send_header("transfer-encoding", "chunked")
            handler.end_headers()
            chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
            while self.mode == "endless":
                handler.wfile.write(chunk)
                self.endless_sent += 0x4000
        except OSError:
            pass  # hung up on, as it should be


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8600)
    parser.add_argument("--secret", default="whsec_" + base64.b64encode(b"a secret of twenty-four!").decode())
    parser.add_argument("--ledger", help="JSONL file of every request")
    a = parser.parse_args()
    inspector = Inspector(a.port, a.secret, Ledger(a.ledger)).set("up")
    print(f"listening on 127.0.0.1:{a.port}; on stdin: a mode, and a location for 3xx", flush=True)
    for line in sys.stdin:
        inspector.set(*line.split())
    threading.Event().wait()
