"""Rows T24 to T37, as far as they are HTTP: offices that are ill in every way (peers/bad_office.py), one endpoint each, all of one gateway."""
import base64
import collections
import json
import os
import statistics
import threading
import time

import pytest
from standardwebhooks import Webhook

from bad_office import Babbles, Bomb, Cuts, Drips, NeverSpeaks, Pours, Refuses, Says
from inspector import Inspector
from support.compound import ACCEPT_BODY, Residents, http_endpoint
from support.gateway import SECRET, at_ns
from support.judge import copy_of, events, letters, waiting
from support.machine import free_port
from support.waiting import never, wait_until

MINUTES = float(os.environ.get("MINUTES", 0.5))
LATEST = 35  # a critical letter is tried again every 30 s at least
YES, NO = b'{"ResponseStatusObject":{"StatusCode":0}}', b'{"ResponseStatusObject":{"StatusCode":1}}'
PORTAL = b"<html><body>Please log in</body></html>"


@pytest.fixture
def ill(scene, ending, tmp_path):
    """ill({name: (mode, accept, timeout)}, panels=1): panels, {name: inspector}, the running gateway. Each office is ill from the start."""

    def make(offices, count=1, **more):
        made, site = {}, ""
        for name, (mode, accept, timeout) in offices.items():
            made[name] = ending(Inspector(free_port(), SECRET).set(mode))
            site += http_endpoint(name, made[name].port, accept=accept, timeout=timeout, **more)
        panels, _, service = scene(count, names=(), more=site)
        return panels, made, service.start()

    return make


def told_of(offices, times, within, what="each office was tried"):
    wait_until(lambda: all(len(office.received()) >= times for office in offices.values()), within, what)


def recover(score, service, offices, within=LATEST):
    """All are well again; everything arrives. R is the slowest office's."""
    begun = time.monotonic()
    for office in offices.values():
        office.set("up")
    wait_until(lambda: waiting(service.folder / "store") == 0, within + 5, "every letter is delivered")
    score.recovered(time.monotonic() - begun, within)


def end(score, service, offices, panels, doubled=0):
    assert service.rss_mib() <= 128
    score.note(f"{service.rss_mib():.0f} MiB")
    assert service.stop()[0] == 0
    score.judge(service.folder / "store", offices, panels).holds(doubled)


@pytest.mark.long
@pytest.mark.row("T24", "500, 502 and 503 for long")
@pytest.mark.deadline(120 + int(60 * MINUTES))
def test_server_errors_for_long(ill, score):
    statuses = ("500", "502", "503")
    panels, offices, service = ill({f"office-{status}": (status, ACCEPT_BODY, "2s") for status in statuses})
    panels.push("panel-1", True)
    told_of(offices, 1, 10)
    began = time.time_ns()
    wait_until(lambda: time.time_ns() - began >= MINUTES * 60e9, MINUTES * 60 + 5, "the time is over", every=0.5)
    for name, office in offices.items():
        tries = [(request.ns - began) / 1e9 for request in office.received()]
        early, later = sum(at < 60 for at in tries), sum(at >= 60 for at in tries) / max(MINUTES - 1, 1)
        if name == "office-500":
            score.note(f"{early} tries in the first minute, {later:.1f} a minute after it")
        # 1, 2, 4 … 30 s, each over its upper three quarters: 4 a minute once the wait has grown
        assert early <= 14 and later <= 4, tries
    panels.push("panel-1", False)
    recover(score, service, offices)
    end(score, service, offices, panels)


@pytest.mark.long
@pytest.mark.row("T26", "slow loris and silence after accept")
def test_answers_that_do_not_end(ill, score):
    sick = {"drips": Drips(0.5), "silent": NeverSpeaks()}
    panels, offices, service = ill({**{name: (mode, ACCEPT_BODY, "60s") for name, mode in sick.items()}, "well": ("up", ACCEPT_BODY, "2s")})
    panels.push("panel-1", True)
    wait_until(lambda: offices["well"].accepted(), 10, "the healthy one is told at once")
    wait_until(lambda: all(mode.visits for mode in sick.values()), 40, "each was hung up on")
    longest = max(took for mode in sick.values() for _, took in mode.visits)
    score.note(f"hung up after {longest:.1f} s at most")
    score.within(longest, 21, "20 s for the whole exchange, and the drop that notices it:")
    panels.push("panel-1", False)
    wait_until(lambda: len(offices["well"].accepted()) == 2, 10, "the healthy one goes on")
    recover(score, service, offices, within=LATEST + 20)
    end(score, service, offices, panels)


@pytest.mark.row("T27", "cut after the whole request, before the reply")
def test_cut_before_the_reply(ill, score):
    cuts = Cuts(0.3)
    panels, offices, service = ill({"cuts": (cuts, ACCEPT_BODY, "2s")}, count=4)
    residents = Residents(panels, lambda: service.alive_since, hold=0.7, rest=0.4).start()
    wait_until(lambda: cuts.cut >= 6, 90, "cut often enough")
    residents.go_home()
    recover(score, service, offices)
    score.note(f"{cuts.cut} cut")
    end(score, service, offices, panels, doubled=cuts.cut)


class Inside:
    """Who must never be visited."""

    def __init__(self):
        self.office = Inspector(free_port(), SECRET).set("up")
        self.url = f"http://127.0.0.1:{self.office.port}/inside"

    def stop(self):
        self.office.stop()


@pytest.mark.row("T28", "redirected to a host inside")
def test_redirected(ill, score, ending):
    inside = ending(Inside())
    kinds = (301, 302, 303, 307, 308)
    panels, offices, service = ill({f"to-{status}": (Says(status, location=inside.url), ACCEPT_BODY, "2s") for status in kinds})
    panels.push("panel-1", True)
    told_of(offices, 1, 10)
    never(lambda: inside.office.received(), 3, "a redirect was followed")
    failing = {row["id"]: row for row in json.loads(service.cli("status", "--json").stdout)["endpoints"]}
    assert all(str(status) in json.dumps(failing[f"to-{status}"], ensure_ascii=False) for status in kinds), failing
    for office in offices.values():
        office.set("up")
    restarted = time.monotonic()  # the wait after a redirect is long, a new start tries at once
    service.kill()
    service.start()
    wait_until(lambda: waiting(service.folder / "store") == 0, 30, "every letter is delivered")
    score.recovered(time.monotonic() - restarted, 30)
    assert inside.office.received() == []
    panels.push("panel-1", False)
    wait_until(lambda: all(len(office.accepted()) == 2 for office in offices.values()), 30, "returned, delivered")
    end(score, service, offices, panels, doubled=len(kinds))


@pytest.mark.row("T28b", "redirected: a person is told that nothing is taken")
def test_redirected_is_told(ill, score):
    panels, _, service = ill({"office": (Says(302, location="http://127.0.0.1:9/inside"), ACCEPT_BODY, "2s")})
    panels.push("panel-1", True)
    pushed = time.monotonic()
    wait_until(lambda: any(row["state"].startswith("active") for row in service.alarms(name="endpoint_rejects")), 15, "the alarm")
    score.recovered(time.monotonic() - pushed, 15)


@pytest.mark.row("T29", "huge, compressed, endless and malformed replies")
def test_replies_without_measure(ill, score):
    sick = {"pours": Pours(), "bomb": Bomb(), "babbles": Babbles()}
    panels, offices, service = ill({**{name: (mode, ACCEPT_BODY, "10s") for name, mode in sick.items()}, "endless": ("endless", ACCEPT_BODY, "10s")})
    panels.push("panel-1", True)
    told_of(offices, 3, 60, "each was tried again and again")
    longest = max(took for mode in sick.values() for _, took in mode.visits)
    poured = max(sick["pours"].poured // max(len(sick["pours"].visits), 1), offices["endless"].endless_sent // 3)
    score.note(f"{poured >> 10} KiB left the office a try, {longest:.1f} s at most")
    assert longest <= 20 and poured <= 16 << 20, "what the sockets hold goes out; what is read is 64 KiB"
    assert not any(office.accepted() for office in offices.values())
    recover(score, service, offices)
    panels.push("panel-1", False)
    wait_until(lambda: all(len(office.accepted()) == 2 for office in offices.values()), 30, "returned, delivered")
    end(score, service, offices, panels)


@pytest.mark.row("T31", "200 that is no receipt")
def test_200_that_is_no_receipt(ill, score):
    plain = "{ status = [200] }"
    sick = {"failure": (Says(200, NO, content_type="application/json"), ACCEPT_BODY), "empty": (Says(200), ACCEPT_BODY), "portal": (Says(200, PORTAL, content_type="text/html"), ACCEPT_BODY),
            "portal-no-rule": (Says(200, PORTAL, content_type="text/html"), plain), "half": (Says(200, YES[:20]), ACCEPT_BODY), "no-json": (Says(200, b"OK"), ACCEPT_BODY)}
    panels, offices, service = ill({name: (mode, accept, "2s") for name, (mode, accept) in sick.items()})
    panels.push("panel-1", True)
    told_of(offices, 2, 60, "each was tried again")
    marked = [letter for letter in letters(service.folder / "store") if letter.state == "delivered"]
    assert not marked, f"counted as delivered: {marked}"
    panels.push("panel-1", False)
    recover(score, service, offices, within=2 * LATEST)
    end(score, service, offices, panels)


@pytest.mark.row("T32", "Retry-After of every kind")
def test_retry_after(ill, score):
    """(status, what it says): (the shortest and the longest wait in seconds that the next try may be put off)"""
    wishes = {"zero": (429, "0", 0.9, 1.6), "minus": (503, "-1", 0.2, 4), "huge": (429, "1000000000", 850, 900), "past": (503, "Thu, 01 Jan 1970 00:00:00 GMT", 0.9, 1.6),
              "text": (429, "soon", 0.2, 4), "three": (503, "3", 2.9, 3.6)}
    panels, offices, service = ill({name: (Says(status, retry_after=value), ACCEPT_BODY, "2s") for name, (status, value, _, _) in wishes.items()})
    panels.push("panel-1", True)
    told_of(offices, 1, 10)
    told_of({name: office for name, office in offices.items() if name != "huge"}, 2, 15)
    with copy_of(service.folder / "store") as db:
        next_try = dict(db.execute("SELECT endpoint, next_at_ms FROM outbox"))
    for name, (_, value, shortest, longest) in wishes.items():
        times = [request.ns / 1e9 for request in offices[name].received()]
        if name == "huge":
            wait = next_try[name] / 1e3 - times[0]
            never(lambda: len(offices[name].received()) > 1, 1, "tried before its time")
        else:
            wait = times[1] - times[0]
        assert shortest <= wait, f"Retry-After {value}: tried again after {wait:.2f} s"
        score.within(wait, longest + 1, f"Retry-After {value}: tried again after")
    for office in offices.values():
        office.set("up")
    service.kill()  # 15 minutes are long; a new start tries at once
    service.start()
    begun = time.monotonic()
    wait_until(lambda: waiting(service.folder / "store") == 0, 30, "every letter is delivered")
    score.recovered(time.monotonic() - begun, 30)
    panels.push("panel-1", False)
    ids = lambda office: {request.id for request in office.accepted()}  # the kill may have doubled one
    wait_until(lambda: all(len(ids(office)) == 2 for office in offices.values()), 30, "returned, delivered")
    end(score, service, offices, panels, doubled=len(offices))


def poisoned(headers, body):
    return json.loads(body)["data"]["device"]["id"] == "panel-1"


@pytest.mark.row("T33", "one letter is poison: the others go on")
def test_poison_delays_nobody(ill, score):
    panels, offices, service = ill({f"office-{status}": (Refuses(poisoned, status), ACCEPT_BODY, "2s") for status in (400, 413, 422)}, count=3)
    panels.push("panel-1", True)
    told_of(offices, 1, 10)
    begun = time.monotonic()
    for panel in panels.names[1:]:
        panels.push(panel, True)
    wait_until(lambda: all(len(office.accepted()) == 2 for office in offices.values()), 10, "the others' alarms")
    score.note(f"the others' within {time.monotonic() - begun:.1f} s")
    time.sleep(1)
    for panel in panels.names:
        panels.push(panel, False)
    wait_until(lambda: all(len(office.accepted()) == 4 for office in offices.values()), 10, "and their returns")
    time.sleep(1)
    assert service.stop()[0] == 0
    score.judge(service.folder / "store", {}, panels).holds()


@pytest.mark.row("T33b", "poison is set aside after three, seen, and sent on request")
def test_poison_is_set_aside(ill, score):
    panels, offices, service = ill({"office": (Refuses(poisoned), ACCEPT_BODY, "2s")}, count=2)
    panels.push("panel-1", True)
    dead = lambda: [letter for letter in letters(service.folder / "store") if letter.state == "set_aside"]
    wait_until(dead, 30, "set aside after three refusals")
    assert len(offices["office"].received()) == 3
    wait_until(lambda: service.alarms(name="letters_set_aside"), 10, "a person is told")
    offices["office"].set("up")
    service.cli("delivery", "retry", "office", "--as", "值班员")
    wait_until(lambda: offices["office"].accepted(), 10, "sent on request")
    panels.push("panel-1", False)
    wait_until(lambda: len(offices["office"].accepted()) >= 2, 10, "what comes later too")
    recover(score, service, offices)
    end(score, service, offices, panels)


@pytest.mark.row("T34", "401 in the midst, the secret is changed")
def test_the_secret_is_changed(ill, score, tmp_path):
    """The office gets a new secret: what is signed with the old one it answers with 401, until the file holds the new one. No restart."""
    panels, offices, service = ill({"office": ("up", ACCEPT_BODY, "2s")})
    panels.push("panel-1", True)
    wait_until(lambda: offices["office"].accepted(), 10, "delivered")
    office, new = offices["office"], "whsec_" + base64.b64encode(b"what the inspector knows since today").decode()
    before = len(office.received())
    office.set(Says(401))
    panels.push("panel-1", False)
    wait_until(lambda: len(office.received()) > before, 15, "refused")
    del office.requests[before:]  # signed with the old secret, which is what 401 says
    office._webhook = Webhook(new)
    (tmp_path / "inspection-secret").write_text(new)
    office.set("up")
    begun = time.monotonic()
    wait_until(lambda: waiting(service.folder / "store") == 0, 65, "delivered with the new secret")
    score.recovered(time.monotonic() - begun, 60)
    assert service.stop()[0] == 0
    assert [event.kind for event in events(service.folder / "store") if event.alarm == "endpoint_rejects"].count("raised") == 1, "one alarm"
    office.requests = [request for request in office.requests if request.verdict == "ok"]  # tries between office and file are not to be blamed
    score.judge(service.folder / "store", offices, panels).holds()


@pytest.mark.row("T37", "one endpoint dead, the other well")
@pytest.mark.slow
@pytest.mark.deadline(400)
def test_a_dead_one_costs_the_other_nothing(ill, score):
    """From decided to received, at the healthy office, in turns of 10 s with the other office well, hanging, well, refusing, and so on."""
    panels, offices, service = ill({"well": ("up", ACCEPT_BODY, "2s"), "other": ("up", ACCEPT_BODY, "2s")}, count=3)
    residents = Residents(panels, lambda: service.alive_since, hold=0.8, rest=0.3).start()
    latencies = collections.defaultdict(list)
    for turn in range(12):
        mode = ("up", "hang", "up", "down")[turn % 4]
        offices["other"].set(mode)
        begun = len(offices["well"].received())
        time.sleep(10)
        for request in offices["well"].received()[begun:]:
            latencies[mode == "up"].append((request.ns - at_ns(request.json["time"])) / 1e6)
    residents.go_home()
    recover(score, service, offices, within=120)  # five letters a second
    p99 = {well: statistics.quantiles(found, n=100)[98] for well, found in latencies.items()}
    score.note(f"p99 {p99[True]:.0f} ms with both well, {p99[False]:.0f} ms beside a dead one ({len(latencies[False])} letters)")
    assert p99[False] <= 1.1 * p99[True] + 20, p99  # 20 ms: what the machine's own clockwork does to the slowest of some hundred
    end(score, service, offices, panels, doubled=6)
