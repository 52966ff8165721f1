"""Sixteen units on one 9600 baud line: what `check --plan` says of it beforehand, and what the slave's own ledger of requests says afterwards.
The blocks must be those of the plan; how close the computed line time comes to the real one is printed."""
import collections
import statistics
import time

from rtu_hostile import RtuHostile
from support.gateway import site_head
from support.waiting import wait_until

UNITS = range(1, 17)
BAUD, BITS = 9600, 10
SLOWEST, ROUNDS = (20, 2), 2  # the block that comes most seldom, and how often it is waited for


def site(folder, pty, units=len(UNITS)):
    return site_head(folder) + f"""
[[bus]]
id = "lifts"
[bus.modbus_rtu]
port = "{pty}"
baud = {BAUD}
framing = "8N1"

[[device]]
repeat  = "1..{units}"
id      = "lift-{{n}}"
profile = "elevator/story-plan"
bus     = "lifts"
unit    = "{{n}}"
"""


def plan_of(gatehouse):
    lines = gatehouse.lines("check", "--plan")
    bus, = [line for line in lines if "bus" in line and "requests" in line]
    return bus, lines[-1]


def test_what_was_planned_is_what_is_asked(tmp_path, line, ending, gateway):
    wire = line("lifts", baud=BAUD)
    slave = RtuHostile(wire.b, UNITS, dead=())
    for unit in UNITS:
        slave.set(unit, 0, [unit * 100 + n for n in range(64)])
    gatehouse = gateway(site(tmp_path, wire.a))
    bus, summary = plan_of(gatehouse)
    assert summary["busiest"]["bus"] == "lifts" and bus["units"] == len(UNITS)
    planned = {(r["first"], r["count"]): r["every_ms"] / 1000 for r in bus["requests"]}
    assert planned == {(0, 8): 1.0, (20, 2): 4.0}, planned
    assert [dead["dead"] for dead in bus["dead"]] == [1, 4, 8]

    ending(slave.start())
    gatehouse.start()
    wait_until(lambda: {unit for unit, *block in asked(slave) if tuple(block) == SLOWEST} == set(UNITS), 30, "every unit was asked")
    begun = len(slave.requests.facts)  # what unknown units are asked first (blocks of another length) is behind us
    wait_until(lambda: sum(tuple(block) == SLOWEST for _, *block in asked(slave, begun)) >= ROUNDS * len(UNITS), 30, "enough requests")

    facts = slave.requests.facts[begun:]
    assert {tuple(block) for _, *block in asked(slave, begun)} == set(planned)
    assert {unit for unit, *_ in asked(slave, begun)} == set(UNITS)
    assert gatehouse.good("lift-16", "position"), "what rides along is read"
    show(bus, facts, planned)


def asked(slave, begun=0):
    return [(f["unit"], f["address"], f["count"]) for f in slave.requests.facts[begun:]]


def show(bus, facts, planned):
    """Computed against achieved: how often each block comes, and how much of the time there are bytes on the wire."""
    times = collections.defaultdict(list)
    for f in facts:
        times[f["unit"], f["address"], f["count"]].append(f["ns"] / 1e9)
    for (first, registers), every in planned.items():
        gaps = [b - a for (_, address, _), at in times.items() if address == first for a, b in zip(at, at[1:])]
        print(f"0x{first:04X} × {registers}: planned every {every:.3f} s, achieved {statistics.mean(gaps):.3f} s ± {statistics.pstdev(gaps):.3f}")
    took = (facts[-1]["ns"] - facts[0]["ns"]) / 1e9
    on_wire = sum(8 + 5 + 2 * f["count"] for f in facts[:-1]) * BITS / BAUD
    planned_rate = sum(r["units"] / (r["every_ms"] / 1000) for r in bus["requests"])
    print(f"utilisation: planned {bus['utilisation']:.1%}, of which bytes {on_wire / took:.1%} achieved; cycle planned {bus['cycle_ms']:.0f} ms; "
          f"requests a second: planned {planned_rate:.2f}, achieved {len(facts) / took:.2f}, ratio {len(facts) / took / planned_rate:.3f}")
    closest = sorted(b["ns"] - a["ns"] for a, b in zip(facts, facts[1:]))[len(facts) // 20] / 1e6
    print(f"an exchange: planned {min(r['cost_ms'] for r in bus['requests']):.1f} to {max(r['cost_ms'] for r in bus['requests']):.1f} ms; the closest two in twenty came {closest:.1f} ms apart")


def test_a_line_that_is_asked_for_too_much_is_told_beforehand(tmp_path, gateway):
    gatehouse = gateway(site(tmp_path, "/dev/null", units=40))
    bus, summary = plan_of(gatehouse)
    assert summary["warnings"] == 1 and summary["errors"] == 0
    assert bus["utilisation"] > 1 and bus["room"] == 0
    assert all(r["achieved_ms"] > r["every_ms"] for r in bus["requests"] if r["every_ms"] == 1000)
    said = gatehouse.cli("--lang", "zh", "check", "--plan").stdout
    for words in ["总线占用率", "采集周期", "做不到", "波特率", "40 台坏 10 台"]:
        assert words in said, said
    print(said)
