"""The instruments, each held against something that is known: what measures the gateway must be right first."""
import base64
import datetime
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import time
import types

import paho.mqtt.client as mqtt
import pytest
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.framer import FramerType
from standardwebhooks import Webhook

import nice3000
import rtu
from ledger import Ledger
from modbus_rtu import ModbusRtu
from mqtt_publisher import Publisher
from rtu_hostile import RtuHostile
from serial_gate import SerialGate
from support.gateway import SECRET
from support.judge import Letter, Score
from support.lift import FLOOR, Lift, untrue
from support.machine import PEERS, PORTS, free_port
from support.waiting import wait_until
from tcp_relay import TcpRelay

pytestmark = pytest.mark.needs_no_gateway


def client(port):
    made = ModbusTcpClient("127.0.0.1", port=port, timeout=1, retries=0)
    assert made.connect()
    return made


def exchange(port, request, wait=3.0):
    """Raw bytes to a pty, and what comes back within `wait`: all that comes without a pause of 50 ms."""
    fd, reply = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK), b""
    try:
        os.write(fd, request)
        while select.select([fd], [], [], 0.05 if reply else wait)[0]:
            reply += os.read(fd, 512)
        return reply
    finally:
        os.close(fd)


def test_the_ledger_tells_what_was_held_when():
    ledger = Ledger()
    for values in ([1, 10], [2, 20]):
        ledger.hold(1, "holding", 5, values)
        time.sleep(0.05)
    (first, since, until), (second, _, still) = ledger.spans(1, "holding", 5, 2)
    assert (first, second, still) == ((1, 10), (2, 20), float("inf"))  # (2, 10) was never held
    assert ledger.held(1, "holding", 5, (since + until) // 2, 1000) == {(1,)}
    assert ledger.held(1, "holding", 5, until, 1000) == {(1,), (2,)}


def test_a_port_is_given_to_one_process_once():
    ask = "from support.machine import free_port; print(*(free_port() for _ in range(250)), flush=True); input()"
    askers = [subprocess.Popen([sys.executable, "-c", ask], cwd=PEERS.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    given = [int(port) for asker in askers for port in asker.stdout.readline().split()]
    given += [free_port() for _ in range(250)]
    for asker in askers:
        asker.communicate("\n")  # until here they have them
    assert len(given) == len(set(given)) == 1000
    assert all(port in PORTS for port in given), "not where the kernel takes ports from"


def test_modbus_tcp_server_holds_what_its_ledger_says(modbus):
    server = modbus([1, 7])
    control = free_port()
    server.control(control)
    server.set(7, 0x10, [1, 2], table="input")
    with socket.create_connection(("127.0.0.1", control)) as orders:
        orders.sendall(b'{"unit":1,"address":3,"values":[42,0]}\n')
        assert json.loads(orders.makefile().readline()) == {"ok": True}
    master = client(server.port)
    assert master.read_holding_registers(3, count=2, device_id=1).registers == [42, 0]
    assert master.read_input_registers(0x10, count=2, device_id=7).registers == [1, 2]
    assert master.read_holding_registers(0, count=1, device_id=9).isError()
    assert server.ledger.ever(1, "holding", 3, 2) == {(42, 0)}
    master.close()


def test_modbus_rtu_server_on_a_pty(line, ending):
    wire = line("rtu")
    server = ending(ModbusRtu(wire.b, [1]).start())
    server.set(1, 3, [55])
    master = ModbusSerialClient(str(wire.a), framer=FramerType.RTU, baudrate=9600, timeout=1)
    assert master.connect()
    assert master.read_holding_registers(3, count=1, device_id=1).registers == [55]
    master.close()


def test_the_paced_line_takes_the_time_of_9600_baud(line, ending):
    wire = line("paced", baud=9600)
    slave = RtuHostile(wire.b, healthy=[1])
    slave.set(1, 0, [7] * 100)
    ending(slave.start())
    fd = os.open(wire.a, os.O_RDWR | os.O_NOCTTY)
    begun = time.monotonic()
    os.write(fd, rtu.framed(bytes([1, 3, 0, 0, 0, 100])))
    reply = b""
    while len(reply) < 205:
        reply += os.read(fd, 256)
    took = time.monotonic() - begun
    os.close(fd)
    assert reply == rtu.framed(bytes([1, 3, 200] + [0, 7] * 100))
    assert 0.21 < took < 2, took  # (8 + 205) bytes × 10 bits / 9600


def test_the_hostile_line_is_hostile(line, ending):
    wire = line("hostile")
    slave = RtuHostile(wire.b, healthy=[1], dead=[2], late=[3], late_by=0.3)
    for unit in (1, 2, 3):
        slave.set(unit, 0, [unit * 10])
        slave.set(unit, 9, [unit * 10 + 1])
    ending(slave.start())
    ask = lambda unit, address: rtu.framed(bytes([unit, 3, 0, address, 0, 1]))
    answer = lambda unit, value: rtu.framed(bytes([unit, 3, 2, 0, value]))
    assert exchange(wire.a, ask(1, 0)) == answer(1, 10)
    assert exchange(wire.a, b"\x00\xff" + ask(1, 9)) == answer(1, 11)  # noise in front
    assert exchange(wire.a, ask(2, 0), wait=0.3) == b""
    assert exchange(wire.a, ask(3, 0), wait=0.5) == b""
    assert exchange(wire.a, ask(3, 9), wait=0.1) == b""
    assert exchange(wire.a, b"", wait=3) == answer(3, 30)  # late, and of the request before
    assert len(slave.asked_at(1, 0)) == 1 and len(slave.requests.about(unit=3)) == 2


def test_nice3000_answers_as_captured(line, ending):
    wire = line("nice3000")
    board = nice3000.Nice3000(wire.b)
    board.set(nice3000.FLOOR, [7])
    board.set(nice3000.FAULT, [41])
    ending(board.start())
    for request, reply in [("01 03 10 18 00 01 00 CD", "01 03 00 02 00 07 A5 C8"), ("01 03 80 00 00 01 AD CA", "01 03 00 02 00 29 25 D4")]:
        assert exchange(wire.a, bytes.fromhex(request)) == bytes.fromhex(reply)
    refused = exchange(wire.a, rtu.framed(bytes.fromhex("01 03 99 99 00 01")))
    assert refused[2:6] == bytes.fromhex("80 01 00 04") and len(refused) == 8


def test_the_gate_speaks_osdp(line, ending):
    wire = line("gate")
    gate = ending(SerialGate(wire.b).start())
    poll, local_status, inputs = (bytes.fromhex(f"53 65 08 00 04 {rest}") for rest in ("60 60 90", "64 E4 D0", "65 C5 C0"))
    assert exchange(wire.a, poll)[5] == 0x40
    gate.card(bytes.fromhex("02468AC0"), 26)
    assert exchange(wire.a, poll)[5:-2] == bytes.fromhex("50 00 01 1A 00 02 46 8A C0")
    gate.status(tamper=1, power=0)
    assert exchange(wire.a, poll)[5:-2] == bytes.fromhex("48 01 00")
    assert exchange(wire.a, local_status) == bytes.fromhex("53 E5 0A 00 04 48 00 00 93 7B")
    assert exchange(wire.a, inputs)[5] == 0x41  # NAK: no inputs
    assert [data for _, data in gate.sent(0x50)] == [bytes.fromhex("00 01 1A 00 02 46 8A C0")]


def test_the_publisher_and_the_broker(broker, ending):
    got = []
    listener = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="listener")
    listener.on_message = lambda _client, _data, message: got.append((message.topic, json.loads(message.payload)))
    listener.on_connect = lambda *_: listener.subscribe("application/#", qos=1)
    listener.connect("127.0.0.1", broker.port)
    listener.loop_start()
    wait_until(lambda: broker.subscribed("listener"), 5, "the subscription")
    publisher = ending(Publisher(broker.port))
    publisher.publish("24e1240000000001", True, 98)
    topic, message = wait_until(lambda: got and got[0], 5, "the uplink")
    listener.disconnect(), listener.loop_stop()
    assert topic == "application/1/device/24e1240000000001/event/up"
    assert bytes.hex(base64.b64decode(message["data"])) == "01756202820f00038e01048e01"  # as in the maker's own example
    assert message["object"]["occupancy"] == "occupied" and "fCnt" not in message


def event(id):
    return json.dumps({"specversion": "1.0", "id": id, "source": "/gatehouse/story", "type": "gatehouse.alarm.raised",
                       "time": "2026-11-23T14:03:11.482+08:00", "datacontenttype": "application/json", "gatehouseseq": 5512,
                       "gatehouseepoch": "9c1e", "data": {"alarm": {}}})


def post(port, body, id, secret=SECRET):
    now = datetime.datetime.now(datetime.timezone.utc)
    headers = {"content-type": "application/cloudevents+json", "webhook-id": id, "webhook-timestamp": str(int(now.timestamp())),
               "webhook-signature": Webhook(secret).sign(id, now, body)}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("POST", "/api/alarms", body, headers)
        response = connection.getresponse()
        return response.status, response.getheader("location"), response.read(100_000)
    finally:
        connection.close()


def test_the_inspector_judges_and_fails_as_told(inspector):
    assert post(inspector.port, event("a"), "a")[0] == 200
    assert post(inspector.port, event("b"), "b", secret="whsec_" + "QUJD" * 8)[0] == 400
    assert post(inspector.port, '{"specversion":"1.0"}', "c")[0] == 400
    assert [r.verdict.split(":")[0] for r in inspector.received()] == ["ok", "signature", "event"]
    assert [r.id for r in inspector.accepted()] == ["a"]
    inspector.set("503")
    assert post(inspector.port, event("d"), "d")[0] == 503
    inspector.set("307", "http://127.0.0.1:9/")
    assert post(inspector.port, event("e"), "e")[:2] == (307, "http://127.0.0.1:9/")
    inspector.set("error-body")
    assert json.loads(post(inspector.port, event("f"), "f")[2]) == {"ResponseStatusObject": {"StatusCode": 1}}
    inspector.set("hang")
    with pytest.raises(TimeoutError):
        post(inspector.port, event("g"), "g")
    inspector.set("cut")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        post(inspector.port, event("h"), "h")
    inspector.set("endless")
    assert len(post(inspector.port, event("i"), "i")[2]) == 100_000
    inspector.set("down")
    with pytest.raises(ConnectionRefusedError):
        post(inspector.port, event("j"), "j")
    inspector.set("up")
    assert post(inspector.port, event("k"), "k")[0] == 200
    assert [r.id for r in inspector.accepted()] == ["a", "k"]


def test_the_faulty_relay_is_faulty_and_a_good_master_survives_it(modbus, ending):
    server = modbus([1])
    lift = Lift(server, 1, float_speed=True)
    relay = ending(TcpRelay(free_port(), server.port, late_by=0.2).start())
    for i in range(150):
        server.set(1, FLOOR, [i])
        master = socket.create_connection(("127.0.0.1", relay.port))
        master.settimeout(0.1)
        try:
            master.sendall(bytes([0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1]))
            master.recv(64)
        except TimeoutError:
            pass
        master.close()
    wrong = {fault for fault in relay.chances if relay.counts[fault] == 0}
    assert not wrong, f"never happened: {wrong} in {relay.counts}"
    assert relay.counts["none"] > 60
    now = time.time_ns()
    row = lambda value: {"quality": "good", "point": "floor", "value": value, "ns": now}
    assert untrue(lift, [row(149.0)], 10**6) == [] and untrue(lift, [row(3.0)], 10**6) == [row(3.0)]


def test_the_judge_lets_pass_what_a_disk_lost_only_if_the_receiver_was_told():
    def taken(seq, id, **data):
        return types.SimpleNamespace(id=id, verdict="ok", accepted=True, body=id, json={"gatehouseseq": seq, "data": data})

    kept = [Letter("city", "one", 1, "lift-1", "help", "delivered")]
    received = [taken(1, "one"), taken(2, "two")]
    silent, told = Score(), Score()
    silent.judge_receiver("city", received, kept, ())
    assert silent.wrong == ["city: two is in no outbox"] and not silent.owned_up
    loss = {"class": "alarms", "reason": "store_gone", "first_seq": 2, "last_seq": 2, "count": 1}
    report = [Letter("city", "three", 3, "gateway:store", "store_broken", "delivered")]
    told.judge_receiver("city", [*received, taken(3, "three", losses=[loss])], kept + report, ())
    assert told.owned_up == ["city: two is in no outbox"] and not told.wrong
    told.holds(owned_up=1)
    with pytest.raises(AssertionError, match="gone from the store"):
        told.holds()
