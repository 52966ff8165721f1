"""Readings in as few bytes as they have news, and none the worse for it: kill -9 while the tail is packed into blocks, again and again.

libmodbus answers; each value says whose it is and when it was (tests/peers/truth_units.c). What is in telemetry.db is read by tests/support/telemetry.py,
which shares no code with the gateway, and by `gatehouse readings`. KILLS=100 for a long run.
"""
import collections
import contextlib
import os
import random
import sqlite3
import time

import pytest

from support.gateway import BINARY, site_head, tcp_bus
from support.machine import free_port
from support.telemetry import rows
from support.truth import TICK_MS, TruthUnits, ticks_before, write_profiles
from support.waiting import wait_until

KILLS = int(os.environ.get("KILLS", 5))
SEED = int(os.environ.get("SEED", time.time()))
UNITS, SLOTS = 24, range(60)
LOST_MS = 5000  # what a kill may cost
FULL = 32  # slots of a tail that is packed, in a file of 8 MiB
POINTS = ["packing.written:1", "packing.done:1"]  # src/store/packer.rs: before and after the commit
ONCE = 10  # two answers may come within one millisecond; what is packed twice comes as a slot at least, some thirty rows of each device
CRASHES = b"GATEHOUSE_CRASH_AT" in BINARY.read_bytes() if BINARY.exists() else False


def site(folder, profiles, port):
    text = site_head(folder).replace("profile_dirs = [", f'profile_dirs = ["{profiles}", ')
    text = text.replace("\n[console]", 'telemetry_max = "8MiB"\n\n[console]')  # so that it packs every few seconds
    return text + f"""
{tcp_bus(port)}

[[device]]
repeat  = "1..{UNITS}"
id      = "unit-{{n}}"
name    = "unit {{n}}"
profile = "truth/tcp"
bus     = "lan"
unit    = "{{n}}"
"""


def look(store, sql):
    with contextlib.closing(sqlite3.connect(f"file:{store}/telemetry.db?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchone()[0]


def waiting(store):
    """Slots of the tail that are in no block yet."""
    try:
        return look(store, "SELECT count(*) FROM tail WHERE seq > (SELECT seq FROM packed)")
    except sqlite3.Error:
        return 0  # it is just being opened


def blocks(store):
    try:
        return look(store, "SELECT count(*) FROM block")
    except sqlite3.Error:
        return 0


@pytest.mark.long
@pytest.mark.deadline(120 + 20 * KILLS)
def test_killed_while_it_packs(tmp_path, ending, gateway):
    print(f"SEED={SEED} KILLS={KILLS}, {'every second one in the middle of a packing' if CRASHES else 'at random: built without crash points'}")
    chance, store, port = random.Random(SEED), tmp_path / "store", free_port()
    ending(TruthUnits(tmp_path, [f"tcp:{port}"]))
    profiles = write_profiles(tmp_path, slots=SLOTS, tcp=("300ms", "20ms"))
    gatehouse = gateway(site(tmp_path, profiles, port)).start()
    kills, alive_since, packings, before = [], time.time() * 1000, 0, 0

    def packs():
        """In this life, whatever the next kill hits."""
        wait_until(lambda: blocks(store) >= before + UNITS, 60, "every unit is packed", every=0.02)
        return 1

    for n in range(KILLS):
        full = max(4, FULL - chance.randrange(6))
        if gatehouse.environment:
            gatehouse.process.wait(60)  # it ends in the middle of its first packing
        else:
            packings += packs()
            wait_until(lambda: waiting(store) >= full, 60, "a tail that is soon packed", every=0.005)
            time.sleep(chance.uniform(0, 2.2))  # a commit every two seconds, and with it the packing
            gatehouse.kill()
        kills.append((alive_since, time.time() * 1000))
        gatehouse.environment = {"GATEHOUSE_CRASH_AT": chance.choice(POINTS)} if CRASHES and n % 2 == 0 and n < KILLS - 1 else {}
        before = blocks(store)
        gatehouse.start()
        alive_since = time.time() * 1000
    packings += packs()
    wait_until(lambda: time.time() * 1000 - alive_since >= LOST_MS, 6, "longer than a kill may cost")
    seen = gatehouse.readings("unit-1", "slot_7")  # beside the running gateway: what stands in the tail too
    assert time.time() * 1000 - seen[-1]["ns"] / 1e6 < LOST_MS, "the latest is there at once"
    assert gatehouse.stop()[0] == 0

    times, values, counted, good = collections.defaultdict(list), {}, 0, 0
    for device, at_ms, samples in rows(store):
        times[device].append(at_ms)
        for point, quality, value in samples:
            if quality != "good":
                continue
            good += 1
            unit, slot = int(device.removeprefix("unit-")), int(point.removeprefix("slot_"))
            assert value >> 16 == unit << 8 | slot, f"{device} {point} at {at_ms}: {value:#x} was never held"
            assert -2 * TICK_MS <= ticks_before(at_ms // TICK_MS, value & 0xFFFF) * TICK_MS < 1000, f"{device} {point} at {at_ms}: of another time"
            if (device, point) == ("unit-1", "slot_7"):
                values[at_ms] = value
                counted += 1
    lost = []
    for device, moments in times.items():
        doubled = len(moments) - len(set(moments))
        assert doubled < ONCE, f"{device}: {doubled} rows came twice"
        assert moments == sorted(moments), device
        lost += [killed - max(since, *(at for at in moments if at <= killed)) for since, killed in kills]
    assert len(times) == UNITS and max(lost) <= LOST_MS, f"{max(lost):.0f} ms before a kill were lost"
    packed, bytes_ = blocks(store), look(store, "SELECT sum(length(bytes)) FROM block")
    in_blocks = look(store, "SELECT sum(rows) FROM block") * len(SLOTS)
    assert packings > KILLS // 2 and packed >= UNITS * packings, "it packed in between"
    print(f"{good} good readings, none twice, none wrong; at most {max(lost):.0f} ms before a kill lost; {packed} blocks, {bytes_ / in_blocks:.2f} bytes a reading")

    shown = {round(row["ns"] / 1e6): row["value"] for row in seen if row["quality"] == "good"}
    assert len(shown) > 100 and shown == {at: value for at, value in values.items() if at in shown}, "`readings` shows the same"
    hours = gatehouse.lines("readings", "unit-1", "--point", "slot_7", "--by", "hour", "--from", "-2h")
    assert sum(hour["count"] for hour in hours) == counted, "and what the hours came to counts each once"
    assert min(hour["min"] for hour in hours) == min(values.values()) and max(hour["max"] for hour in hours) == max(values.values())
