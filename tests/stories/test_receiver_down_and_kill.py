"""Story 2: the receiver fails in every way it can, the gateway is killed with -9 in the middle, and still every transition arrives:
in order per alarm, with the same id and the same bytes on each retry. ROUNDS rounds (10 here, a hundred by hand)."""
import collections
import concurrent.futures
import os
import random
import time

import pytest

from mqtt_publisher import Publisher
from support.gateway import entrapment_table, inspector_table, site_head, tcp_bus
from support.lift import Lift
from support.waiting import wait_until

ROUNDS = int(os.environ.get("ROUNDS", 10))
SEED = int(os.environ.get("SEED", time.time()))
LIFTS = 3
BAD = ["down", "down", "503", "500", "cut", "hang"]


def site(folder, tcp_port, inspector_port):
    return site_head(folder) + f"""
{tcp_bus(tcp_port)}

[[device]]
repeat  = "1..{LIFTS}"
id      = "lift-{{n}}"
name    = "{{n}}号电梯"
profile = "elevator/story-tcp"
bus     = "lan"
unit    = "{{n}}"
""" + entrapment_table("400ms", "300ms") + inspector_table(inspector_port)


@pytest.mark.long
@pytest.mark.deadline(60 + 30 * ROUNDS)
def test_receiver_down_and_kill(tmp_path, modbus, inspector, gateway):
    print(f"SEED={SEED} ROUNDS={ROUNDS}")
    chance = random.Random(SEED)
    tcp = modbus(range(1, LIFTS + 1))
    lifts = {f"lift-{n}": Lift(tcp, n, float_speed=True) for n in range(1, LIFTS + 1)}
    gatehouse = gateway(site(tmp_path, tcp.port, inspector.port)).start()
    episodes, kills = collections.Counter(), 0
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for _ in range(ROUNDS):
            inspector.set(chance.choice(BAD))
            trapped = chance.sample(sorted(lifts), chance.randint(1, LIFTS))
            killed = pool.submit(kill_in_the_middle, gatehouse, inspector, chance.uniform(0, 2.5), chance.choice(["stays", "up before", "up after"]))
            people_are_trapped_and_freed(gatehouse, {name: lifts[name] for name in trapped})
            killed.result()
            kills += 1
            episodes.update(trapped)
            inspector.set("up")
            wait_until(lambda: closed(inspector) == episodes, 45, f"all of {dict(episodes)} closed at the inspector", every=0.2)
    everything_arrived_in_order(inspector, episodes, kills)
    assert all(row["state"] == "closed" for row in gatehouse.alarms()), "the gateway's own record"
    assert gatehouse.stop()[0] == 0


def kill_in_the_middle(gatehouse, inspector, after, receiver):
    """kill -9 at a random moment. The receiver comes back while the gateway is dead, when it is up again, or only after the round."""
    time.sleep(after)
    if receiver == "up before":
        inspector.set("up")  # so that the kill may fall between a receipt and its being noted
        time.sleep(after / 5)
    gatehouse.kill()
    gatehouse.start()
    if receiver == "up after":
        inspector.set("up")


def people_are_trapped_and_freed(gatehouse, lifts):
    """Each step is held until the gateway shows it, killed or not: so how many transitions there must be is known."""

    def shows(*states):
        def look():
            try:
                return all(gatehouse.state(name) in states for name in lifts)
            except AssertionError:
                return False  # asked just as it was killed or was starting
        return look

    def acknowledged():
        try:
            for name in lifts:
                gatehouse.acknowledge(name)
            return shows("closed")()
        except AssertionError:
            return False

    for lift in lifts.values():
        lift.trap()
    wait_until(shows("active_unacknowledged"), 30, f"raised: {list(lifts)}")
    for lift in lifts.values():
        lift.free()
    wait_until(shows("returned_unacknowledged"), 30, f"returned: {list(lifts)}")
    wait_until(acknowledged, 30, f"closed: {list(lifts)}")


def closed(inspector):
    ids = {r.id: r.json for r in inspector.accepted()}
    return collections.Counter(b["data"]["device"]["id"] for b in ids.values() if b["type"] == "gatehouse.alarm.closed")


def everything_arrived_in_order(inspector, episodes, kills):
    requests = inspector.received()
    assert {r.verdict for r in requests} == {"ok"}, "each try is signed rightly"
    tries = collections.defaultdict(list)
    for request in requests:
        tries[request.id].append(request)
    for id, same in tries.items():
        assert len({r.body for r in same}) == 1, f"{id} changed between two tries"
        assert any(r.accepted for r in same), f"{id} never accepted: {same[0].json['type']}"
    repeats = sum(sum(r.accepted for r in same) - 1 for same in tries.values())
    assert repeats <= kills, f"{repeats} repeats after {kills} kills: at most the one in flight may come again"

    by_occurrence = collections.defaultdict(list)  # in the order of first receipt
    for request in inspector.accepted():
        body = request.json
        key = (body["data"]["device"]["id"], body["data"]["alarm"]["occurrence"])
        if body["id"] not in [b["id"] for b in by_occurrence[key]]:
            by_occurrence[key].append(body)
    for key, bodies in by_occurrence.items():
        kinds = [b["type"].removeprefix("gatehouse.alarm.") for b in bodies]
        assert [k for k in kinds if k != "acknowledged"] == ["raised", "returned", "closed"], (key, kinds)
        assert len(kinds) == len(set(kinds)), (key, kinds)
        numbers = [b["gatehouseseq"] for b in bodies]
        assert numbers == sorted(set(numbers)), (key, numbers)
    occurrences = collections.Counter(device for device, _ in by_occurrence)
    assert occurrences == episodes, f"raised {dict(occurrences)}, driven {dict(episodes)}"
    assert len({b["gatehouseepoch"] for bodies in by_occurrence.values() for b in bodies}) == 1

    first_accepted = {id: min(r.ns for r in same if r.accepted) for id, same in tries.items()}
    for bodies in by_occurrence.values():
        for before, after in zip(bodies, bodies[1:]):
            sent = min(r.ns for r in tries[after["id"]])
            assert sent >= first_accepted[before["id"]], f"{after['type']} was sent before {before['type']} had been accepted"


def test_uplinks_are_kept_while_the_gateway_is_dead(tmp_path, broker, ending, gateway):
    """PUBACK only after the commit, and a persistent session: what was published while it was dead is read when it is back."""
    gatehouse = gateway(site_head(tmp_path) + f"""
[[bus]]
id = "broker"
[bus.mqtt]
url = "mqtt://127.0.0.1:{broker.port}"
client_id = "gatehouse-story"

[[device]]
id      = "bay"
name    = "车位"
profile = "parking-sensor/milesight-vs330"
bus     = "broker"
address = "24e1240000000001"
""").start()
    wait_until(lambda: broker.subscribed("gatehouse-story"), 10, "the subscription")
    publisher = ending(Publisher(broker.port))
    for round in range(3):
        for n in range(10):
            publisher.publish("24e1240000000001", occupied=n % 2 == 0, battery=50 + n)
        gatehouse.kill()  # perhaps before the last of them were committed: then the broker still has them
        for n in range(10):
            publisher.publish("24e1240000000001", occupied=n % 2 == 0, battery=70 + n)
        gatehouse.start()
        want = [f["value"] for f in publisher.ledger.about(address="occupied")]
        wait_until(lambda: [r["value"] for r in gatehouse.good("bay", "occupied")] == want, 15, f"all {len(want)} uplinks read, in order, once")
