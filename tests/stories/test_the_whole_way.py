"""Story 1: from four kinds of bus to the inspector, each at the far end a program that was not written here.

pymodbus (TCP, and RTU on a pty), mosquitto with a paho publisher, libosdp on a serial line; a receiver that verifies with
standardwebhooks and parses with the CloudEvents SDK.
"""
import itertools
import time

from modbus_rtu import ModbusRtu
from mqtt_publisher import Publisher
from serial_gate import SerialGate
from support.gateway import at_ns, entrapment_table, inspector_table, site_head, tcp_bus
from support.lift import Lift, untrue
from support.waiting import never, wait_until

MS = 1_000_000
ON_DELAY, OFF_DELAY = 3.0, 0.5
TCP_PERIOD, RTU_PERIOD = 250 * MS, 1000 * MS  # of the profiles story-tcp and story-rtu
BAYS = ["24e1240000000001", "24e1240000000002", "24e1240000000003"]


def site(folder, tcp_port, rtu_pty, mqtt_port, gate_pty, inspector_port):
    return site_head(folder) + f"""
{tcp_bus(tcp_port)}

[[bus]]
id = "lifts"
[bus.modbus_rtu]
port = "{rtu_pty}"
baud = 9600
framing = "8N1"

[[bus]]
id = "broker"
[bus.mqtt]
url = "mqtt://127.0.0.1:{mqtt_port}"
client_id = "gatehouse-story"

[[bus]]
id = "gates"
[bus.serial]
port = "{gate_pty}"
baud = 9600
framing = "8N1"

[[device]]
repeat  = "1..2"
id      = "lift-{{n}}"
name    = "{{n}}号电梯"
profile = "elevator/story-tcp"
bus     = "lan"
unit    = "{{n}}"
tags    = {{ building = "{{n}}" }}

[[device]]
id      = "lift-rtu"
name    = "串口电梯"
profile = "elevator/story-rtu"
bus     = "lifts"
unit    = 1

[[device]]
repeat  = "1..3"
id      = "bay-{{n}}"
name    = "车位 {{n}}"
profile = "parking-sensor/milesight-vs330"
bus     = "broker"
address = "24e124000000000{{n}}"

[[device]]
id      = "gate"
name    = "东门"
profile = "access-gate/osdp-v2-reader"
bus     = "gates"
address = "0x65"
""" + entrapment_table("3s", "500ms") + inspector_table(inspector_port)


def test_the_whole_way(tmp_path, modbus, line, broker, inspector, ending, gateway):
    tcp = modbus([1, 2])
    lifts_line, gates_line = line("lifts"), line("gates")
    rtu = ending(ModbusRtu(lifts_line.b, [1]).start())
    gate = ending(SerialGate(gates_line.b).start())
    lifts = {"lift-1": Lift(tcp, 1, float_speed=True), "lift-2": Lift(tcp, 2, float_speed=True), "lift-rtu": Lift(rtu, 1)}
    gatehouse = gateway(site(tmp_path, tcp.port, lifts_line.a, broker.port, gates_line.a, inspector.port))
    assert gatehouse.cli("check").returncode == 0
    gatehouse.start()

    lifts_ride(gatehouse, lifts)
    bays = bays_change(gatehouse, broker, ending(Publisher(broker.port)))
    gate_is_used(gatehouse, gate)
    a_passenger_is_trapped(gatehouse, lifts["lift-2"], inspector)

    every_reading_is_true(gatehouse, lifts, bays, gate)
    assert gatehouse.cli("status", "--json").stdout.strip()
    code, took = gatehouse.stop()
    assert (code, took < 10) == (0, True), (code, took)


def lifts_ride(gatehouse, lifts):
    """Each change is held until it has been read: so every change must be read."""
    for floor, speed in [(1, 0.0), (2, 1.75), (17, -2.5), (-2, 0.25)]:
        for lift in lifts.values():
            lift.moves(floor, speed)
        for device in lifts:
            wait_until(lambda: [r for r in gatehouse.good(device, "floor") if r["value"] == floor], 10, f"{device} read at floor {floor}")
            wait_until(lambda: [r for r in gatehouse.good(device, "speed") if abs(r["value"] - speed) < 1e-6], 10, f"{device} at {speed} m/s")
    for lift in lifts.values():
        lift.moves(1, 0.0)


def bays_change(gatehouse, broker, publisher):
    wait_until(lambda: broker.subscribed("gatehouse-story"), 10, "the gateway's subscription")
    for n in range(4):
        for bay in BAYS:
            publisher.publish(bay, occupied=n % 2 == 0, battery=98 - n)
    publisher.raw(f"application/1/device/{BAYS[0]}/event/up", b"\xff{not json")   # costs nothing else
    publisher.raw(f"application/1/device/{BAYS[0]}/event/up", '{"fPort":1,"object":{"firmware":"1.2"}}')  # says nothing of a point
    publisher.publish(BAYS[0], occupied=True, battery=90)
    wait_until(lambda: [r for r in gatehouse.good("bay-1", "battery") if r["value"] == 90], 10, "the last uplink of bay 1")
    return publisher.ledger


def gate_is_used(gatehouse, gate):
    wait_until(lambda: gatehouse.good("gate", "tamper"), 10, "the reader's local status")
    gate.card(bytes.fromhex("02468AC0"), 26)
    wait_until(lambda: gatehouse.good("gate", "card"), 10, "the card")
    gate.card(bytes.fromhex("ABCDEF80"), 26)
    wait_until(lambda: len(gatehouse.good("gate", "card")) == 2, 10, "the second card")


def a_passenger_is_trapped(gatehouse, lift, inspector):
    lift.trap()
    never(lambda: gatehouse.alarms(), ON_DELAY / 3, "raised before its on-delay")
    lift.free()
    never(lambda: gatehouse.alarms() or inspector.received(), ON_DELAY + 1, "raised although it did not last")

    trapped_ns = time.time_ns()
    lift.trap()
    wait_until(lambda: inspector.accepted(), ON_DELAY + 5, "raised, delivered")
    assert gatehouse.state("lift-2") == "active_unacknowledged"
    lift.free()
    wait_until(lambda: len(inspector.accepted()) == 2, OFF_DELAY + 5, "returned, delivered")
    assert gatehouse.state("lift-2") == "returned_unacknowledged"  # latching: it stays until a person closes it
    gatehouse.acknowledge("lift-2")
    wait_until(lambda: inspector.accepted()[-1].json["type"] == "gatehouse.alarm.closed", 5, "closed, delivered")
    assert gatehouse.state("lift-2") == "closed"
    requests = never_more_requests(inspector)

    bodies = [r.json for r in requests]
    kinds = [b["type"].removeprefix("gatehouse.alarm.") for b in bodies]
    assert [k for k in kinds if k != "acknowledged"] == ["raised", "returned", "closed"], kinds
    on_delay_ns = ON_DELAY * 1000 * MS
    raised_after = at_ns(bodies[0]["time"]) - trapped_ns - on_delay_ns
    assert -2 * MS <= raised_after <= 2 * TCP_PERIOD + 500 * MS, f"raised {raised_after / MS} ms off its on-delay"
    assert requests[0].ns - trapped_ns >= on_delay_ns
    for request in requests:
        envelope_is_right(request)
    for before, after in itertools.pairwise(bodies):
        assert before["gatehouseseq"] < after["gatehouseseq"] and before["gatehouseepoch"] == after["gatehouseepoch"]
        if before["gatehouseseq"] + 1 == after["gatehouseseq"]:
            assert after["data"]["evidence"]["prev_hash"] == before["data"]["evidence"]["hash"]
    readings = bodies[0]["data"]["readings"]
    for point, value in {"door": "closed", "door_zone": False, "occupied": True, "speed": 0.0, "mode": "normal"}.items():
        assert readings[point]["value"] == value and readings[point]["quality"] == "good", (point, readings)


def never_more_requests(inspector):
    """Exactly once: nothing comes twice, nothing comes after."""
    count = len(inspector.received())
    never(lambda: len(inspector.received()) > count, 2, "delivered more than once")
    requests = inspector.received()
    assert all(r.accepted and r.verdict == "ok" for r in requests), [(r.mode, r.verdict) for r in requests]
    assert len({r.id for r in requests}) == len(requests)
    return requests


def envelope_is_right(request):
    """formats.md, section 4."""
    headers, body, data = request.headers, request.json, request.json["data"]
    assert headers["content-type"].split(";")[0] == "application/cloudevents+json"
    assert headers["idempotency-key"] == headers["webhook-id"] == body["id"] == request.event.get_id()
    assert headers["gatehouse-attempt"].isdigit()
    assert len(body["id"].replace("-", "")) == 32  # 128 bits
    assert body["specversion"] == "1.0" and body["source"] == "/gatehouse/story" and body["datacontenttype"] == "application/json"
    assert body["subject"].startswith("lift-2/passenger_trapped_suspected")
    assert data["site"] == {"id": "story", "name": "故事小区"}
    assert data["device"]["id"] == "lift-2" and data["device"]["class"] == "elevator" and data["device"]["name"] == "2号电梯"
    assert data["device"]["profile"] == "elevator/story-tcp@1" and data["device"]["tags"] == {"building": "2"}
    alarm = data["alarm"]
    assert alarm["name"] == "passenger_trapped_suspected" and alarm["priority"] == "critical" and alarm["title"]["zh"]
    assert alarm["occurrence"] and alarm["state"] and alarm["origin"] and alarm["raised_at"]
    assert data["demo"] is False and data["durability"] == "committed" and data["time_quality"]
    assert data["evidence"].keys() >= {"seq", "hash", "prev_hash"} and data["evidence"]["seq"] == body["gatehouseseq"]


def every_reading_is_true(gatehouse, lifts, bays, gate):
    for device, lift in lifts.items():
        rows = gatehouse.readings(device)
        period = RTU_PERIOD if device == "lift-rtu" else TCP_PERIOD
        assert {r["point"] for r in rows} == {"floor", "speed", "door", "mode", "door_zone", "occupied"}, device
        assert untrue(lift, rows, period) == []
        assert all(r["value"] is None for r in rows if r["quality"] not in ("good", "stale"))
        assert [r["ns"] for r in rows] == sorted(r["ns"] for r in rows), "oldest first"
    for n, bay in enumerate(BAYS, 1):
        published = [f["value"] for f in bays.about(unit=bay)]
        read = [r["value"] for r in gatehouse.good(f"bay-{n}", "occupied")]
        assert read == published, f"bay-{n}"
        assert {r["value"] for r in gatehouse.good(f"bay-{n}", "battery")} == {f["battery"] for f in bays.about(unit=bay)}
    cards = gatehouse.lines("readings", "gate", "--point", "card", "--private")
    assert [r["value"] for r in cards if r["quality"] == "good"] == ["02468AC0", "ABCDEF80"]
    assert {r["value"] for r in gatehouse.good("gate", "card")} == {"***"}, "not for everybody's eyes"
    assert {r["value"] for r in gatehouse.good("gate", "card_bits")} == {26.0}
    sent = {data for _, data in gate.sent(0x48)}
    for at, point in enumerate(("tamper", "power_fault")):
        assert {r["value"] for r in gatehouse.good("gate", point)} == {bool(data[at]) for data in sent}, point
