"""Bad wires and bad receivers: a wrong value is never read, a wrong receipt never taken for a right one, nothing grows without bound."""
import http.server
import itertools
import threading
import time

import pytest

from support.gateway import entrapment_table, inspector_table, site_head, tcp_bus
from support.lift import FLOOR, SPEED, Lift
from support.machine import free_port
from support.waiting import never, wait_until
from tcp_relay import TcpRelay

BODY_RULE = "{ status = [200], body = 'ResponseStatusObject.StatusCode == 0' }"


def site(folder, tcp_port, lifts, endpoint="", profile="elevator/story-tcp"):
    return site_head(folder) + f"""
{tcp_bus(tcp_port)}

[[device]]
repeat  = "1..{lifts}"
id      = "lift-{{n}}"
name    = "{{n}}号电梯"
profile = "{profile}"
bus     = "lan"
unit    = "{{n}}"
""" + entrapment_table("300ms", "300ms") + endpoint


def test_a_faulty_wire_never_makes_a_wrong_value(tmp_path, modbus, ending, gateway):
    units, points = [1, 2, 3], {"floor": (FLOOR, 0), "speed": (SPEED, 2000)}  # no two registers ever hold the same value
    tcp = modbus(units)
    change = lambda n: [tcp.set(unit, address, [unit * 5000 + base + n]) for unit in units for address, base in points.values()]
    change(0)
    relay = ending(TcpRelay(free_port(), tcp.port, seed=44, late_by=0.45).start())  # the master waits 300 ms
    gatehouse = gateway(site(tmp_path, relay.port, len(units), profile="elevator/story-twins")).start()
    begun = time.monotonic()
    for n in itertools.count(1):
        if time.monotonic() - begun > 30:
            break
        change(n)
        time.sleep(0.15)  # the lifts go on; nothing is waited for
    print(dict(relay.counts))
    assert all(relay.counts[fault] for fault in relay.chances), f"a fault never happened: {relay.counts}"
    for unit in units:
        for point, (address, _) in points.items():
            good = gatehouse.good(f"lift-{unit}", point)
            ever = tcp.ledger.ever(unit, "holding", address)
            assert [r for r in good if (int(r["value"]),) not in ever] == [], "never held"
            assert [r for r in good if (int(r["value"]),) not in tcp.ledger.held(unit, "holding", address, r["ns"], 10**9)] == [], "not at that time"
            assert len(good) >= 20, f"lift-{unit}: only {len(good)} good readings of its {point} in 30 s"
    assert relay.counts["connections"] >= 2, "a timeout closes the connection"


class Trap(threading.Thread):
    """Where a redirect leads: nobody may come here."""

    def __init__(self):
        super().__init__(daemon=True)
        trap, self.visits = self, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_one_request(self):
                trap.visits.append(self.rfile.readline())

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/internal"

    def run(self):
        self.server.serve_forever(poll_interval=0.1)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.long
def test_a_bad_receiver_is_never_taken_for_a_good_one(tmp_path, modbus, inspector, ending, gateway):
    tcp = modbus([1])
    lift = Lift(tcp, 1, float_speed=True)
    trap = Trap()
    trap.start()
    ending(trap)
    gatehouse = gateway(site(tmp_path, tcp.port, 1, inspector_table(inspector.port, accept=BODY_RULE))).start()

    inspector.set("307", trap.url)
    lift.trap()
    wait_until(lambda: inspector.received(), 15, "the first try")
    wait_until(lambda: len(inspector.received()) >= 2, 45, "another try after a 307")
    assert trap.visits == [], "a redirect was followed"

    inspector.set("error-body")
    tried = len(inspector.received())
    wait_until(lambda: len(inspector.received()) >= tried + 2, 60, "a 200 whose body says no is tried again")

    inspector.set("endless")
    wait_until(lambda: inspector.endless_sent, 40, "a try against the endless reply")
    poured = settled(inspector)
    print(f"read of an endless reply before hanging up: at most {poured / 1024:.0f} KiB")
    assert poured < 64 << 20, "an endless reply was read on and on"  # socket buffers included
    assert gatehouse.rss_mib() < 128

    ids = {r.id for r in inspector.received()}
    assert len(ids) == 1 and not inspector.accepted()
    inspector.set("up")
    wait_until(lambda: inspector.accepted(), 45, "accepted when the receiver is well again")
    never(lambda: len(inspector.accepted()) > 1, 2, "delivered twice")
    assert {r.id for r in inspector.received()} == ids and len({r.body for r in inspector.received()}) == 1
    assert trap.visits == []
    assert gatehouse.state("lift-1") == "active_unacknowledged"


def settled(inspector):
    """Bytes poured into one endless reply, once nothing more goes out. It must stop: the gateway hangs up."""
    def quiet():
        before = inspector.endless_sent
        time.sleep(0.5)
        return inspector.endless_sent == before and before
    return wait_until(quiet, 20, "the gateway hung up on an endless reply")
