"""A city platform behind a broker: every alarm arrives at least once whatever the broker forgets, a PUBACK that nobody stands behind is no
delivery, what the platform's people say comes back by the common door, readings follow without what is of persons, and a drill says whether
anybody would have heard."""
import collections
import json
import os
import sqlite3
import time

import paho.mqtt.client as mqtt
import pytest

from city import City
from kiosk import Kiosks
from support.gateway import site_head
from support.machine import Broker
from support.waiting import wait_until

ROUNDS = int(os.environ.get("ROUNDS", "2"))
WINDOW = 8
RECEIPT = 'receipt = { topic = "city-says/receipts" }\nreceipt_within = "3s"\n'


def site(folder, field, more):
    return site_head(folder).replace("[store]\n", '[store]\nkey = { file = "store-key" }\n') + f"""
[[bus]]
id = "broker"
[bus.mqtt]
url = "mqtt://127.0.0.1:{field}"
client_id = "gatehouse-story"

[[device]]
repeat  = "1..4"
id      = "kiosk-{{n}}"
name    = "{{n}}号回收箱"
profile = "recycling-kiosk/gatehouse-kiosk"
bus     = "broker"
address = "{{n}}"

[[alarm]]
class     = "recycling-kiosk"
name      = "smoke"
on_delay  = "0s"
off_delay = "0s"
{more}
"""


def endpoint(port, id="city", more="", wants="", tables=""):
    return f"""
[[endpoint]]
id      = "{id}"
purpose = "city-platform"
[endpoint.mqtt]
url       = "mqtt://127.0.0.1:{port}"
client_id = "{id}-gateway"
topic     = "{id}/{{site}}/{{class}}/{{device}}/{{alarm}}"
{more}
[endpoint.wants]
classes    = ["recycling-kiosk", "endpoint"]
priorities = ["critical", "high"]
data       = ["public", "operational"]
{wants}
{tables}
"""


def delivered(gatehouse, id="city"):
    [row] = [row for row in gatehouse.lines("delivery", "list") if row["endpoint"] == id]
    return row


def smoke(kiosks, kiosk, on):
    kiosks.send(kiosk, kiosks.message(kiosk, smoke=on, weight_kg=1.0, temperature_c=20.0))


@pytest.mark.long
def test_every_alarm_arrives_though_the_broker_forgets_all_again_and_again(tmp_path, ending, gateway):
    """T38: restarts without persistence, under a receiver that confirms. L=0, D ≤ 8 a restart, O=0."""
    (tmp_path / "field").mkdir()
    field, broker = ending(Broker(tmp_path / "field")), ending(Broker(tmp_path, persistence=False))
    kiosks, city = ending(Kiosks(field.port)), ending(City(broker.port, "city/#", confirms="city-says/receipts"))
    gatehouse = gateway(site(tmp_path, field.port, endpoint(broker.port, more=RECEIPT))).start()
    wait_until(lambda: field.subscribed("gatehouse-story"), 20, "the kiosks are heard")
    delivered_all = lambda: delivered(gatehouse)["queued"] == 0
    for round in range(ROUNDS):
        for kiosk in "1234":
            smoke(kiosks, kiosk, True)
        wait_until(lambda: len(active(gatehouse)) == 4, 20, "four alarms")
        broker.kill()  # somewhere among them, as it comes
        for kiosk in "1234":
            smoke(kiosks, kiosk, False)
        wait_until(lambda: not active(gatehouse), 20, "the smoke is over")
        # one that is back before anybody misses it looks like a rival for the client id, of whom the gateway keeps clear for long
        wait_until(lambda: refusals(gatehouse) > round, 20, "the broker is missed")
        broker.start()
        wait_until(delivered_all, 60, "all is delivered")
        for alarm in gatehouse.alarms(name="smoke"):
            gatehouse.cli("alarms", "ack", alarm["id"], "--as", "值班员")
        wait_until(lambda: not gatehouse.alarms(name="smoke") and delivered_all(), 60, "the end too")
    wanted = [event for event in stored_events(tmp_path) if event["device"].startswith("kiosk")]
    assert len([e for e in wanted if e["kind"] == "raised"]) == 4 * ROUNDS
    counts = collections.Counter(heard.event.get_id() for heard in city.alarms())
    lost = [event for event in wanted if event["id"] not in counts]
    doubled = sum(counts.values()) - len(counts)
    print(f"L={len(lost)} of {len(wanted)} D={doubled} restarts={ROUNDS}")
    assert (lost, city.wrong) == ([], [])
    assert doubled <= WINDOW * ROUNDS
    in_order(city)


def test_with_receipts_nothing_is_lost_with_the_broker(tmp_path, ending, gateway):
    """T38 and T43 for receipts: delivered means that the receiver said so."""
    (tmp_path / "field").mkdir()
    field, broker = ending(Broker(tmp_path / "field")), ending(Broker(tmp_path, persistence=False))
    kiosks = ending(Kiosks(field.port))
    more = RECEIPT + 'ack_topic = "city-says/acks"\nreadings_topic = "city/{site}/readings"\n'
    tables = '[endpoint.drill]\nevery = "10s"\nwithin = "4s"\n[endpoint.upload]\nevery = "2s"\n'
    gatehouse = gateway(site(tmp_path, field.port, endpoint(broker.port, more=more, wants="readings = true", tables=tables))).start()
    wait_until(lambda: field.subscribed("gatehouse-story"), 20, "the kiosks are heard")
    # nobody is there: the broker confirms, and nothing is delivered
    smoke(kiosks, "1", True)
    wait_until(lambda: gatehouse.state("kiosk-1", "smoke") == "active_unacknowledged", 10, "smoke")
    wait_until(lambda: gatehouse.state("endpoint:city", "drill_unheard") == "active_unacknowledged", 30, "nobody would have heard")
    assert delivered(gatehouse)["delivered"] == 0, "a PUBACK is no receipt"
    told = gatehouse.cli("alarms", "list", "--lang", "zh").stdout
    assert "对方不会收到您的报警" in told, told
    # somebody comes, hears what waited, and is heard
    city = ending(City(broker.port, "city/#", confirms="city-says/receipts"))
    wait_until(lambda: [h for h in city.alarms() if h.json["data"]["alarm"]["name"] == "smoke"], 90, "the alarm, again")
    wait_until(lambda: city.of("gatehouse.drill"), 90, "a drill")
    wait_until(lambda: gatehouse.state("endpoint:city", "drill_unheard") in ("closed", "returned_unacknowledged"), 60, "heard again")
    alarm = next(h for h in city.alarms() if h.json["data"]["alarm"]["name"] == "smoke")
    assert alarm.topic == "city/story/recycling-kiosk/kiosk-1/smoke"
    answer(gatehouse, city, alarm)
    uploads(gatehouse, city, kiosks)
    sealed(gatehouse, city, kiosks)
    practised(gatehouse, city)
    contested(gatehouse, broker)
    in_order(city)
    gatehouse.stop()
    practised(gatehouse, city)
    assert city.wrong == []


def answer(gatehouse, city, alarm):
    """Acknowledged by its subject or its occurrence, once; the second time is a note; a stranger's word from the past is nothing."""
    city.says("city-says/acks", {"id": alarm.event.get_subject(), "as": "李强", "note": "已派人"})
    wait_until(lambda: gatehouse.state("kiosk-1", "smoke") == "active_acknowledged", 10, "acknowledged from outside")
    occurrence = alarm.json["data"]["alarm"]["occurrence"]
    city.says("city-says/acks", {"id": occurrence, "as": "王芳"})
    city.says("city-says/acks", "nonsense")
    with sqlite3.connect(f"file:{gatehouse.folder}/store/events.db?mode=ro", uri=True) as db:
        rows = lambda: db.execute("SELECT who, origin, outcome FROM audit WHERE action = 'acknowledge' ORDER BY number").fetchall()
        wait_until(lambda: len(rows()) == 2, 10, "both in the audit")
        assert rows() == [("李强", "mqtt:city", "acknowledged: 已派人"), ("王芳", "mqtt:city", "already acknowledged by 李强")]
    wait_until(lambda: city.of("gatehouse.alarm.acknowledged"), 20, "told of it")
    [told, *_] = city.of("gatehouse.alarm.acknowledged")
    assert "李强" not in told.body.decode(), "a name is personal, and not among what the city may see"


def practised(gatehouse, city):
    """A drill that is asked for, whether the gateway runs or not: the receiver's own receipt, and no alarm in the letter."""
    drill = json.loads(gatehouse.cli("delivery", "test", "city", "--json", "--as", "李强").stdout)
    assert drill["accepted"] and "receipt" in drill["said"], drill
    [heard] = [heard for heard in city.of("gatehouse.drill") if heard.event.get_id() == drill["event"]]
    assert heard.json["data"]["drill"] == {"by": "李强"} and not {"alarm", "device"} & heard.json["data"].keys()
    assert heard.topic.startswith("city/story/endpoint/"), heard.topic


def uploads(gatehouse, city, kiosks):
    """Batches in the contract's shape, each value as it is stored, and nothing of persons."""
    kiosks.send("2", kiosks.message("2", smoke=False, weight_kg=12.5, temperature_c=21.5, card="622202", points=7))
    kiosks.send("2", kiosks.message("2", smoke=False, weight_kg=13.0, temperature_c=21.0, card="622202"))

    def rows():
        found = []
        for heard in city.of("gatehouse.readings"):
            for block in heard.json["data"]["batch"]:
                for row in block["rows"]:
                    assert len(row["values"]) == len(block["points"]) == len(row.get("quality", row["values"]))
                    found += [(block["device"], point, row["at"], value) for point, value in zip(block["points"], row["values"])]
        return found

    wait_until(lambda: ("kiosk-2", "weight", 13.0) in {(d, p, v) for d, p, _, v in rows()}, 40, "the readings")
    stored = {(row["point"], row["at"]): row["value"] for row in gatehouse.readings("kiosk-2")}
    for device, point, at, value in rows():
        if device == "kiosk-2" and value is not None:
            assert stored[(point, at)] == value, (point, at, value)
    text = b"".join(heard.body for heard in city.of("gatehouse.readings"))
    assert b"622202" not in text and b"card" not in text and b"credit" not in text
    assert {row["value"] for row in gatehouse.readings("kiosk-2", "card")} <= {"***", None}, "masked on the screen"
    numbers = [heard.json["gatehouseseq"] for heard in city.of("gatehouse.readings")]
    assert numbers == sorted(numbers)
    assert not any(heard.json["data"]["backfill"] for heard in city.of("gatehouse.readings")[-1:])


def sealed(gatehouse, city, kiosks):
    """A card's number stands in no file, not in the log and in no letter; who may read the key can read it."""
    kiosks.send("3", kiosks.message("3", smoke=True, weight_kg=1.0, card="622203"))
    wait_until(lambda: [h for h in city.alarms() if h.event.get_subject() == "kiosk-3/smoke"], 20, "an alarm with a card beside it")
    read = lambda kiosk: {row["value"] for row in gatehouse.lines("readings", kiosk, "--point", "card", "--private")}
    wait_until(lambda: "622203" in read("kiosk-3"), 20, "stored")
    assert "622202" in read("kiosk-2")
    files = [path for path in (gatehouse.folder / "store").iterdir() if path.is_file()] + [gatehouse.log]
    for path in files:
        assert b"62220" not in path.read_bytes(), path
    assert (gatehouse.folder / "store-key").stat().st_mode & 0o777 == 0o600
    assert not [h for h in city.heard if b"62220" in h.body]


def contested(gatehouse, broker):
    """T42: somebody else under our client id. Held back at least 5 s each time, and an alarm."""
    times = []
    rival = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="city-gateway", clean_session=False)
    rival.reconnect_delay_set(1, 1)
    rival.on_disconnect = lambda *_: times.append(time.monotonic())
    rival.connect("127.0.0.1", broker.port)
    rival.loop_start()
    wait_until(lambda: gatehouse.state("endpoint:city", "connection_contested") == "active_unacknowledged", 60, "the fight is told")
    rival.loop_stop()
    gaps = [after - before for before, after in zip(times, times[1:])]
    rival.disconnect()
    assert gaps and min(gaps) >= 4.8, gaps


def refusals(gatehouse):
    """How often it was said, after it had been there, that no broker is there."""
    return sum("No connection to the endpoint's broker" in line and "connection refused" in line for line in gatehouse.log.read_text().splitlines())


def active(gatehouse):
    return [alarm for alarm in gatehouse.alarms(name="smoke") if alarm["state"].startswith("active")]


def in_order(city):
    """Of each alarm, the first arrivals come by seq."""
    seen = collections.defaultdict(list)
    for heard in city.alarms():
        seq = heard.json["gatehouseseq"]
        if seq not in seen[heard.event.get_subject()]:
            seen[heard.event.get_subject()].append(seq)
    assert all(seqs == sorted(seqs) for seqs in seen.values()), seen


def stored_events(folder):
    with sqlite3.connect(f"file:{folder}/store/events.db?mode=ro", uri=True) as db:
        return [dict(zip(("id", "kind", "device"), row)) for row in db.execute("SELECT id, kind, device FROM event ORDER BY seq")]

