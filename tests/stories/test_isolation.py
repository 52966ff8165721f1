"""Isolation: dead devices cost the living ones a stated, small share of their period. What counts is when the wire or the server was asked."""
import signal
import time

import pytest

from support.bus import Periods, Rs485, asked_at
from support.gateway import site_head
from support.waiting import wait_until

UNITS = list(range(1, 17))
PERIOD = 1.0
BLOCK = 10  # registers: with 16 units the line of 9600 baud is two thirds busy
SECONDS = float(__import__("os").environ.get("ISOLATION_SECONDS", 24))

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
""" + "".join(f'\n[[point]]\nname  = "p{n}"\nread  = {{ table = "holding", address = {n}, type = "u16" }}\nevery = "{PERIOD:.0f}s"\n' for n in range(BLOCK))
CASES = '[[case]]\nfact = "the first"\nholding = { 0x0000 = 7 }\nwant = { p0 = 7.0 }\n'


def write_profile(folder):
    kind = folder / "profiles" / "isolation"
    kind.mkdir(parents=True)
    (kind / "class.toml").write_text(CLASS)
    (kind / "block.toml").write_text(PROFILE)
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
