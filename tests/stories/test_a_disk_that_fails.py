"""The disk fails under the store: the inspector hears of the alarm within seconds and of the disk's trouble, and nothing is lost or
told twice when the disk is back. The store lies on a small file system of its own (which takes root)."""
import os
import subprocess

import pytest

from support.gateway import entrapment_table, inspector_table, site_head, tcp_bus
from support.lift import Lift
from support.waiting import wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
PAGE = 4096


@pytest.fixture
def small_disk(tmp_path):
    """32 MiB of memory as a file system, where the store is to be."""
    disk = tmp_path / "store"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def site(folder, tcp, inspector):
    small = 'events_max = "8MiB"\ntelemetry_max = "8MiB"\n\n[console]'
    return site_head(folder).replace("\n[console]", small, 1) + f"""
{tcp_bus(tcp.port)}

[[device]]
id      = "lift-1"
name    = "1号电梯"
profile = "elevator/story-tcp"
bus     = "lan"
unit    = 1
""" + entrapment_table("300ms", "300ms") + inspector_table(inspector.port)


def told(inspector, name, kind):
    """What the inspector took of alarms of this name."""
    bodies = [request.json for request in inspector.accepted()]
    return [body for body in bodies if body["type"] == f"gatehouse.alarm.{kind}" and body["data"]["alarm"]["name"] == name]


@needs_root
def test_a_full_disk(tmp_path, small_disk, modbus, inspector, gateway):
    tcp = modbus([1])
    lift = Lift(tcp, 1, float_speed=True)
    gatehouse = gateway(site(tmp_path, tcp, inspector)).start()
    wait_until(lambda: (small_disk / "ballast").exists(), 10, "the ballast is in place")
    with open(small_disk / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
        while True:
            filler.write(bytes(PAGE))
    wait_until(lambda: told(inspector, "storage_fault", "raised"), 10, "the inspector hears that the disk is full")
    for _ in range(3):
        lift.trap()
        count = len(told(inspector, "passenger_trapped_suspected", "raised"))
        wait_until(lambda: len(told(inspector, "passenger_trapped_suspected", "raised")) > count, 5, "an entrapment is told all the same")
        lift.free()
        count = len(told(inspector, "passenger_trapped_suspected", "returned"))
        wait_until(lambda: len(told(inspector, "passenger_trapped_suspected", "returned")) > count, 5, "and its end")
        with open(small_disk / "filler", "ab", buffering=0) as filler, pytest.raises(OSError):
            while True:  # whatever the gateway freed is taken too
                filler.write(bytes(PAGE))
    (small_disk / "filler").unlink()
    wait_until(lambda: told(inspector, "storage_fault", "returned"), 60, "the inspector hears that it is over")
    assert len(told(inspector, "storage_fault", "raised")) == 1, "once"
    assert gatehouse.stop()[0] == 0
    everything_once(small_disk, inspector)


def everything_once(store, inspector):
    ids = [request.id for request in inspector.accepted()]
    assert len(ids) == len(set(ids)), "nothing is told twice"
    rows = subprocess.run(["sqlite3", store / "events.db", "SELECT event_id, state FROM outbox; PRAGMA integrity_check"], capture_output=True, text=True, check=True).stdout.split()
    assert rows[-1] == "ok"
    assert dict(row.split("|") for row in rows[:-1]) == dict.fromkeys(ids, "delivered"), "all of it is stored, as delivered"


def test_a_damaged_file(tmp_path, modbus, inspector, gateway):
    tcp = modbus([1])
    lift = Lift(tcp, 1, float_speed=True)
    gatehouse = gateway(site(tmp_path, tcp, inspector)).start()
    inspector.set("down")
    lift.trap()
    wait_until(lambda: gatehouse.state("lift-1") == "active_unacknowledged", 10, "raised, and not delivered")
    assert gatehouse.stop()[0] == 0
    with open(tmp_path / "store" / "events.db", "r+b") as file:
        file.write(os.urandom(PAGE))
    inspector.set("up")
    gatehouse.start()
    wait_until(lambda: told(inspector, "passenger_trapped_suspected", "raised"), 10, "what waited is delivered")
    wait_until(lambda: told(inspector, "store_broken", "raised"), 10, "and that the file was damaged is told")
    readings = told(inspector, "store_broken", "raised")[0]["data"]["readings"]
    assert readings["salvaged"]["value"] >= 1 and readings["unreadable"]["value"] == 0
    lift.free()
    wait_until(lambda: told(inspector, "passenger_trapped_suspected", "returned"), 10, "the alarm goes on where it was")
    assert len({body["data"]["alarm"]["occurrence"] for body in told(inspector, "passenger_trapped_suspected", "raised")}) == 1
    assert gatehouse.stop()[0] == 0
