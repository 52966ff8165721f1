"""The checker of the fault runs: what the residents did, what events.db holds, and what the receivers took, held against each other.

It reads events.db with Python's own sqlite3, from a copy, and shares nothing with the gateway but the names of tables and keys.
"""
import collections
import contextlib
import shutil
import sqlite3
import tempfile

from support.waiting import stretched

KINDS = {"raised": True, "returned": False, "closed": False}


@contextlib.contextmanager
def copy_of(store, name="events.db"):
    """A connection to a copy: the log beside the file is recovered there, the original is not touched."""
    with tempfile.TemporaryDirectory(prefix="gatehouse-judge-") as folder:
        for ending in ("", "-wal"):
            if (store / (name + ending)).exists():
                shutil.copy(store / (name + ending), folder)
        with contextlib.closing(sqlite3.connect(f"{folder}/{name}")) as db:
            yield db


def integrity(store, name="events.db"):
    """What SQLite says of the file: "ok"."""
    with copy_of(store, name) as db:
        return db.execute("PRAGMA integrity_check(3)").fetchone()[0]


DRAIN = 4  # letters a second: after an outage no receiver is flooded (src/uplink/pace.rs has five)
Event = collections.namedtuple("Event", "seq id kind device alarm at_ms")
Letter = collections.namedtuple("Letter", "endpoint id seq device alarm state")


def events(store):
    with copy_of(store) as db:
        return [Event(*row) for row in db.execute("SELECT seq, id, kind, device, alarm, at_ms FROM event ORDER BY seq")]


def letters(store):
    with copy_of(store) as db:
        return [Letter(*row) for row in db.execute("SELECT endpoint, event_id, seq, device, alarm, state FROM outbox ORDER BY row")]


def waiting(store):
    """How many letters are still to be delivered."""
    return sum(letter.state == "queued" for letter in letters(store))


class Score:
    """L lost, D doubled, O out of order, W wrong; R the time to recover, in seconds."""

    def __init__(self):
        self.lost, self.doubled, self.disorder, self.wrong = [], [], [], []
        self.owned_up = []  # taken, then lost by a disk that had confirmed it; and the gateway told the receiver so
        self.recovery, self.notes = None, []

    def __str__(self):
        recovery = "R –" if self.recovery is None else f"R {self.recovery:.1f} s"
        return f"L {len(self.lost)}  D {len(self.doubled)}  O {len(self.disorder)}  W {len(self.wrong)}  {recovery}" + "".join(f"  {note}" for note in self.notes)

    def note(self, text):
        self.notes.append(text)

    def recovered(self, seconds, within):
        """The longest of several counts."""
        self.recovery = max(seconds, self.recovery or 0.0)
        self.within(seconds, within, "recovered after")

    def within(self, seconds, bound, what):
        allowed = stretched(bound)
        if seconds > bound:
            self.note(f"bounds × {allowed / bound:.1f} on this busy machine")
        assert seconds <= allowed, f"{what} {seconds:.1f} s, not within {bound} (here {allowed:.1f})"

    def holds(self, doubled=0, owned_up=0):
        """The default pass line of every row; at most `doubled` receipts more than one, at most `owned_up` events that the disk lost after it had confirmed them."""
        assert not self.lost, f"lost: {self.lost[:5]}"
        assert not self.disorder, f"out of order: {self.disorder[:5]}"
        assert not self.wrong, f"wrong: {self.wrong[:5]}"
        assert len(self.owned_up) <= owned_up, f"{len(self.owned_up)} gone from the store: {self.owned_up[:5]}"
        assert len(self.doubled) <= doubled, f"{len(self.doubled)} doubled, at most {doubled}: {self.doubled[:5]}"

    # ── the ledgers ──

    def judge(self, store, receivers, panels=None, buttons=("help",), reported=()):
        """`receivers`: {endpoint: Inspector}; `reported`: ids that a person was told of as not delivered."""
        found, sent = events(store), letters(store)
        if panels:
            for button in buttons:
                self.judge_field(found, panels, button)
        for endpoint, inspector in receivers.items():
            self.judge_receiver(endpoint, inspector.received(), [letter for letter in sent if letter.endpoint == endpoint], reported)
            if panels:
                self.judge_readings(inspector.received(), panels)
        return self

    def judge_field(self, found, panels, button):
        """Every press and every letting go is one event of its panel, in order."""
        for panel in panels.names:
            truth, told = panels.pushes(panel, button), [KINDS[e.kind] for e in found if (e.device, e.alarm) == (panel, button) and e.kind in KINDS]
            if told == truth:
                continue
            if len(told) < len(truth):
                self.lost += [f"{panel}/{button}: {len(truth)} pushes, {len(told)} events"] * (len(truth) - len(told))
            else:
                self.wrong.append(f"{panel}/{button}: {len(truth)} pushes, but {len(told)} events")

    def judge_receiver(self, endpoint, requests, sent, reported):
        tries, first = collections.defaultdict(list), {}
        for n, request in enumerate(requests):
            tries[request.id].append((n, request))
            if request.verdict != "ok":
                self.wrong.append(f"{endpoint}: {request.id}: {request.verdict}")
        for id, same in tries.items():
            taken = [n for n, request in same if request.accepted]
            self.doubled += [f"{endpoint}: {id}"] * (len(taken) - 1)
            if taken:
                first[id] = taken[0]
            if len({request.body for _, request in same}) > 1:
                self.wrong.append(f"{endpoint}: {id} changed between two tries")
        known = {letter.id for letter in sent}
        gone = told_gone(requests)
        for id, same in tries.items():
            if id not in known and not is_volatile(same[0][1]):
                missing = self.owned_up if any(same[0][1].verdict == "ok" and same[0][1].json["gatehouseseq"] in seqs for seqs in gone) else self.wrong
                missing.append(f"{endpoint}: {id} is in no outbox")
        for letter in sent:
            if letter.id not in first:
                if letter.id not in reported and letter.state != "set_aside":
                    self.lost.append(f"{endpoint}: {letter.device}/{letter.alarm} seq {letter.seq}, {letter.state}")
                if letter.state == "delivered":
                    self.wrong.append(f"{endpoint}: seq {letter.seq} counts as delivered, but was never taken")
        self.judge_order(endpoint, sent, tries, first)

    def judge_order(self, endpoint, sent, tries, first):
        """Within an alarm nothing is sent before what came before it has been taken."""
        chains = collections.defaultdict(list)
        for letter in sorted(sent, key=lambda letter: letter.seq):
            chains[letter.device, letter.alarm].append(letter)
        for chain in chains.values():
            for before, after in zip(chain, chain[1:]):
                if after.id in tries and before.state != "set_aside" and not first.get(before.id, float("inf")) < tries[after.id][0][0]:
                    self.disorder.append(f"{endpoint}: {after.device}/{after.alarm} seq {after.seq} before {before.seq}")

    def judge_readings(self, requests, panels):
        """What a body says of a button was so when it was read; the count with it was held within half a minute before it was sent."""
        for request in requests:
            if request.verdict != "ok" or not request.json["type"].startswith("gatehouse.alarm.") or request.json["data"]["alarm"]["name"] != "help":
                continue
            body = request.json
            device, readings = body["data"]["device"]["id"], body["data"]["readings"]
            pressed = readings.get("help", {}).get("value")
            if pressed is not None and pressed != KINDS.get(body["type"].rsplit(".", 1)[1], pressed):
                self.wrong.append(f"{body['type']} of {device} with help = {pressed}")
            count = readings.get("count", {}).get("value")
            if count is not None and (int(count),) not in panels.ledger.ever(panels.names.index(device) + 1, "holding", 1):
                self.wrong.append(f"{device}: count {count} was never held")


def is_volatile(request):
    return request.verdict == "ok" and request.json["data"].get("durability") == "volatile"


def told_gone(requests):
    """The events that the gateway said its store does not hold any more: a range of numbers for each loss."""
    losses = [loss for request in requests if request.verdict == "ok" for loss in request.json["data"].get("losses", [])]
    return [range(loss["first_seq"], loss["last_seq"] + 1) for loss in losses if (loss["class"], loss["reason"]) == ("alarms", "store_gone")]
