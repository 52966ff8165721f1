"""The city's broker (config/fleet): three NATS nodes; a compound's letters arrive, each, though a node is killed with -9 in the midst of them."""
import time

import pytest

from support.fleet import Caller, City
from support.waiting import never, wait_until

pytestmark = pytest.mark.needs_no_gateway
SITES = ["yekuang-road", "east-lake"]
LETTERS = 300


@pytest.fixture
def city(tmp_path, ending):
    return ending(City(tmp_path, SITES))


def numbers(inspection, site):
    return [int(payload) for topic, payload in inspection.heard if topic == f"gatehouse/{site}/alarms"]


def test_a_node_is_killed_and_nothing_is_lost(city, ending):
    """The compound's node is killed; it goes to the next. The inspection office sits at another node and has a session that stays."""
    inspection = ending(Caller(city, "inspection", first=2, subscribe="gatehouse/#")).ready()
    gateway = ending(Caller(city, "yekuang-road")).ready()
    slowest = 0.0
    for n in range(LETTERS):
        if n == LETTERS // 3:
            killed = gateway.at
            city.nodes[killed].kill()
        begun = time.monotonic()
        gateway.publish("gatehouse/yekuang-road/alarms", str(n))
        slowest = max(slowest, time.monotonic() - begun)
    assert gateway.at != killed
    wait_until(lambda: set(numbers(inspection, "yekuang-road")) == set(range(LETTERS)), 60, "every letter is there")
    heard = numbers(inspection, "yekuang-road")
    print(f"{LETTERS} letters, {len(heard) - LETTERS} twice; longest wait for a PUBACK {slowest:.1f} s")

    city.nodes[killed].forget()  # its disk is replaced, it fetches all from the others; and then the office's own node may go
    city.nodes[killed].start()
    wait_until(lambda: city.nodes[killed].is_current() and city.is_whole(), 60, "the node is back and has what it missed", every=0.5)
    city.nodes[inspection.at].kill()
    for n in range(LETTERS, LETTERS + 50):
        gateway.publish("gatehouse/yekuang-road/alarms", str(n))
    wait_until(lambda: set(numbers(inspection, "yekuang-road")) == set(range(LETTERS + 50)), 90, "every letter, though the office was cut off")


def test_a_compound_speaks_only_of_itself(city, ending):
    inspection = ending(Caller(city, "inspection", subscribe="gatehouse/#")).ready()
    east = ending(Caller(city, "east-lake", subscribe="city/east-lake/#")).ready()
    east.publish("gatehouse/east-lake/alarms", "1")
    wait_until(lambda: numbers(inspection, "east-lake") == [1], 30, "its own is heard")
    inspection.publish("city/east-lake/receipts", "for east")
    inspection.publish("city/yekuang-road/receipts", "for another")
    wait_until(lambda: east.heard, 30, "what is said to it is heard")

    city.logins["south-gate"] = city.compound("south-gate")
    city.reload()
    south = ending(Caller(city, "south-gate"))
    south.ready()
    east._client.publish("gatehouse/yekuang-road/alarms", "false alarm", qos=1)
    never(lambda: numbers_of_others(inspection), 3, "a compound spoke for another")
    assert [topic for topic, _ in east.heard] == ["city/east-lake/receipts"]
    assert inspection.connections == 1, "a new compound disconnects nobody"


def numbers_of_others(inspection):
    return [topic for topic, _ in inspection.heard if "yekuang-road" in topic]
