"""T01 killed at random · T02 ended at each boundary · T15 two of them on one store · T18 a bad SQLite · T19 restarted with running delays and active alarms."""
import os
import random
import re
import signal
import struct
import subprocess
import time

import pytest

from support.compound import Residents
from support.gateway import BINARY, run_binary
from support.judge import DRAIN, events, integrity, letters, waiting
from support.waiting import wait_until

KILLS = int(os.environ.get("KILLS", 20))
CRASHES = int(os.environ.get("CRASHES", 1))
RESTARTS = int(os.environ.get("RESTARTS", 2))
SEED = int(os.environ.get("SEED", time.time()))


@pytest.mark.long
@pytest.mark.row("T01", "killed with -9 at random")
@pytest.mark.deadline(120 + 8 * KILLS)
def test_killed_at_random(scene, score):
    score.note(f"seed {SEED}, {KILLS} kills")
    chance = random.Random(SEED)
    panels, offices, service = scene(6, ("safety", "police"))
    store, office = service.folder / "store", offices["safety"]
    service.start()
    residents = Residents(panels, lambda: service.alive_since, hold=0.8, rest=0.6, seed=SEED).start()
    starts = []
    for _ in range(KILLS):
        before = len(office.received())
        time.sleep(chance.uniform(0, 3))
        if len(office.received()) > before:
            first = office.received()[before].ns / 1e9 - time.time() + time.monotonic()
            score.recovered(first - service.alive_since, within=10)
            starts.append(service.alive_since - service.began)
        service.kill()
        assert integrity(store) == "ok"
        assert integrity(store, "telemetry.db") == "ok"
        service.start()
    residents.go_home()
    wait_until(lambda: waiting(store) == 0, 60 + waiting(store) / DRAIN, "every letter is delivered")
    assert service.rss_mib() <= 128
    assert service.stop()[0] == 0
    assert len(panels.facts) >= KILLS and starts, "hardly anything happened"
    score.note(f"{len(panels.facts)} pushes, ready {max(starts):.1f} s after a start at most")
    score.judge(store, offices, panels).holds(doubled=len(offices) * KILLS)


POINTS = ["commit.begin", "commit.written", "commit.done", "pipeline.committed", "pipeline.woken", "courier.claimed", "http.replied",
          "courier.judged", "settle.begin", "settle.done", "courier.marked", "telemetry.written", "telemetry.done"]  # src/crash.rs


@pytest.mark.row("T02", "ended at each boundary of commit, send and receipt")
@pytest.mark.deadline(180 + 60 * CRASHES)
def test_ended_at_each_boundary(scene, score):
    assert b"GATEHOUSE_CRASH_AT" in BINARY.read_bytes(), "built without: cargo build --profile ci --features crash-points"
    chance = random.Random(SEED)
    score.note(f"{len(POINTS)} points × {CRASHES}, seed {SEED}")
    panels, offices, service = scene(6)
    store = service.folder / "store"
    residents = Residents(panels, lambda: service.alive_since, hold=0.6, rest=0.3, seed=SEED).start()
    for point in POINTS * CRASHES:
        service.environment = {"GATEHOUSE_CRASH_AT": f"{point}:{chance.randint(1, 3)}"}
        try:
            service.start()
        except AssertionError:
            pass  # it came to the point before it was ready
        service.process.wait(30)
        service.alive_since = None
        assert service.process.returncode == -signal.SIGABRT, f"{point}: ended with {service.process.returncode}\n{service.talk()}"
        assert integrity(store) == "ok", point
        taken = {request.id for request in offices["safety"].accepted()}
        believed = [letter for letter in letters(store) if letter.state == "delivered" and letter.id not in taken]
        assert not believed, f"{point}: marked as delivered without a receipt: {believed}"
    service.environment = {}
    service.start()
    residents.go_home()
    wait_until(lambda: waiting(store) == 0, 60 + waiting(store) / DRAIN, "every letter is delivered")
    assert service.stop()[0] == 0
    score.judge(store, offices, panels).holds(doubled=CRASHES * len(POINTS))


@pytest.mark.row("T15", "a second gateway on the same store")
def test_two_on_one_store(scene, score):
    panels, offices, service = scene(2)
    service.start()
    residents = Residents(panels, lambda: service.alive_since).start()
    time.sleep(1)
    took = []
    for _ in range(3):  # the quickest counts: other rows may keep the machine busy
        begun = time.monotonic()
        second = run_binary("--lang", "en", "run", "--config", service.config, timeout=20)
        took.append(time.monotonic() - begun)
        assert second.returncode != 0
        if took[-1] <= 2:
            break
    score.note(f"the second ended after {min(took):.1f} s with {second.returncode}")
    score.within(min(took), 2, "the second ended after")
    assert "another gatehouse" in second.stderr and str(service.process.pid) in second.stderr, second.stderr
    residents.go_home()
    wait_until(lambda: waiting(service.folder / "store") == 0, 30, "every letter is delivered")
    assert service.stop()[0] == 0
    score.judge(service.folder / "store", offices, panels).holds()


@pytest.mark.row("T18", "a SQLite that is known to corrupt files")
def test_bad_sqlite(scene, score):
    """The library is a part of the binary: in a copy of it sqlite3_libversion_number() says 3.51.2."""
    binary = BINARY.read_bytes()
    says = [found for found in re.finditer(rb"\xb8(....)\xc3", binary, re.DOTALL) if 3_051_003 <= struct.unpack("<I", found[1])[0] < 3_100_000]
    assert len(says) == 1, "mov eax, VERSION; ret is looked for (x86-64)"
    panels, _, service = scene(1)
    old = service.folder / "gatehouse-with-an-old-sqlite"
    old.write_bytes(binary[: says[0].start(1)] + struct.pack("<I", 3_051_002) + binary[says[0].end(1):])
    old.chmod(0o755)
    done = subprocess.run([old, "--lang", "en", "run", "--config", service.config], capture_output=True, text=True, timeout=20)
    assert done.returncode != 0 and "SQLite" in done.stderr and "3.51.3" in done.stderr, done
    assert not (service.folder / "store" / "events.db").exists()


DELAY, PERIOD = 4.0, 0.2


@pytest.mark.row("T19", "killed with running delays and active alarms")
@pytest.mark.deadline(90 + 20 * RESTARTS)
def test_restarted_in_the_midst_of_delays(scene, score):
    """Of nine panels three stand in the midst of a delay when the gateway is killed, three are active and stay so, three are let go while it is dead."""
    panels, offices, service = scene(9, more=f'\n[[alarm]]\nclass = "panel"\nname = "help"\non_delay = "{DELAY:.0f}s"\n')
    store = service.folder / "store"
    service.start()
    delaying, staying, leaving = panels.names[:3], panels.names[3:6], panels.names[6:]
    early, late = [], []

    def raised(names, times):
        told = [event.device for event in events(store) if event.kind == "raised"]
        return all(told.count(name) == times for name in names)

    for round in range(1, RESTARTS + 1):
        for name in staying + leaving:
            panels.push(name, True)
        wait_until(lambda: raised(staying + leaving, round), DELAY + 10, "active")
        pressed = {}
        for name in delaying:
            panels.push(name, True)
            pressed[name] = time.time()
        time.sleep(DELAY / 2)
        service.kill()
        for name in leaving:
            panels.push(name, False)
        service.start()
        up = time.time()  # a start that took longer than what was left of the delay is no error of the delay
        wait_until(lambda: raised(delaying, round), DELAY + 10, "the delay ran on")
        for name in delaying:
            at = [event.at_ms for event in events(store) if (event.device, event.kind) == (name, "raised")][-1] / 1000
            early.append(at - pressed[name] - DELAY)
            late.append(at - max(pressed[name] + DELAY, up))
        for name in delaying + staying:
            panels.push(name, False)
        wait_until(lambda: sum(event.kind == "returned" for event in events(store)) == round * 9, 10, "each returned, once")
        wait_until(lambda: waiting(store) == 0, 30, "every letter is delivered")
    assert service.stop()[0] == 0
    score.note(f"delays off by {min(early):+.2f} to {max(late):+.2f} s")
    # not before its time; late by the poll that sees it, the poll that ends it, and the first poll of a new start
    assert -0.05 <= min(early), early
    score.within(max(late), 3 * PERIOD + 0.5, "late by")
    score.judge(store, offices, panels).holds(doubled=RESTARTS)
