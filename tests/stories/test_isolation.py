"""Isolation: dead devices cost the living ones a stated, small share of their period. What counts is when the wire or the server was asked.

ISOLATION_SECONDS=300 watches for longer.
"""
import json
import os
import signal
import sys
import time

import pytest

from support.bus import Periods, Rs485, asked_at
from support.gateway import site_head
from support.machine import PEERS, Process, free_port
from support.waiting import wait_until

UNITS = list(range(1, 17))
PERIOD = 1.0
BLOCK = 10  # registers: with 16 units the line of 9600 baud is two thirds busy
SECONDS = float(os.environ.get("ISOLATION_SECONDS", 24))
pytestmark = pytest.mark.alone

CLASS = """class = "isolation"
title = { zh = "隔离", en = "isolation" }
""" + "".join(f'\n[[point]]\nname = "p{n}"\nkind = "number"\n' for n in range(BLOCK))

PROFILE = """profile  = "isolation/block"
revision = 1
title    = { zh = "一块寄存器", en = "one block" }
products = ["none: the peers in tests/peers"]
source   = "tests/stories/test_isolation.py"

[modbus]
address_base = 0
timeout      = "300ms"
retries      = 1
""" + "".join(f'\n[[point]]\nname  = "p{n}"\nread  = {{ table = "holding", address = {n}, type = "u16" }}\nevery = "%(every)s"\n' for n in range(BLOCK))
CASES = '[[case]]\nfact = "the first"\nholding = { 0x0000 = 7 }\nwant = { p0 = 7.0 }\n'


def write_profile(folder, every=f"{PERIOD:.0f}s"):
    kind = folder / "profiles" / "isolation"
    kind.mkdir(parents=True)
    (kind / "class.toml").write_text(CLASS)
    (kind / "block.toml").write_text(PROFILE % {"every": every})
    (kind / "block.cases.toml").write_text(CASES)
    return site_head(folder).replace("profile_dirs = [", f'profile_dirs = ["{folder / "profiles"}", ')


def device(bus, unit):
    return f'\n[[device]]\nid = "{bus}-{unit}"\nname = "{bus} {unit}"\nprofile = "isolation/block"\nbus = "{bus}"\nunit = "{unit}"\n'


class Scene:
    """A line of 16 units of which some are dead from the start, or die when the others are settled."""

    def __init__(self, folder, name, dead=(), dying=(), bound=None):
        self.name, self.bound, self.dying = name, bound, list(dying)
        self.healthy = [unit for unit in UNITS if unit not in (*dead, *dying)]
        self.bus = Rs485(folder, name, UNITS)
        self.power = self.bus.power(self.healthy)
        self.doomed = self.bus.power(self.dying) if dying else None

    def site(self):
        return f'\n[[bus]]\nid = "{self.name}"\n[bus.modbus_rtu]\nport = "{self.bus.master}"\nbaud = 9600\nframing = "8N1"\n' + "".join(device(self.name, u) for u in UNITS)

    def strike(self):
        if self.doomed:
            self.doomed.stop(signal.SIGKILL)

    def stop(self):
        for process in (self.bus, self.power, self.doomed):
            if process:
                process.stop()

    def periods(self, since, until):
        ledger = self.bus.ledger()
        assert not any(fact["collided"] for fact in ledger if fact["from"] == "master"), "spoke into somebody's answer"
        return Periods([asked_at(ledger, unit) for unit in self.healthy], since, until)


@pytest.mark.deadline(90 + 2 * int(SECONDS))
def test_dead_units_on_a_slow_line(tmp_path, ending, gateway):
    three, eight = UNITS[2:15:6], UNITS[1::2]
    scenes = [ending(scene) for scene in (
        Scene(tmp_path, "sound"),
        Scene(tmp_path, "three-dead", dead=three, bound=1.10),
        Scene(tmp_path, "eight-dead", dead=eight, bound=1.25),
        Scene(tmp_path, "three-die", dying=three, bound=1.10),
        Scene(tmp_path, "eight-die", dying=eight, bound=1.25),
    )]
    gatehouse = gateway(write_profile(tmp_path) + "".join(scene.site() for scene in scenes)).start()
    for scene in scenes:
        wait_until(lambda: all(gatehouse.good(f"{scene.name}-{unit}", "p0") for unit in (scene.healthy[0], scene.healthy[-1])), 30, f"{scene.name} is read")
    for scene in scenes:
        scene.strike()
    since = time.time()
    wait_until(lambda: time.time() - since >= SECONDS, SECONDS + 5, "the lines are watched")
    until = time.time()
    periods = {scene.name: scene.periods(since, until) for scene in scenes}
    for name, found in periods.items():
        print(f"{name:<11} {found}, {found.mean / periods['sound'].mean:.2f} × the sound line's")
    assert abs(periods["sound"].mean - PERIOD) <= 0.05 * PERIOD, "the sound line does not keep its own period"
    for scene in scenes[1:]:
        ratio = periods[scene.name].mean / periods["sound"].mean
        assert ratio <= scene.bound, f"{scene.name}: {ratio:.2f} × the sound line's period, not {scene.bound}"


class TcpField:
    """200 devices: 40 on ports of their own, 10 behind serial servers, and 150 more that are well, or dead: 30 refuse, 30 drop, 30 stay
    silent, 30 hang up, and 30 are missed by those serial servers (0x0B)."""

    def __init__(self, folder, dead):
        self.book, self.dead = folder / "field.json", dead
        self.own, self.servers = [free_port() for _ in range(40)], [free_port() for _ in range(10)]
        self.others = {kind: [free_port() for _ in range(30)] for kind in ("refuse", "drop", "silent", "close")}
        words = [f"live:{port}:1" for port in self.own] + [f"live:{port}:{'1' if dead else '1,2,3,4'}" for port in self.servers]
        for kind, of_kind in self.others.items():
            if kind != "refuse" or not dead:
                words += [f"{kind if dead else 'live'}:{port}:1" for port in of_kind]
        self.process = Process([sys.executable, PEERS / "tcp_field.py", *words, "--ledger", self.book], folder / "field.log")
        wait_until(lambda: "ready" in self.process.log.read_text(), 20, "the field is up")

    def site(self):
        text = ""
        for port in (*self.own, *self.servers, *(port for of_kind in self.others.values() for port in of_kind)):
            text += f'\n[[bus]]\nid = "lan-{port}"\n[bus.modbus_tcp]\nhost = "127.0.0.1"\nport = {port}\n'
            text += "".join(device(f"lan-{port}", unit) for unit in ((1, 2, 3, 4) if port in self.servers else (1,)))
        return text

    def stop(self):
        self.process.stop()

    def periods(self, since, until):
        self.stop()
        asked = json.loads(self.book.read_text())
        return Periods([asked.get(f"{port}:1", []) for port in (*self.own, *self.servers)], since, until)


def watched(folder, ending, gateway, dead):
    folder.mkdir()
    field = ending(TcpField(folder, dead))
    gatehouse = gateway(write_profile(folder) + field.site()).start()
    wait_until(lambda: all(gatehouse.good(f"lan-{port}-1", "p0") for port in (field.own[0], field.own[-1], *field.servers)), 30, "the living are read")
    since, seconds = time.time(), SECONDS / 2
    wait_until(lambda: time.time() - since >= seconds, seconds + 5, "the field is watched")
    until = time.time()
    gatehouse.kill()
    return field.periods(since, until)


@pytest.mark.deadline(120 + int(SECONDS))
def test_150_dead_of_200_over_tcp(tmp_path, ending, gateway):
    sound = watched(tmp_path / "sound", ending, gateway, dead=False)
    print(f"all well     {sound}")
    found = watched(tmp_path / "dead", ending, gateway, dead=True)
    print(f"150 dead     {found}, {found.mean / sound.mean:.2f} × as when all are well")
    assert abs(sound.mean - PERIOD) <= 0.1 * PERIOD, "200 devices that are well are not kept up with"
    assert found.mean <= 1.2 * sound.mean, f"{found.mean / sound.mean:.2f} × the period, not 1.20"
    assert max(found.means) <= 1.2 * sound.mean, "one of the living pays for the dead"
