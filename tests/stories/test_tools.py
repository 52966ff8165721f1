"""Story: an installer with nothing but the gatehouse command line. What is on this line? What does it say? What did it say an hour ago?
Peers hold the truth ledgers; a line that is silent says why."""
import json
import os
import select
import statistics
import struct
import threading
import time

import pytest

import rtu
from rtu_hostile import RtuHostile
from support.gateway import ENTRAPMENT, PROFILES, at_ns, entrapment_table, run_binary, site_head, tcp_bus
from support.lift import FLOOR, Lift
from support.waiting import wait_until

PERIOD = 1.0
ONE_SETTING = ["-b", 9600, "-f", "8N1"]


class Witness(RtuHostile):
    """Notes the function codes as well: a tool that writes would be seen."""

    def answer(self, unit, code, address, count):
        self.requests.write(code=code)
        super().answer(unit, code, address, count)


class Line:
    """The far end of a line, with a behaviour: `reply(bytes)` to what came, `unasked` every 50 ms."""

    def __init__(self, port, reply=lambda heard: b"", unasked=b""):
        self.fd, self.reply, self.unasked = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK), reply, unasked
        self.running, self.heard = True, b""
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.running:
            if self.unasked:
                os.write(self.fd, self.unasked)
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    heard = os.read(self.fd, 256)
                except OSError:
                    continue
                self.heard += heard
                os.write(self.fd, self.reply(heard))

    def stop(self):
        self.running = False
        self.thread.join(2)
        os.close(self.fd)


def rows(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def site(folder, pty):
    return site_head(folder) + f"""
[[bus]]
id = "lifts"
[bus.modbus_rtu]
port = "{pty}"
baud = 9600
framing = "8N1"

[[device]]
id      = "lift-1"
name    = "1号电梯"
profile = "elevator/story-rtu"
bus     = "lifts"
unit    = 1
""" + entrapment_table("2s", "1s")


def lan(port):
    return f"""
{tcp_bus(port)}

[[device]]
id      = "lift-2"
name    = "2号电梯"
profile = "elevator/story-tcp"
bus     = "lan"
unit    = 1
"""


def lift_line(line, ending, name, healthy, baud=None):
    wire = line(name, baud=baud)
    slave = Witness(wire.b, healthy)
    for unit in healthy:
        slave.set(unit, 0, [0] * 16)
        slave.set(unit, 0x200, [0])
    lift = Lift(slave, healthy[0])
    return wire, ending(slave.start()), lift


def test_a_scan_finds_exactly_the_units_that_are_there(line, ending):
    wire = line("scan")
    slave = Witness(wire.b, healthy=[3, 7])
    slave.set(3, 0, [11])  # unit 7 refuses register 0: that proves it as well
    ending(slave.start())
    done = run_binary("scan", wire.a, *ONE_SETTING, "--json", "--no-profiles")
    assert done.returncode == 0, done.stderr
    assert {row["unit"]: row["exception"] for row in rows(done)} == {3: None, 7: 2}
    asked = slave.requests.about(address=0, count=1)
    assert {fact["unit"] for fact in asked} == set(range(1, 17)), "a quick scan asks units 1 to 16"
    assert {fact["code"] for fact in slave.requests.facts if "code" in fact} == {3}, "and only reads"


@pytest.mark.parametrize("silence, words", [
    ("nothing", "nothing answers"),
    ("noise", "no checksum is right"),
    ("echo", "hears its own bytes"),
    ("other master", "another master"),
])
def test_a_silent_line_says_why(line, ending, silence, words):
    wire = line("silent")
    behaviour = {
        "nothing": {},
        "noise": {"reply": lambda heard: b"\x5a\xa5\x00\x13\x37"},
        "echo": {"reply": lambda heard: heard},
        "other master": {"unasked": rtu.framed(bytes([9, 3, 0, 0, 0, 1]))},
    }
    far = ending(Line(wire.b, **behaviour[silence]))
    done = run_binary("--lang", "en", "scan", wire.a, *ONE_SETTING, "--ids", "1-3", "--timeout", "60ms")
    assert done.returncode == 4 and done.stdout == "", done
    assert words in done.stderr and "look at, in order: " in done.stderr, done.stderr
    assert (far.heard == b"") == (silence == "other master"), "where another master speaks nobody else does"


def test_a_port_that_is_not_there_is_told(tmp_path):
    done = run_binary("--lang", "zh", "scan", tmp_path / "ttyNONE")
    assert done.returncode == 5 and "不存在" in done.stderr, done


@pytest.mark.alone
def test_a_scan_through_the_running_gateway_leaves_alarm_points_their_period(tmp_path, line, ending, gateway):
    wire, slave, _ = lift_line(line, ending, "lifts", [1, 5], baud=9600)
    gatehouse = gateway(site(tmp_path, wire.a)).start()
    wait_until(lambda: gatehouse.good("lift-1", "speed"), 20, "the lift is read")
    begun = time.time()
    done = gatehouse.cli("scan", "lifts", "--ids", "1-8", "--timeout", "100ms", "--json", "--no-profiles")
    ended = time.time()
    assert {row["unit"]: row["device"] for row in rows(done)} == {1: "lift-1", 5: None}
    asked = [at for at in slave.asked_at(1, FLOOR) if begun - PERIOD <= at <= ended + PERIOD and at]
    polls = [at for at in asked if any(fact["ns"] / 1e9 == at and fact["count"] > 1 for fact in slave.requests.about(unit=1, address=FLOOR))]
    gaps = [b - a for a, b in zip(polls, polls[1:])]
    print(f"{ended - begun:.1f} s of scan, {len(polls)} polls, every {statistics.mean(gaps):.3f} s, longest {max(gaps):.2f} s")
    # an inquiry that is under way is let finish; it never becomes two periods
    assert len(gaps) >= 2 and statistics.mean(gaps) <= 1.1 * PERIOD and max(gaps) < 2 * PERIOD, gaps


def test_read_prints_what_the_ledger_holds(modbus):
    server = modbus([1])
    words = [0xFFFE, *struct.unpack(">HH", struct.pack(">f", 21.5)), 0x0001, 0x0002, 0x1234]
    server.set(1, 0x12, words)
    server.set(1, 0x20, [7], table="input")
    target = f"127.0.0.1:{server.port}"
    read = run_binary("read", target, "-u", 1, "hr:0x12..0x17", "ir:0x20", "--as", "i16,f32,u32,bcd16", "--json")
    assert read.returncode == 0, read.stderr
    held = server.ledger.ever(1, "holding", 0x12, len(words)).pop()
    found = rows(read)
    assert [row["value"] for row in found] == [-2.0, 21.5, 65538.0, 1234.0, 7.0]
    assert [row["number"] for row in found] == ["40019", "40020", "40022", "40024", "30033"]
    raw = " ".join(row["raw"] for row in found[:4])
    assert raw == " ".join(f"{word:04X}" for word in held)
    # the same words by their other name, low word first, and past the end of the table
    swapped = run_binary("read", target, "-u", 1, "40022..40023", "--as", "u32", "--order", "CDAB", "--json")
    assert [row["value"] for row in rows(swapped)] == [float(0x0002_0001)]
    beyond = run_binary("--lang", "en", "read", target, "-u", 1, f"hr:{server.size - 1}..{server.size}", "--watch", "50ms", "--count", 2)
    assert beyond.returncode == 0 and beyond.stdout.count("no such address") == 2, beyond
    assert "6 sent, 6 received (4 exceptions)" in beyond.stderr, beyond.stderr
    assert run_binary("read", target, "-u", 1, f"hr:{server.size + 5}").returncode == 4
    gone = run_binary("read", "127.0.0.1:9", "-u", 1, "hr:0")
    assert gone.returncode == 5, gone


def test_a_recording_replayed_gives_the_same_readings_and_alarms(tmp_path, line, ending, gateway, modbus):
    wire, slave, lift = lift_line(line, ending, "lifts", [1])
    other = Lift(modbus([1]), 1, float_speed=True)
    gatehouse = gateway(site(tmp_path, wire.a) + lan(other.server.port)).start()
    wait_until(lambda: gatehouse.good("lift-1", "floor") and gatehouse.good("lift-2", "floor"), 20, "the lifts are read")
    for floor in (2, 3, 4):
        lift.moves(floor, 0.5 * floor)
        other.moves(floor, 0.25 * floor)
        wait_until(lambda: [r for r in gatehouse.good("lift-1", "floor") if r["value"] == floor], 10, f"floor {floor} stored")
    lift.trap()
    wait_until(lambda: gatehouse.state("lift-1") == "active_unacknowledged", 15, "the entrapment is raised")
    file = tmp_path / "lifts.jsonl"
    gatehouse.cli("record", "-o", file)
    assert file.stat().st_mode & 0o077 == 0, "a recording is for its owner"
    until = at_ns(json.loads(file.read_text().splitlines()[0])["recorded_at"])
    stored_since = lambda lift: [r for r in gatehouse.good(lift, "floor") if r["ns"] >= until]
    wait_until(lambda: stored_since("lift-1") and stored_since("lift-2"), 10, "what was recorded is stored, and more")
    stored = {(device, point): gatehouse.good(device, point) for device in ("lift-1", "lift-2") for point in ("floor", "door", "speed")}
    live = tmp_path / "live.jsonl"
    gatehouse.cli("record", "--follow", "--max", "2KiB", "-o", live)
    assert {row["bus"] for row in map(json.loads, live.read_text().splitlines()[1:])} <= {"lifts", "lan"} and live.stat().st_size >= 2048
    assert gatehouse.stop()[0] == 0

    replay = run_binary("replay", file, "--config", gatehouse.config, "--json")
    assert replay.returncode == 0, replay.stderr
    said = rows(replay)
    assert not [row for row in said if "unknown" in row], "every frame is somebody's"
    visited = 0
    for (device, point), kept in stored.items():
        again = [row for row in said if (row.get("device"), row.get("point")) == (device, point) and row["quality"] == "good"]
        assert 4 <= len(again) <= len(kept), (device, point)
        for one, row in zip(again, kept):
            assert one["value"] == row["value"], f"{point}: {one} and {row}"
            assert abs(at_ns(one["at"]) - row["ns"]) < 50e6, "heard at the same time"
            visited += 1
    assert visited >= 24, f"only {visited} readings"
    raised = [row for row in said if row.get("alarm") == ENTRAPMENT]
    assert [row["kind"] for row in raised] == ["raised"], raised
    # another rule on the same recording: too long a delay, and nothing is raised
    slower = tmp_path / "slower.toml"
    slower.write_text(gatehouse.config.read_text().replace('on_delay  = "2s"', 'on_delay  = "90s"'))
    tried = run_binary("replay", file, "--config", slower, "--alarms", "--json")
    assert [row for row in rows(tried) if row.get("alarm") == ENTRAPMENT] == []
    # and a recording that is none says in which line
    file.write_text(file.read_text().replace('"dir":"in"', '"dir":"up"', 1))
    broken = run_binary("replay", file)
    assert broken.returncode == 3 and f"{file}:" in broken.stderr, broken


def test_profile_test_passes_and_fails_rightly(tmp_path, line, ending, gateway):
    wire, slave, lift = lift_line(line, ending, "lifts", [1])
    lift.moves(12, 1.75)
    bench = ["profile", "test", "elevator/story-rtu", f"{wire.a}:1", "--profiles", PROFILES]
    good = run_binary("--lang", "en", *bench)
    assert good.returncode == 0 and "6 passed, 0 skipped, 0 failed" in good.stdout, good
    assert "0x0200/40513   06D6 → 1.75 m/s" in good.stdout, good.stdout
    slave.set(1, 2, [7])
    bad = run_binary("--lang", "en", *bench)
    failed = [row for row in bad.stdout.splitlines() if "FAIL" in row]
    assert bad.returncode in (5, 9) and len(failed) == 1, bad
    assert "0007 → no such value (it is one of 0 closed, 1 opening, 2 open, 3 closing)" in failed[0]
    assert "story-rtu.toml:" in failed[0], "where the profile says so"
    # the same device while its gateway runs: through the gateway
    slave.set(1, 2, [2])
    gatehouse = gateway(site(tmp_path, wire.a)).start()
    wait_until(lambda: gatehouse.good("lift-1", "floor"), 20, "the lift is read")
    live = rows(gatehouse.cli("profile", "test", "lift-1", "--json"))
    assert {row["point"]: row["result"] for row in live} == dict.fromkeys(("floor", "door", "mode", "door_zone", "occupied", "speed"), "pass")
    read = rows(gatehouse.cli("read", "lift-1", "hr:0", "--as", "i16", "--json"))
    assert [row["value"] for row in read] == [12.0]
    slave.healthy.clear()
    gone = gatehouse.cli("profile", "test", "lift-1", ok=(5,))
    assert "FAIL" in gone.stdout
