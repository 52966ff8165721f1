"""The checker itself: from ledgers in which nothing is wrong it finds nothing, and each thing that goes wrong it finds as what it is."""
import dataclasses
import json
import sqlite3

import pytest

from inspector import Request
from support.judge import Score

pytestmark = pytest.mark.needs_no_gateway
SCHEMA = """
CREATE TABLE event (seq, id, kind, device, alarm, at_ms);
CREATE TABLE outbox (row INTEGER PRIMARY KEY, endpoint, event_id, seq, device, alarm, state);
"""


class Ledgers:
    """Two panels, pressed and let go twice: eight events, all delivered in order."""

    names = ["panel-1", "panel-2"]

    def __init__(self, folder):
        self.store = folder
        self.db = sqlite3.connect(folder / "events.db", isolation_level=None)
        self.db.executescript(SCHEMA)
        self.requests, self.truth = [], {name: [] for name in self.names}
        for seq in range(1, 9):
            panel, pressed = self.names[seq % 2], seq in (1, 2, 5, 6)
            kind = "raised" if pressed else "returned"
            self.truth[panel].append(pressed)
            self.db.execute("INSERT INTO event VALUES (?, ?, ?, ?, 'help', 0)", [seq, f"id-{seq}", kind, panel])
            self.db.execute("INSERT INTO outbox VALUES (?, 'office', ?, ?, ?, 'help', 'delivered')", [seq, f"id-{seq}", seq, panel])
            body = {"id": f"id-{seq}", "type": f"gatehouse.alarm.{kind}", "data": {"device": {"id": panel}, "alarm": {"name": "help"}, "readings": {"help": {"value": pressed}}}}
            self.requests.append(Request(seq, {"webhook-id": f"id-{seq}"}, json.dumps(body).encode(), "ok", "up", True))

    def pushes(self, panel, _):
        return self.truth[panel]

    def received(self):
        return self.requests

    def found(self):
        score = Score().judge(self.store, {"office": self}, self)
        return {name: len(getattr(score, name)) for name in ("lost", "doubled", "disorder", "wrong")}


def never_arrived(it):
    it.requests.pop()
    it.db.execute("UPDATE outbox SET state = 'queued' WHERE seq = 8")


def believed_without_a_receipt(it):
    it.requests.pop()


def arrived_twice(it):
    it.requests.append(it.requests[2])


def overtaken(it):
    it.requests[0], it.requests[2] = it.requests[2], it.requests[0]


def sent_before_the_one_before_was_taken(it):
    it.requests.insert(0, dataclasses.replace(it.requests[2], accepted=False))


def changed_between_two_tries(it):
    it.requests.insert(0, dataclasses.replace(it.requests[0], body=it.requests[0].body + b" ", accepted=False))


def badly_signed(it):
    it.requests.insert(0, dataclasses.replace(it.requests[0], verdict="signature: no", accepted=False))


def of_no_outbox(it):
    it.requests.append(dataclasses.replace(it.requests[0], headers={"webhook-id": "id-99"}, body=b'{"type":"x","data":{}}'))


def not_seen_by_the_gateway(it):
    it.truth["panel-1"] += [True, False]


def seen_though_it_never_was(it):
    it.truth["panel-1"].pop()


def says_what_was_not(it):
    it.requests[0].body = it.requests[0].body.replace(b'"value": true', b'"value": false')


NOTHING = dict(lost=0, doubled=0, disorder=0, wrong=0)


def test_nothing_is_found_where_nothing_is_wrong(tmp_path):
    assert Ledgers(tmp_path).found() == NOTHING


@pytest.mark.parametrize("what, found", [
    (never_arrived, {"lost": 1}), (believed_without_a_receipt, {"lost": 1, "wrong": 1}), (arrived_twice, {"doubled": 1}), (overtaken, {"disorder": 1}),
    (sent_before_the_one_before_was_taken, {"disorder": 1}), (changed_between_two_tries, {"wrong": 1}), (badly_signed, {"wrong": 1}), (of_no_outbox, {"wrong": 1}),
    (not_seen_by_the_gateway, {"lost": 2}), (seen_though_it_never_was, {"wrong": 1}), (says_what_was_not, {"wrong": 1}),
], ids=lambda value: value.__name__ if callable(value) else "")
def test_what_goes_wrong_is_found(tmp_path, what, found):
    ledgers = Ledgers(tmp_path)
    what(ledgers)
    assert ledgers.found() == NOTHING | found
