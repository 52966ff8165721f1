"""T03 the power goes: what was not synced is lost, sector by sector, by chance · T04 the tail of the log is torn."""
import datetime
import json
import os
import pathlib
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import time

import pytest

from support.compound import Residents
from support.gateway import BINARY, Gateway
from support.judge import copy_of, events, integrity, letters, waiting
from support.power import Cut, Uncut, logger, records
from support.waiting import wait_until

CUTS = int(os.environ.get("CUTS", 20))
TAILS = int(os.environ.get("TAILS", 20))
SECONDS = int(os.environ.get("SECONDS", 450))
SEED = int(os.environ.get("SEED", time.time()))
STARTS = 3  # so many of the images are given to the gateway itself


def lives(scene, tmp_path, *endings):
    """Three panels are pressed while the gateway lives and ends as told; gives the panels, the offices, the gateway and one log of all its lives."""
    panels, offices, service = scene(3)
    library, logs = logger(tmp_path), []
    residents = Residents(panels, lambda: service.alive_since, hold=0.6, rest=0.3, seed=SEED).start()
    for n, ending in enumerate(endings):
        service.environment = {"LD_PRELOAD": library, "WLOG_DIR": str(tmp_path / "store"), "WLOG_OUT": str(tmp_path / f"log-{n}")}
        service.start()
        before = len(panels.facts)
        wait_until(lambda: len(panels.facts) >= before + 9, 30, "the panels are used")
        if ending == "kill":
            service.kill()
        else:
            service.alive_since = None
            assert Gateway.stop(service)[0] == 0
        logs += records(tmp_path / f"log-{n}")
    residents.stop()
    service.environment = {}
    return panels, offices, service, logs


def goes_on(service, tmp_path, name, image, office):
    """The gateway starts on this image, and delivers what is left in it."""
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(tmp_path / "inspection-secret", folder)
    one = Gateway(folder, service.config.read_text().replace(str(tmp_path / "store"), str(image)))
    begun = time.monotonic()
    try:
        one.start()
        wait_until(lambda: waiting(image) == 0, 60, "what was left is delivered")
        took = time.monotonic() - begun
        assert one.stop()[0] == 0
    finally:
        one.end()
    taken = {request.id for request in office.accepted()}
    assert {letter.id for letter in letters(image) if letter.state == "delivered"} <= taken
    return took


@pytest.mark.row("T03", "the power is cut at random points of the write log")
@pytest.mark.deadline(150 + CUTS)
def test_the_power_is_cut(scene, score, tmp_path):
    score.note(f"seed {SEED}, {CUTS} cuts")
    panels, offices, service, log = lives(scene, tmp_path, "stop", "kill", "stop")
    chance, store, office = random.Random(SEED), tmp_path / "store", offices["safety"]
    kinds = {kind: sum(record.kind == kind for record in log) for kind in "WSNR"}
    assert kinds["S"] > 50 and kinds["N"] > 20 and kinds["R"] > 20, f"the log saw too little: {kinds}"
    first = next(n for n, record in enumerate(log) if record.kind == "N" and b"webhook-id" in record.bytes)
    started, kept = 0, 0
    for n in range(CUTS):
        at = chance.randrange(first + 1, len(log))
        cut = Cut(log[:at], chance)
        image = cut.lay_out(store, tmp_path / f"image-{n}" / "store")
        for name in ("events.db", "telemetry.db"):
            assert integrity(image, name) == "ok", f"{name} after a cut at record {at} of {len(log)}"
        found = events(image)
        assert [event.seq for event in found] == list(range(1, len(found) + 1)), f"gaps after a cut at {at}"
        score.lost += [f"cut at {at}: {id} had been sent" for id in cut.said - {event.id for event in found}]
        score.wrong += [f"cut at {at}: {letter.id} counts as delivered" for letter in letters(image) if letter.state == "delivered" and letter.id not in cut.heard]
        kept += len(cut.said)
        if n % max(1, CUTS // STARTS) == 0:
            score.recovered(goes_on(service, tmp_path, f"again-{n}", image, office), within=60)
            started += 1
        shutil.rmtree(tmp_path / f"image-{n}")
    score.note(f"{kept} committed alarms looked for, {started} images started")
    assert kept > CUTS and started >= min(STARTS, CUTS)
    score.holds()


def newest_reading(service, image):
    """When the latest reading of the first panel was taken that is found in this image."""
    config = image.parent / "gatehouse.toml"
    shutil.copy(service.folder / "inspection-secret", image.parent)
    config.write_text(service.config.read_text().replace(f'"{service.folder / "store"}"', f'"{image}"'))
    shown = subprocess.run([BINARY, "readings", "panel-1", "--json", "--config", config], capture_output=True, text=True, timeout=60, check=True).stdout
    return max(datetime.datetime.fromisoformat(json.loads(line)["at"]) for line in shown.splitlines())


@pytest.mark.slow
@pytest.mark.row("T03b", "… and takes no more than 35 s of readings")
@pytest.mark.deadline(120 + SECONDS + 3 * CUTS)
def test_a_power_cut_takes_the_latest_readings_only(scene, score, tmp_path):
    score.note(f"seed {SEED}, {CUTS} cuts in {SECONDS} s")
    # a small file has a short log: it goes into the file and begins anew every few minutes
    panels, _, service = scene(3, sizes='telemetry_max = "8MiB"\n')
    service.environment = {"LD_PRELOAD": logger(tmp_path), "WLOG_DIR": str(tmp_path / "store"), "WLOG_OUT": str(tmp_path / "log")}
    service.start()
    time.sleep(SECONDS / 3)
    first = len(records(tmp_path / "log"))
    time.sleep(SECONDS * 2 / 3)
    service.kill()
    log, chance, store = records(tmp_path / "log"), random.Random(SEED), tmp_path / "store"
    of_readings = [n for n, record in enumerate(log) if n > first and record.kind in "WS" and "telemetry" in record.name]
    synced = [log[n].name for n in of_readings if log[n].kind == "S"]
    score.note(f"{len(synced)} syncs, {sum(name.endswith('-wal') for name in synced)} of the log")
    assert {store / "telemetry.db", store / "telemetry.db-wal"} <= {pathlib.Path(name) for name in synced}, "no log that went into the file"
    gone = []
    for n, at in enumerate(sorted(chance.choice(of_readings) for _ in range(CUTS))):
        whole, left = (kind(log[:at], chance).lay_out(store, tmp_path / f"{kind.__name__}-{n}" / "store") for kind in (Uncut, Cut))
        assert integrity(left, "telemetry.db") == "ok", f"after a cut at record {at} of {len(log)}"
        gone.append((newest_reading(service, whole) - newest_reading(service, left)).total_seconds())
        shutil.rmtree(whole.parent), shutil.rmtree(left.parent)
    score.note(f"up to {max(gone):.1f} s of readings gone, {sum(gone) / len(gone):.1f} on average")
    # what the gateway had not written yet comes on top: 2 s to a commit, and a commit
    score.lost += [f"{seconds:.1f} s of readings" for seconds in gone if seconds > 31]
    assert max(gone) > 5, "these cuts show nothing"
    score.holds()


WRITER = """
import socket, sqlite3, sys
folder, synchronous = sys.argv[1:]
db = sqlite3.connect(folder + "/events.db", isolation_level=None)
db.execute("PRAGMA journal_mode = WAL"), db.execute("PRAGMA synchronous = " + synchronous)
db.execute("CREATE TABLE event (id TEXT)")
here, there = socket.socketpair()
for n in range(300):
    db.execute("INSERT INTO event VALUES (?)", [f"{n:032x}"])
    here.send(b"POST / HTTP/1.1\\r\\nwebhook-id: %032x\\r\\n\\r\\n" % n)
    there.recv(1000)
"""


@pytest.mark.needs_no_gateway
def test_the_log_tells_a_synced_store_from_one_that_is_not(tmp_path):
    """The instrument itself: of SQLite with synchronous=FULL no cut loses what was said, with OFF cuts do."""
    library, lost = logger(tmp_path), {}
    for synchronous in ("FULL", "OFF"):
        store, chance = tmp_path / synchronous, random.Random(3)
        store.mkdir()
        subprocess.run([sys.executable, "-c", WRITER, store, synchronous], check=True,
                       env={**os.environ, "LD_PRELOAD": library, "WLOG_DIR": str(store), "WLOG_OUT": str(tmp_path / f"{synchronous}.log")})
        log = records(tmp_path / f"{synchronous}.log")
        lost[synchronous] = 0
        for n in range(30):
            cut = Cut(log[:chance.randrange(len(log) // 4, len(log))], chance)
            image = cut.lay_out(store, tmp_path / f"{synchronous}-{n}")
            try:
                with copy_of(image) as db:
                    kept = {id for id, in db.execute("SELECT id FROM event")} if db.execute("PRAGMA integrity_check").fetchone() == ("ok",) else set()
            except sqlite3.Error:
                kept = set()
            assert len(cut.said) > 50
            lost[synchronous] += bool(cut.said - kept)
    assert lost["FULL"] == 0 and lost["OFF"] > 20, lost


def frames(wal):
    """[(where a frame begins, whether it ends a commit)] of a SQLite log, as far as its own salt goes."""
    size, salt = struct.unpack_from(">I", wal, 8)[0], wal[16:24]
    found = []
    for at in range(32, len(wal) - size - 23, size + 24):
        if wal[at + 8:at + 16] != salt:
            break
        found.append((at, struct.unpack_from(">I", wal, at + 4)[0] != 0))
    return found, size + 24


@pytest.mark.row("T04", "the last frames of the log torn, short or flipped")
@pytest.mark.deadline(150 + TAILS)
def test_the_tail_of_the_log_is_torn(scene, score, tmp_path):
    score.note(f"seed {SEED}, {TAILS} tails")
    panels, offices, service, _ = lives(scene, tmp_path, "kill")
    chance, store, office = random.Random(SEED), tmp_path / "store", offices["safety"]
    whole, whole_wal = events(store), (store / "events.db-wal").read_bytes()
    found, length = frames(whole_wal)
    assert len(found) > 20 and len(whole) >= 6
    missing = 0
    for n in range(TAILS):
        first = len(found) - chance.randint(1, 3)
        at = found[first][0]
        image = tmp_path / f"image-{n}" / "store"
        image.mkdir(parents=True)
        for name in ("events.db", "telemetry.db", "telemetry.db-wal"):
            if (store / name).exists():
                shutil.copy(store / name, image)
        if n % 2:
            damaged = whole_wal[:at + chance.randrange(length)]
        else:
            damaged = bytearray(whole_wal)
            damaged[at + chance.randrange(length)] ^= 1 << chance.randrange(8)
        (image / "events.db-wal").write_bytes(damaged)
        assert integrity(image) == "ok"
        commits = sum(ends for _, ends in found[:first])
        all_commits = sum(ends for _, ends in found)
        left = events(image)
        # a salt or size that is flipped in a frame cuts there too: never is anything lost in front of the damage
        assert left == whole[:len(left)] and len(whole) - len(left) <= all_commits - commits, f"{len(whole)} events, {len(left)} left, {all_commits - commits} commits damaged"
        missing += len(whole) - len(left)
        if n % max(1, TAILS // STARTS) == 0:
            score.recovered(goes_on(service, tmp_path, f"again-{n}", image, office), within=60)
        shutil.rmtree(tmp_path / f"image-{n}")
    score.note(f"{missing} events were in torn frames")
    score.holds()
