"""T30: an office whose certificate is wrong in each way. Nothing of the letter leaves, each has a reason of its own, and all is well when it is mended."""
import pathlib
import socket
import ssl
import threading
import time

import pytest

from inspector import Inspector
from support.compound import ACCEPT_BODY, http_endpoint
from support.gateway import SECRET
from support.judge import copy_of, waiting
from support.machine import free_port
from support.tls import Authority
from support.waiting import wait_until

MENDED_WITHIN = 5 * 60


class Front:
    """TLS in front of an inspector, with whatever certificate it is given; `leaked` are bytes of a request that came through a wrong one."""

    def __init__(self, office):
        self.office, self.port, self.leaked, self.calls = office, free_port(), 0, 0
        self.context = None
        self._socket = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, daemon=True).start()

    def shows(self, certificate, key, tls10=False, right=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        if tls10:
            context.set_ciphers("DEFAULT@SECLEVEL=0")
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
        self.right, self.context = right, context
        return self

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        self.calls += 1
        right = self.right
        try:
            with self.context.wrap_socket(connection, server_side=True) as secure, socket.create_connection(("127.0.0.1", self.office.port)) as inside:
                threading.Thread(target=self._back, args=(inside, secure), daemon=True).start()
                while piece := secure.recv(65536):
                    if not right:
                        self.leaked += len(piece)
                    inside.sendall(piece)
        except OSError:
            pass  # they do not like the certificate

    def _back(self, inside, secure):
        try:
            while piece := inside.recv(65536):
                secure.sendall(piece)
        except OSError:
            pass

    def stop(self):
        self._socket.close()


@pytest.mark.long
@pytest.mark.row("T30", "TLS: six certificates or versions that are wrong")
@pytest.mark.deadline(180)
def test_wrong_certificates(scene, score, ending, tmp_path):
    ours, strangers = Authority(tmp_path, "ours"), Authority(tmp_path, "strangers")
    good = ours.signs("good")
    wrong = {
        "expired": ours.signs("expired", ends="20210101000000Z"),
        "not-yet": ours.signs("not-yet", begins="20440101000000Z"),
        "other-host": ours.signs("other-host", host="DNS:other.example"),
        "swapped": strangers.signs("swapped"),
        "self-signed": (strangers.pem, strangers.folder / "ca.key"),
        "tls10": good,
    }
    fronts, site = {}, ""
    for name, (certificate, key) in wrong.items():
        fronts[name] = ending(Front(ending(Inspector(free_port(), SECRET).set("up")))).shows(certificate, key, tls10=name == "tls10")
        site += http_endpoint(name, fronts[name].port, accept=ACCEPT_BODY, scheme="https", more=f'ca_file = "{ours.pem}"')
    panels, _, service = scene(1, names=(), more=site)
    service.start()
    panels.push("panel-1", True)
    wait_until(lambda: all(front.calls for front in fronts.values()), 20, "each was tried")
    wait_until(lambda: len(said(service)) == len(wrong), 10, "each has its reason")
    reasons = said(service)
    assert len(set(reasons.values())) >= len(wrong) - 1, f"a stranger's and a self-signed one may sound alike, the others not: {reasons}"
    assert all("TLS" in reason for reason in reasons.values()), reasons
    words = {"expired": "expired", "not-yet": "not valid yet", "other-host": "another name", "tls10": "version of TLS"}
    assert all(word in reasons[name] for name, word in words.items()), reasons
    assert not any(front.leaked or front.office.received() for front in fronts.values()), "something of the letter was sent"
    for front in fronts.values():
        front.shows(*good, right=True)
    begun = time.monotonic()
    wait_until(lambda: waiting(pathlib.Path(service.folder) / "store") == 0, MENDED_WITHIN, "delivered when it is mended")
    score.recovered(time.monotonic() - begun, MENDED_WITHIN)
    panels.push("panel-1", False)
    wait_until(lambda: all(len(front.office.accepted()) == 2 for front in fronts.values()), 10, "returned, delivered")
    assert not any(front.leaked for front in fronts.values())
    assert service.stop()[0] == 0
    score.judge(service.folder / "store", {name: front.office for name, front in fronts.items()}, panels).holds()


def said(service):
    """{endpoint: why its letter has not been delivered}"""
    with copy_of(service.folder / "store") as db:
        return {endpoint: why for endpoint, why in db.execute("SELECT endpoint, last_error FROM outbox") if why}
