"""Line use: asked for more than 9600 baud can carry, the line is never idle longer than Modbus wants it to be."""
import time

import pytest

from support.bus import Rs485, busy
from support.waiting import wait_until
from test_isolation import device, write_profile

UNITS, SECONDS, CHARACTER = [1, 2, 3, 4], 12, 10 / 9600
pytestmark = pytest.mark.alone


def test_a_line_asked_for_too_much_is_busy(tmp_path, ending, gateway):
    bus = ending(Rs485(tmp_path, "full", UNITS))
    ending(bus.power(UNITS))
    site = write_profile(tmp_path, every="100ms") + f'\n[[bus]]\nid = "full"\n[bus.modbus_rtu]\nport = "{bus.master}"\nbaud = 9600\nframing = "8N1"\n'
    gatehouse = gateway(site + "".join(device("full", unit) for unit in UNITS)).start()
    wait_until(lambda: all(gatehouse.good(f"full-{unit}", "p0") for unit in UNITS), 20, "every unit is read")
    since = time.time()
    wait_until(lambda: time.time() - since >= SECONDS, SECONDS + 5, "the line is watched")
    ledger = bus.ledger()
    used = busy(ledger, since, since + SECONDS, CHARACTER)
    asked = [fact for fact in ledger if fact["from"] == "master" and since <= fact["sent"] <= since + SECONDS]
    print(f"{len(asked) / SECONDS:.1f} requests a second; the line is in use {100 * used:.1f} % of the time that the wire limit allows")
    assert len(asked) > 100 and not any(fact["collided"] for fact in asked)
    assert used >= 0.90, f"{100 * used:.1f} %"
