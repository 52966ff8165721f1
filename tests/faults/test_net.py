"""T35 names that are not found, not answered, or point at this box · T36 packets lost, held up, let through slowly."""
import json
import time

import pytest

from inspector import Inspector
from support.compound import ACCEPT_BODY, Residents, http_endpoint
from support.gateway import SECRET
from support.judge import copy_of, waiting
from support.machine import free_port
from support.net import Cable, NameServer, Relay
from support.waiting import wait_until

LATEST = 60


@pytest.fixture
def cable(ending):
    return ending(Cable())


@pytest.mark.long
@pytest.mark.row("T35", "DNS: no such name, no answer for 30 s, an answer that points at this box")
@pytest.mark.deadline(200)
def test_names(scene, score, cable, ending):
    office, well = (ending(Inspector(free_port(), SECRET).set("up")) for _ in range(2))
    there, there_well = (ending(Relay(cable.near, one.port)) for one in (office, well))
    names = ending(NameServer(cable.near))
    site = (http_endpoint("by-name", there.port, accept=ACCEPT_BODY, host="inspection.example")
            + http_endpoint("by-number", there_well.port, accept=ACCEPT_BODY, host=cable.near))
    panels, _, service = scene(1, names=(), more=site)
    field = ending(Relay(cable.field, panels.port))
    service.config.write_text(service.config.read_text().replace(f'host = "127.0.0.1"\nport = {panels.port}\n', f'host = "{cable.field}"\nport = {field.port}\n'))
    service.around = cable.around
    service.start()

    def reason():
        with copy_of(service.folder / "store") as db:
            return db.execute("SELECT last_error FROM outbox WHERE endpoint = 'by-name' ORDER BY row LIMIT 1").fetchone()[0]

    reasons, slowest = {}, 0.0
    for n, says in enumerate(("nxdomain", "hang", "127.0.0.1")):
        names.says = says
        asked, known = len(names.asked), len(well.accepted())
        pushed = time.monotonic()
        panels.push("panel-1", n % 2 == 0)
        wait_until(lambda: len(well.accepted()) > known, 10, f"{says}: the other endpoint is told", every=0.02)
        slowest = max(slowest, time.monotonic() - pushed)
        wait_until(lambda: len(names.asked) > asked, 40, f"{says}: the name was asked for")
        begun = time.monotonic()
        while time.monotonic() - begun < (12 if says == "hang" else 4):
            asked_at = time.monotonic()
            service.cli("status")
            slowest = max(slowest, time.monotonic() - asked_at)
            time.sleep(0.2)
        wait_until(lambda: reason() and reason() not in reasons.values(), 45, f"{says}: a reason of its own")
        reasons[says] = reason()
        assert there.connections == 0 and office.received() == []
    score.note(f"never waited longer than {slowest:.1f} s")
    score.within(slowest, 5, "something stood still for")
    assert "this box itself" in reasons["127.0.0.1"], reasons
    names.says = cable.near
    begun = time.monotonic()
    wait_until(lambda: waiting(service.folder / "store") == 0, LATEST, "delivered once the name is right")
    score.recovered(time.monotonic() - begun, LATEST)
    assert len(json.loads(service.cli("status", "--json").stdout)["endpoints"]) == 2
    assert service.stop()[0] == 0
    score.judge(service.folder / "store", {"by-name": office, "by-number": well}, panels).holds()


@pytest.mark.long
@pytest.mark.row("T36", "black hole, one way only, 30 % lost, 2 s late, 64 kbit/s")
@pytest.mark.deadline(300)
def test_bad_lines(scene, score, cable, ending):
    """The way to the office alone is bad; the field is read all the time. A critical alarm is told within 60 s at 30 % loss."""
    office = ending(Inspector(free_port(), SECRET).set("up"))
    there = ending(Relay(cable.near, office.port))
    panels, _, service = scene(3, names=(), more=http_endpoint("office", there.port, accept=ACCEPT_BODY, timeout="10s", host=cable.near))
    field = ending(Relay(cable.field, panels.port))
    service.config.write_text(service.config.read_text().replace(f'host = "127.0.0.1"\nport = {panels.port}\n', f'host = "{cable.field}"\nport = {field.port}\n'))
    service.around = cable.around
    service.start()
    residents = Residents(panels, lambda: service.alive_since, hold=1.5, rest=2.0).start()
    wait_until(lambda: len(office.accepted()) >= 3, 20, "all goes well")

    def bad(what, begin, seconds, told_meanwhile):
        begin()
        known, begun = len(office.accepted()), time.monotonic()
        if told_meanwhile:
            wait_until(lambda: len(office.accepted()) > known + 1, 60, f"{what}: told all the same")
            score.note(f"{what}: told after {time.monotonic() - begun:.0f} s")
        wait_until(lambda: time.monotonic() - begun >= seconds, seconds + 60, what)
        there.delay = 0.0
        cable.mend()
        back, known = time.monotonic(), len(office.accepted())
        wait_until(lambda: len(office.accepted()) > known, LATEST, f"{what}: told again")
        score.recovered(time.monotonic() - back, LATEST)

    bad("30 % lost", lambda: cable.lose(there.port, 30), 8, True)
    bad("black hole", lambda: cable.lose(there.port), 8, False)
    bad("one way only", lambda: cable.lose(there.port, ways=("input",)), 8, False)
    bad("2 s late", lambda: setattr(there, "delay", 2.0), 6, True)
    bad("64 kbit/s", lambda: cable.rate("64kbit"), 6, True)
    residents.go_home()
    wait_until(lambda: waiting(service.folder / "store") == 0, 120, "every letter is delivered")
    score.note(f"{len(office.received())} tries of {len({r.id for r in office.received()})} letters")
    assert service.stop()[0] == 0
    # each interruption may leave one letter of which nobody knows whether it arrived, and again for each time-out while it lasts
    score.judge(service.folder / "store", {"office": office}, panels).holds(doubled=5 * 3)
