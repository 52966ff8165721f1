"""Truth: whatever a line does to the replies, no reading ever carries a value that its own register did not hold.

Every fault befalls 5 % of the replies, over TCP and RTU, many lines at once. libmodbus answers; the relays keep the times of the questions;
the checker reads telemetry.db itself. FRAMES=1000000 asks for a million replies (about a quarter of an hour).
"""
import os
import time

from rtu_relay import RtuRelay
from support.gateway import site_head
from support.machine import free_port
from support.telemetry import rows
from support.truth import TruthUnits, judge, write_profiles
from support.waiting import wait_until
from tcp_relay import TcpRelay

import pytest

FRAMES = int(os.environ.get("FRAMES", 30_000))
LINES, UNITS = 12, 3  # of each kind; units of a line
if FRAMES >= 100_000:
    LINES = 36
TIMEOUT = 0.05
pytestmark = pytest.mark.alone


def unit(kind, line, n):
    """Each unit of the whole site has a number of its own: a value from any other is recognised."""
    return 1 + n + UNITS * (line + LINES * kind)


def site(folder, profiles, ports, ptys):
    text = site_head(folder).replace("profile_dirs = [", f'profile_dirs = ["{profiles}", ')
    devices = {}
    for kind, lines in enumerate((ports, ptys)):
        for n, line in enumerate(lines):
            bus = f"{('tcp', 'rtu')[kind]}-{n}"
            link = f'[bus.modbus_rtu]\nport = "{line}"\nbaud = 115200\nframing = "8N1"' if kind else f'[bus.modbus_tcp]\nhost = "127.0.0.1"\nport = {line}'
            text += f'\n[[bus]]\nid = "{bus}"\n{link}\n'
            for u in (unit(kind, n, m) for m in range(UNITS)):
                devices[f"unit-{u}"] = u
                text += f'\n[[device]]\nid = "unit-{u}"\nname = "unit {u}"\nprofile = "truth/{("tcp", "rtu")[kind]}"\nbus = "{bus}"\nunit = "{u}"\n'
    return text, devices


@pytest.mark.deadline(60 + FRAMES // 300)
def test_no_value_that_the_register_never_held(tmp_path, ending, gateway):
    ports = [(free_port(), free_port()) for _ in range(LINES)]
    buses = {tmp_path / f"bus-{n}": {unit(1, n, m): tmp_path / f"slave-{unit(1, n, m)}" for m in range(UNITS)} for n in range(LINES)}
    rtu = ending(RtuRelay(buses, seed=45, late=(1.1 * TIMEOUT, 5 * TIMEOUT)).start())
    tcp = ending(TcpRelay(*ports[0], seed=44, late_by=1.5 * TIMEOUT, more_ports=ports[1:]).start())
    ending(TruthUnits(tmp_path, [*(f"tcp:{target}" for _, target in ports), *(f"rtu:{u}:{path}" for units in buses.values() for u, path in units.items())]))
    profiles = write_profiles(tmp_path, tcp=(f"{TIMEOUT * 1000:.0f}ms", "20ms"), rtu=(f"{TIMEOUT * 1000:.0f}ms", "20ms"))
    text, devices = site(tmp_path, profiles, [port for port, _ in ports], buses)
    gatehouse = gateway(text).start()

    begun = time.monotonic()
    replies = lambda: sum(relay.counts[fault] for relay in (tcp, rtu) for fault in [*relay.chances, "none"])
    wait_until(lambda: replies() >= FRAMES, 30 + FRAMES / 400, f"{FRAMES} replies went through the relays", every=0.2)
    took = time.monotonic() - begun
    sampled = {kind: gatehouse.good(f"unit-{unit(kind, 0, 0)}") for kind in (0, 1)}  # as people see it, from the running gateway
    assert gatehouse.stop()[0] == 0

    for name, relay in (("TCP", tcp), ("RTU", rtu)):
        print(f"{name}: {relay.counts['requests']} requests in {took:.0f} s; replies by fate: {dict(relay.counts)}")
        assert all(relay.counts[fault] for fault in relay.chances), f"a fault never happened: {relay.counts}"
    asked = {**tcp.asked, **rtu.asked}
    verdict = judge(rows(tmp_path / "store"), devices, asked)
    print(verdict)
    assert verdict.wrong == [], "never held"
    assert verdict.old == [], "not held when it was asked for"
    # with a third of its replies spoilt a unit may count as lost for most of a short run, but few do
    assert len(verdict.points) >= 0.9 * 2 * LINES * UNITS * 3, "many registers were never read"
    assert verdict.good >= 0.4 * sum(relay.counts["none"] for relay in (tcp, rtu)), f"too few: {verdict}"
    for kind, seen in sampled.items():
        u = unit(kind, 0, 0)
        assert seen and all(int(row["value"]) >> 24 == u for row in seen), f"unit {u} as `readings` shows it"
