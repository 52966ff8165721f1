"""Story: one compound with a device of each class. Bytes on the wire become alarms, alarms become bodies, and the bodies are those that
somebody has read and found right: tests/stories/snapshots/<class>.json, with ids, times and hashes taken out.

After a change that is meant: UPDATE_SNAPSHOTS=1, and read the difference."""
import json
import os
import pathlib
import re

from city import City
from dlt645_meter import VOLTAGE, Dlt645Meters
from kiosk import Kiosks
from mqtt_publisher import Publisher
from platform_office import Platform
from osdp_reader import OsdpReader
from support.gateway import ROOT, site_head, tcp_bus
from support.lift import Lift
from support.machine import free_port
from support.waiting import wait_until

SNAPSHOTS = pathlib.Path(__file__).parent / "snapshots"
METER = "202208310002"
LIFT, LAMP, FENCE = 1, 2, 3
BATTERY_WORD, LOAD_SHORT = 0x0121, 0x0008          # Renogy: fault word, high half; bit 19 of 32
CONTACTS, INTRUSION = 0x00C0, 0x0001
BUTTON, SPACE = "24e124535b316056", "24e124538b223213"
DELAYS = {
    "elevator": ["passenger_trapped_suspected", "passenger_trapped", "e_bike", "alarm_button", "overtravel_top", "overtravel_bottom"],
    "access-gate": ["tamper"], "parking-sensor": ["sensor_fault"], "street-light": ["load_short"], "recycling-kiosk": ["smoke"],
    "power-line": ["phase_a_lost"], "perimeter": ["intrusion"], "help-button": ["help_wanted"],
}
# A city by HTTP, whose own codes begin at 91, and which tells a suspicion apart; a town by MQTT, with GB/T 24476's and one besides.
TEMPLATE = f'template = "{ROOT}/config/templates/elevator-city.json.j2"\n'
BY_HTTP = TEMPLATE + 'code_table = "elevator/chongqing"\ncodes = { passenger_trapped_suspected = "94" }\n'
BY_MQTT = TEMPLATE + 'code_table = "elevator/gbt24476-2017"\ncodes = { overtravel_top = "09" }\n'


def device(id, profile, bus, where):
    tags = 'tags = { registration_code = "31103301002019070001" }' if profile.startswith("elevator/") else ""
    return f'\n[[device]]\nid = "{id}"\nname = "{id}"\nprofile = "{profile}"\nbus = "{bus}"\n{where}\n{tags}\n'


def endpoint(id, port, classes, more=""):
    return f"""
[[endpoint]]
id      = "{id}"
purpose = "property"
wants   = {{ classes = {json.dumps(classes)}, priorities = ["critical", "high", "medium", "low"], data = ["public", "operational", "security"] }}
[endpoint.http]
url     = "http://127.0.0.1:{port}/"
timeout = "2s"
{more}
"""


def broker_endpoint(id, port, classes, more):
    return f"""
[[endpoint]]
id      = "{id}"
purpose = "city-platform"
wants   = {{ classes = {json.dumps(classes)}, priorities = ["critical", "high", "medium", "low"], data = ["public", "operational"] }}
[endpoint.mqtt]
url       = "mqtt://127.0.0.1:{port}"
client_id = "{id}-gateway"
topic     = "{id}/{{device}}/{{alarm}}"
{more}
"""


def site(folder, modbus, gates, broker, meters, office, city):
    delays = "".join(f'\n[[alarm]]\nclass = "{of}"\nname = "{name}"\non_delay = "300ms"\noff_delay = "300ms"\n'
                     for of, names in DELAYS.items() for name in names)
    return site_head(folder) + tcp_bus(modbus) + f"""
[[bus]]
id = "gates"
[bus.serial]
port = "{gates}"

[[bus]]
id = "broker"
[bus.mqtt]
url = "mqtt://127.0.0.1:{broker}"
client_id = "gatehouse-classes"

[[bus]]
id = "meters"
[bus.dlt645_tcp]
host = "127.0.0.1"
port = {meters}

[flood]
more_than = 1000
""" + (device("lift-1", "elevator/story-tcp", "lan", f"unit = {LIFT}") + device("lift-2", "elevator/es1500-v22a", "broker", 'address = "6001"')
       + device("gate-1", "access-gate/osdp-v2-reader", "gates", 'address = "101"')
       + device("space-1", "parking-sensor/milesight-vs330", "broker", f'address = "{SPACE}"')
       + device("lamp-1", "street-light/renogy-rover", "lan", f"unit = {LAMP}")
       + device("kiosk-1", "recycling-kiosk/gatehouse-kiosk", "broker", 'address = "k1"')
       + device("line-1", "power-line/story-meter", "meters", f'address = "{METER}"')
       + device("fence-1", "perimeter/eletechsup-n4dih32", "lan", f"unit = {FENCE}")
       + device("button-1", "help-button/milesight-ws101", "broker", f'address = "{BUTTON}"')
       + endpoint("office", office, list(DELAYS))
       + endpoint("city", city, ["elevator"], BY_HTTP) + broker_endpoint("town", broker, ["elevator"], BY_MQTT) + delays)


class Compound:
    """All that is on the wires; `trouble()` and `mend()` by class."""

    def __init__(self, modbus, gate, publisher, kiosks, meters):
        self.modbus, self.gate, self.publisher, self.kiosks, self.meters = modbus, gate, publisher, kiosks, meters
        self.lift, self.counts = Lift(modbus, LIFT, float_speed=True), {}
        self.mend()

    def say(self, eui, **decoded):
        self.counts[eui] = self.counts.get(eui, 0) + 1
        message = {"time": "2026-11-23T05:00:00.123+00:00", "fCnt": self.counts[eui], "fPort": 85, "object": decoded}
        del message["time"]  # nobody's clock matters here
        self.publisher.raw(f"application/1/device/{eui}/event/up", json.dumps(message))

    def terminal(self, flag):
        alarm = {"ErrorCode": [], **dict.fromkeys(["PersonTrapped", "Ebike", "ManualAlarm", "UpAlarm", "DownAlarm"], flag)}
        state = {"Floor": "7", "Door": "0", "Speed": "0", "Status": "0", "Temp": "21.5"}
        self.publisher.raw("elevator/es1500/6001/up", json.dumps({"Alarm": alarm, "State": state}))

    def mend(self):
        self.lift.free(floor=3)
        self.modbus.set(LAMP, BATTERY_WORD, [0, 0])
        self.modbus.set(FENCE, CONTACTS, [0, 0])
        self.meters.set(METER, VOLTAGE["a"], 220.1)

    def at_rest(self):
        """What only speaks by itself says that all is well."""
        self.terminal("0")
        self.gate.status(0, 0)
        self.say(SPACE, occupancy="vacant", battery=98, distance=15, calibration_status="success")
        self.say(BUTTON, battery=80)
        self.kiosks.send("k1", self.kiosks.message("k1", weight_kg=12.5, scale="stable", smoke=False, door="closed", temperature_c=21))

    def trouble(self):
        self.lift.trap()
        self.modbus.set(LAMP, BATTERY_WORD, [LOAD_SHORT, 0])
        self.modbus.set(FENCE, CONTACTS, [INTRUSION, 0])
        self.meters.set(METER, VOLTAGE["a"], 3.2)
        self.terminal("1")
        self.gate.status(1, 0)
        self.say(SPACE, occupancy="vacant", battery=98, distance=15, calibration_status="failed")
        self.say(BUTTON, press="long", battery=80)
        self.kiosks.send("k1", self.kiosks.message("k1", weight_kg=12.5, scale="stable", smoke=True, door="closed", temperature_c=35))


NAMED = {"id": "ID", "gatehouseepoch": "EPOCH", "occurrence": "OCCURRENCE", "hash": "HASH", "prev_hash": "HASH", "gatehouseseq": 0, "seq": 0,
         "Msg_Id": "ID", "time_quality": "QUALITY"}
TIME = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d")


def normal(value, key=""):
    """Without what differs from run to run. `id`s of site and device are names and stay."""
    if isinstance(value, dict):
        # the signed head is the one that was signed last: another in each run
        return {k: v if k == "id" and len(str(v)) < 30 else normal(v, k) for k, v in value.items() if (key, k) != ("evidence", "head")}
    if isinstance(value, list):
        return [normal(one) for one in value]
    if key in NAMED:
        return NAMED[key]
    return "TIME" if isinstance(value, str) and TIME.match(value) else value


def bodies(platform):
    return [json.loads(request.body) for request in platform.accepted()]


def is_story(body):
    """Of the alarms that the story is about; the gateway's own word of itself is another story's."""
    return body["data"]["device"]["class"] in DELAYS and body["data"]["alarm"]["name"] in DELAYS[body["data"]["device"]["class"]]


def held(name, found):
    """`found` is what the snapshot says."""
    path, text = SNAPSHOTS / f"{name}.json", json.dumps(found, ensure_ascii=False, indent=1) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(text)
    assert json.loads(path.read_text()) == found, f"{name}: not the bodies of the snapshot\n{text}"


def test_every_class_from_the_wire_to_the_body(tmp_path, modbus, line, broker, ending, gateway):
    registers, wire = modbus([LIFT, LAMP, FENCE]), line("gates")
    meters = ending(Dlt645Meters.over_tcp(free_port(), [METER]).start())
    for item, value in ((VOLTAGE["b"], 221.0), (0x02030000, 1.25), (0x00010000, 12345.67)):
        meters.set(METER, item, value)
    compound = Compound(registers, ending(OsdpReader(wire.b).start()), ending(Publisher(broker.port)), ending(Kiosks(broker.port)), meters)
    office, city = ending(Platform(free_port())), ending(Platform(free_port()))
    town = ending(City(broker.port, "town/#"))
    gatehouse = gateway(site(tmp_path, registers.port, wire.a, broker.port, meters.server.port, office.port, city.port))
    assert "0" == str(gatehouse.cli("check").returncode)
    gatehouse.start()
    wait_until(lambda: broker.subscribed("gatehouse-classes"), 10, "the gateway listens")
    compound.at_rest()
    points = {"lift-1": ["speed", "door"], "lift-2": ["floor"], "gate-1": ["tamper"], "space-1": ["occupied"], "lamp-1": ["load_short", "lamp_power"],
              "kiosk-1": ["weight"], "line-1": ["voltage_a", "energy_forward"], "fence-1": ["intrusion"], "button-1": ["battery"]}
    seen = lambda: all(gatehouse.good(of, point) for of, names in points.items() for point in names)  # noqa: E731
    wait_until(seen, 20, "every device was read once", every=0.5)

    compound.trouble()
    alarms = sum(len(names) for names in DELAYS.values())
    told = lambda kind: [body for body in bodies(office) if body["type"] == f"gatehouse.alarm.{kind}" and is_story(body)]  # noqa: E731
    wait_until(lambda: len(told("raised")) >= alarms, 15, f"{alarms} alarms at the office")
    compound.mend(), compound.at_rest()
    wait_until(lambda: len(told("returned")) >= alarms, 15, "all of them are over")

    by_class = {}
    for body in sorted(filter(is_story, bodies(office)), key=lambda body: (body["subject"], body["gatehouseseq"])):
        by_class.setdefault(body["data"]["device"]["class"], []).append(normal(body))
    assert sorted(by_class) == sorted(DELAYS)
    for name, found in by_class.items():
        held(name, found)
    wait_until(lambda: len(bodies(city)) >= 2 * len(DELAYS["elevator"]), 10, "the city has as many")
    of_city = sorted(map(normal, bodies(city)), key=lambda body: (body["Fault_Reason"], body["Fault_State"], body["floor"]))
    held("elevator-city", of_city)
    wait_until(lambda: len(town.letters) >= 2 * len(DELAYS["elevator"]), 10, "the town has as many")
    of_town = [json.loads(body) | {"topic": topic} for topic, body in town.letters]
    of_town = sorted(map(normal, of_town), key=lambda body: (body["Fault_Reason"], body["Fault_State"], body["floor"]))
    held("elevator-town", of_town)
