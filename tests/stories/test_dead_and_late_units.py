"""Story 3: four units on one RTU line at 9600 baud. One never answers; one answers too late, with the reply to the request before.
The others keep their period, and no reading ever carries a value that its own register never held."""
import itertools
import statistics
import time

import pytest

from rtu_hostile import RtuHostile
from support.gateway import entrapment_table, site_head
from support.lift import FLOOR, SPEED
from support.waiting import wait_until

HEALTHY, DEAD, LATE = [1, 4], 2, 3
PERIOD = 1.0
LISTEN = 25.0
POINTS = {"floor": (FLOOR, 0), "speed": (SPEED, 500)}  # address, and where its values begin: no two registers ever hold the same
pytestmark = pytest.mark.alone


def site(folder, pty):
    return site_head(folder) + f"""
[[bus]]
id = "lifts"
[bus.modbus_rtu]
port = "{pty}"
baud = 9600
framing = "8N1"

[[device]]
repeat  = "1..4"
id      = "lift-{{n}}"
name    = "{{n}}号电梯"
profile = "elevator/story-hostile"
bus     = "lifts"
unit    = "{{n}}"

[[alarm]]
class    = "elevator"
name     = "comm_loss"
on_delay = "3s"
""" + entrapment_table("3s", "1s")


def test_dead_and_late_units(tmp_path, line, ending, gateway):
    wire = line("lifts", baud=9600)
    # the master waits 200 ms and the request is on the wire for 8: later than that, in the midst of what comes next
    slave = RtuHostile(wire.b, HEALTHY, [DEAD], [LATE], late_by=0.27)
    change = lambda n: [slave.set(unit, address, [unit * 1000 + base + n % 400]) for unit in (1, 2, 3, 4) for address, base in POINTS.values()]
    change(0)
    ending(slave.start())
    gatehouse = gateway(site(tmp_path, wire.a)).start()
    for unit in HEALTHY:
        wait_until(lambda: gatehouse.good(f"lift-{unit}", "speed"), 20, f"unit {unit} read")

    begun = time.time()
    for n in itertools.count(1):
        if time.time() - begun > LISTEN:
            break
        change(n)
        time.sleep(0.3)  # the registers change on; nothing is waited for

    for unit in HEALTHY:
        for point, (address, _) in POINTS.items():
            asked = [t for t in slave.asked_at(unit, address) if begun <= t <= begun + LISTEN]
            gaps = [b - a for a, b in itertools.pairwise(asked)]
            mean = (asked[-1] - asked[0]) / len(gaps)
            print(f"unit {unit} {point}: every {mean:.3f} s ± {statistics.pstdev(gaps):.3f}, longest {max(gaps):.2f} s, {len(asked)} requests")
            assert abs(mean - PERIOD) <= 0.2 * PERIOD, f"unit {unit} {point}: {mean:.3f} s instead of {PERIOD}"
            assert max(gaps) <= 3 * PERIOD, f"unit {unit} was left alone for {max(gaps):.2f} s"

    visited = 0
    for unit in (1, 2, 3, 4):
        for row in gatehouse.good(f"lift-{unit}"):
            address, _ = POINTS[row["point"]]
            assert (int(row["value"]),) in slave.ledger.ever(unit, "holding", address), f"never held: {row}"
            if unit in HEALTHY:
                held = slave.ledger.held(unit, "holding", address, row["ns"], int(PERIOD * 1e9))
                assert (int(row["value"]),) in held, f"not at that time: {row}"
                visited += 1
    assert visited >= len(HEALTHY) * len(POINTS) * 15, f"only {visited} readings"
    assert gatehouse.good(f"lift-{DEAD}") == []
    assert {r["quality"] for r in gatehouse.readings(f"lift-{DEAD}")} <= {"comm_fail", "stale"}
    assert gatehouse.state(f"lift-{DEAD}", "comm_loss") == "active_unacknowledged"
    assert all(gatehouse.state(f"lift-{unit}", "comm_loss") == "closed" for unit in HEALTHY)
