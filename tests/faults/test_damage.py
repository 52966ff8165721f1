"""T11 events.db corrupt · T12 telemetry.db corrupt or missing · T13 files gone or replaced · T14 schema newer, or its migration interrupted."""
import os
import random
import re
import shutil
import sqlite3
import subprocess
import time

import pytest

from support.compound import Residents
from support.gateway import ROOT, run_binary
from support.judge import Letter, copy_of, events, integrity, waiting
from support.service import Service
from support.waiting import wait_until

DAMAGES = int(os.environ.get("DAMAGES", 5))
SEED = int(os.environ.get("SEED", time.time()))


@pytest.fixture
def used(scene):
    """used(n): the scene after n pushes or more, stopped in good order with letters of the last third still waiting, for the office was down."""

    def make(pushes, count=4):
        panels, offices, service = scene(count)
        service.start()
        residents = Residents(panels, lambda: service.alive_since, hold=0.5, rest=0.2, seed=SEED).start()
        wait_until(lambda: len(panels.facts) >= pushes * 2 // 3, 60, "the panels are used")
        offices["safety"].set("down")
        wait_until(lambda: len(panels.facts) >= pushes, 60, "the panels are used")
        residents.go_home()
        assert Service.stop(service)[0] == 0
        return panels, offices, service

    return make


def spoil(path, chance, where, bytes=512):
    """Random bytes into the header, the schema's root page, or any page behind it."""
    pages = max(2, path.stat().st_size // 4096)
    at = {"header": 0, "root": 100, "middle": 4096 * chance.randrange(1, pages) + chance.randrange(0, 4096 - bytes)}[where]
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(chance.randbytes(bytes))


@pytest.mark.row("T11", "events.db corrupt at rest")
@pytest.mark.deadline(120 + 30 * DAMAGES)
def test_events_corrupt(used, score, tmp_path):
    """Random bytes into header, root and middle pages: it starts, undelivered letters that can be read are delivered, what cannot be is told."""
    score.note(f"seed {SEED}, {DAMAGES} damages")
    panels, offices, service = used(36)
    store, kept, chance = tmp_path / "store", tmp_path / "kept", random.Random(SEED)
    shutil.copytree(store, kept, ignore=shutil.ignore_patterns("*.sock"))
    office, salvaged = offices["safety"], []
    for n in range(DAMAGES):
        where = ("middle", "root", "middle", "header")[n % 4]
        shutil.rmtree(store)
        shutil.copytree(kept, store)
        spoil(store / "events.db", chance, where)
        readable = salvageable(store)
        before = {request.id for request in office.accepted()}
        office.set("up")
        one, begun = Service(tmp_path, service.config.read_text()), time.monotonic()
        try:
            one.start(60)
            wait_until(lambda: waiting(store) == 0, 60, "what could be saved is delivered")
            score.recovered(time.monotonic() - begun, 60)
            panel = panels.names[n % len(panels.names)]
            pressed = time.time()
            panels.push(panel, True)
            wait_until(lambda: any(r.ns / 1e9 > pressed and r.json["type"].endswith("raised") and r.json["data"]["device"]["id"] == panel for r in office.accepted()), 10, "a new alarm is told")
            panels.push(panel, False)
            time.sleep(1)
        finally:
            one.end()
        sent = {request.id for request in office.accepted()} - before
        missing = {letter.id for letter in readable} - sent
        assert len(missing) <= 0.01 * len(readable), f"{where}: {len(readable)} letters could be read, {len(missing)} of them were not delivered"
        assert integrity(store) == "ok"
        salvaged.append(f"{where} {len(readable)}")
        office.set("down")
        office.requests.clear()
    score.note(f"undelivered letters that could be read: {', '.join(salvaged)}")


def salvageable(store):
    """The undelivered letters that Python's SQLite can still read, row by row."""
    try:
        with copy_of(store) as db:
            found = []
            for row in range(1, 500):
                try:
                    letter = db.execute("SELECT endpoint, event_id, seq, device, alarm, state FROM outbox JOIN body USING (row) WHERE row = ? AND state = 'queued'", [row]).fetchone()
                except sqlite3.DatabaseError:
                    continue
                if letter:
                    found.append(Letter(*letter))
            return found
    except sqlite3.DatabaseError:
        return []


@pytest.mark.row("T12", "telemetry.db corrupt or missing")
@pytest.mark.deadline(120)
def test_telemetry_corrupt(used, score, tmp_path):
    score.note(f"seed {SEED}")
    panels, offices, service = used(12)
    store, office = tmp_path / "store", offices["safety"]
    office.set("up")
    damaged_telemetry(("header", "root", "missing", "empty", "text"), score, panels, office, service)
    score.judge(store, offices, panels).holds()


@pytest.mark.row("T12b", "telemetry.db corrupt in its midst")
@pytest.mark.deadline(120)
def test_telemetry_corrupt_within(used, score, tmp_path):
    score.note(f"seed {SEED}")
    panels, offices, service = used(12)
    offices["safety"].set("up")
    damaged_telemetry(("middle", "middle"), score, panels, offices["safety"], service)
    score.judge(tmp_path / "store", offices, panels).holds()


def damaged_telemetry(kinds, score, panels, office, service):
    store, chance = service.folder / "store", random.Random(SEED)
    for where in kinds:
        path = store / "telemetry.db"
        if where == "missing":
            path.unlink()
        elif where in ("empty", "text"):
            path.write_bytes(b"" if where == "empty" else b"this is no database\n" * 1000)
        else:
            spoil(path, chance, where, 2048)
        one, begun = Service(service.folder, service.config.read_text()), time.monotonic()
        try:
            one.start(30)
            score.recovered(time.monotonic() - begun, 5)
            panel = panels.names[0]
            count = len(office.accepted())
            panels.push(panel, True)
            wait_until(lambda: len(office.accepted()) > count, 10, f"{where}: alarms go on")
            wait_until(lambda: one.good(panel, "help"), 10, f"{where}: readings are kept again")
            panels.push(panel, False)
            wait_until(lambda: waiting(store) == 0 and [e.kind for e in events(store) if e.device == panel][-1] == "returned", 15, "and its return")
            assert one.stop()[0] == 0
        finally:
            one.end()
        assert integrity(store, "telemetry.db") == "ok", where


@pytest.mark.row("T13", "side files gone, the file replaced or gone: never a silent empty start")
@pytest.mark.deadline(150)
def test_files_gone(used, score, tmp_path):
    """Each time a person is told: the alarm `store_broken`, or a loss report, reaches the office."""
    panels, offices, service = used(9)
    store, kept, office = tmp_path / "store", tmp_path / "kept", offices["safety"]
    shutil.copytree(store, kept, ignore=shutil.ignore_patterns("*.sock"))
    office.set("up")
    for what in ("gone", "replaced", "empty"):
        shutil.rmtree(store)
        shutil.copytree(kept, store)
        path = store / "events.db"
        path.unlink()
        if what == "replaced":
            sqlite3.connect(path).execute("CREATE TABLE other (a)").connection.close()
        elif what == "empty":
            path.touch()
        before = len(office.accepted())
        one = Service(tmp_path, service.config.read_text())
        try:
            one.start(30)
            told = lambda: [r for r in office.accepted()[before:] if r.json["type"] == "gatehouse.loss_report" or r.json["data"].get("alarm", {}).get("name") == "store_broken"]
            wait_until(told, 30, f"{what}: somebody is told that what was kept is gone")
            assert any(str(len(events(kept))) in r.body.decode() for r in told()), "up to which number something is missing"
        finally:
            one.end()


@pytest.mark.row("T13b", "-wal and -shm deleted while stopped after a kill")
def test_side_files_deleted(scene, score, tmp_path):
    """What was in the log is gone with it, but what was in the file is not: it starts and goes on, with a file that is sound."""
    panels, offices, service = scene(3)
    store, office = tmp_path / "store", offices["safety"]
    service.start()
    residents = Residents(panels, lambda: service.alive_since, hold=0.5, rest=0.2).start()
    wait_until(lambda: len(office.accepted()) >= 6, 30, "all goes well")
    residents.go_home()
    for panel, names in zip(panels.names, (["events.db-shm", "telemetry.db-shm"], ["events.db-wal", "events.db-shm"], ["telemetry.db-wal", "telemetry.db-shm"])):
        service.kill()
        for name in names:
            (store / name).unlink(missing_ok=True)
        begun = time.monotonic()
        service.start(30)
        before = len(office.accepted())
        panels.push(panel, True)
        wait_until(lambda: len(office.accepted()) > before, 10, f"without {names}: alarms go on")
        score.recovered(time.monotonic() - begun, 15)
    assert service.stop()[0] == 0
    assert integrity(store) == integrity(store, "telemetry.db") == "ok"


@pytest.mark.row("T14", "an older program on a newer schema")
def test_newer_schema(used, score, tmp_path):
    panels, offices, service = used(6)
    for name in ("events.db",):
        db = sqlite3.connect(tmp_path / "store" / name)
        [version] = db.execute("PRAGMA user_version").fetchone()
        db.execute(f"PRAGMA user_version = {version + 7}")
        db.commit(), db.close()
    before = (tmp_path / "store" / "events.db").read_bytes()
    done = run_binary("--lang", "en", "run", "--config", service.config, timeout=20)
    assert done.returncode not in (0, None) and str(version + 7) in done.stderr and "schema" in done.stderr, done
    assert "panicked" not in done.stderr
    score.note(f"exit {done.returncode}")
    assert (tmp_path / "store" / "events.db").read_bytes() == before, "the data is untouched"


@pytest.mark.row("T14b", "an older program says so with exit 78")
def test_newer_schema_exit(used, score, tmp_path):
    _, _, service = used(3)
    db = sqlite3.connect(tmp_path / "store" / "events.db")
    db.execute("PRAGMA user_version = 99")
    db.commit(), db.close()
    assert run_binary("run", "--config", service.config, timeout=20).returncode == 78


@pytest.mark.row("T14c", "a migration interrupted at any moment")
@pytest.mark.deadline(150)
def test_migration_interrupted(used, score, tmp_path):
    """events.db as its first schema had it, with a letter in it; the new program is killed at random moments of its start."""
    panels, offices, service = used(6)
    store, chance = tmp_path / "store", random.Random(SEED)
    score.note(f"seed {SEED}")
    old = tmp_path / "old"
    old.mkdir()
    first_schema(store / "events.db", old / "events.db")
    whole = [tuple(event) for event in events(store)]
    for n in range(8):
        shutil.rmtree(store)
        shutil.copytree(old, store)
        one = Service(tmp_path, service.config.read_text())
        one.process = subprocess.Popen(one.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, 0.15))
        one.kill()
        assert integrity(store) == "ok"
        assert [tuple(event) for event in events(store)][:len(whole)] == whole, "nothing of what was kept is lost"
    offices["safety"].set("up")
    begun = time.monotonic()
    one = Service(tmp_path, service.config.read_text())
    try:
        one.start(30)
        wait_until(lambda: waiting(store) == 0, 30, "the old letters are delivered")
        score.recovered(time.monotonic() - begun, 30)
        assert one.stop()[0] == 0
    finally:
        one.end()
    score.judge(store, offices, panels).holds(doubled=8)


def first_schema(new, old):
    """A file as src/store/events_v1.sql makes it, with the rows of `new`."""
    db = sqlite3.connect(old)
    db.execute("PRAGMA journal_mode = WAL")
    schema = (ROOT / "src/store/events_v1.sql").read_text()
    db.executescript(schema)
    db.execute("ATTACH ? AS new", [str(new)])
    for table in re.findall(r"CREATE TABLE (\w+)", schema):
        columns = ", ".join(row[1] for row in db.execute(f"PRAGMA main.table_info({table})"))
        db.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
    db.commit()
    db.execute("PRAGMA user_version = 1")
    db.commit(), db.close()
