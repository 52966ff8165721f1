"""The life cycle of ISA-18.2 as two receivers and the people at the command line see it: shelved, suppressed by design, out of service,
escalated, the rescue clock. The gateway is killed in the middle of a shelf and of a rescue."""
import json

from inspector import Inspector
from support.api import told, words
from support.car import E_BIKE, INSPECTION, NOTHING, STUCK, TRAPPED, Car, endpoint, site
from support.gateway import SECRET
from support.machine import free_port
from support.waiting import never, wait_until

WHO = ("--by", "张伟")


TABLES = """
[shelving]
high = "20s"

[escalation]
priorities = ["high"]
[[escalation.step]]
after     = "1s"
endpoints = ["duty"]
contact   = "值班经理"
[[escalation.step]]
after     = "1s"
contact   = "物业总经理"

"""


def site_of(folder, tcp, inspector, duty):
    data = '"operational", "personal"'
    offices = [endpoint("safety-inspection", inspector.port, data),
               endpoint("duty", duty.port, data, priorities=["critical"], purpose="property", of="power-line")]
    return site(folder, tcp, offices, TABLES, 'rescue_within = "9s"')


def listed(gatehouse, alarm):
    rows = [row for row in gatehouse.lines("alarms", "list") if row["alarm"] == alarm]
    assert len(rows) < 2, rows
    return rows[0] if rows else None


def test_the_life_cycle(tmp_path, modbus, inspector, ending, gateway):
    tcp = modbus([1])
    car, duty = Car(tcp), ending(Inspector(free_port(), SECRET).set("up"))
    gatehouse = gateway(site_of(tmp_path, tcp.port, inspector, duty)).start()
    wait_until(lambda: gatehouse.good("lift-1", "mode"), 10, "the first readings")

    a_shelf(gatehouse, car, inspector)
    nobody_acknowledges(gatehouse, car, inspector, duty)
    maintenance(gatehouse, car, inspector)
    out_of_service(gatehouse, car, inspector)
    a_rescue(gatehouse, car, inspector)

    everyone_is_right(inspector, duty)


def a_shelf(gatehouse, car, inspector):
    """It ends by itself, over a kill; what still stands then is told."""
    shelve = ("alarms", "shelve", "lift-1/e_bike", "--reason", "识别误报，厂家明日到", *WHO)
    refused = gatehouse.cli(*shelve, "--for", "21s", ok=(8,))
    assert "20s" in refused.stderr, "the limit is named"
    life = gatehouse.cli("alarms", "shelve", "lift-1/passenger_trapped", "--for", "1s", "--reason", "-", *WHO, ok=(8,))
    assert "matter of life" in life.stderr
    gatehouse.cli(*shelve, "--for", "5s")
    wait_until(lambda: words(inspector, "e_bike") == ["shelved"], 5, "shelved, told")
    shelf = told(inspector, "e_bike")[0][1]["shelved"]
    assert (shelf["by"], shelf["reason"], shelf["from"]) == ("张伟", "识别误报，厂家明日到", "cli")

    car.is_so(E_BIKE)
    wait_until(lambda: (listed(gatehouse, "e_bike") or {}).get("state") == "active_unacknowledged", 5, "raised under its shelf")
    row = listed(gatehouse, "e_bike")
    assert row["overlays"] == ["shelved"] and row["announced"] is False
    assert gatehouse.cli("status", "--exit-code", ok=(0,)), "what is shelved wants nobody"
    assert "⏸" in gatehouse.cli("status", "--lang", "zh").stdout
    gatehouse.kill()
    gatehouse.start()
    assert words(inspector, "e_bike") == ["shelved"], "nobody is told of it while it is shelved"
    wait_until(lambda: "raised" in words(inspector, "e_bike"), 12, "at the end of the shelf it is told")
    word, alarm = told(inspector, "e_bike")[1]
    assert (word, alarm["state"]) == ("raised", "active_unacknowledged"), "for the first time: a receiver need not know of shelves"
    assert "overlays" not in alarm and "shelved" not in alarm


def nobody_acknowledges(gatehouse, car, inspector, duty):
    """The next contact after a second, then the one after; who was called hears how it ends."""
    wait_until(lambda: words(inspector, "e_bike").count("escalated") == 2, 8, "escalated twice")
    wait_until(lambda: len(words(duty, "e_bike")) == 2, 5, "the next contact is told")
    steps = [alarm["escalation"] for _, alarm in told(duty, "e_bike")]
    assert steps == [{"step": 1, "contact": "值班经理"}, {"step": 2, "contact": "物业总经理"}]
    gatehouse.cli("alarms", "ack", "lift-1/e_bike", "--as", "李娜")
    wait_until(lambda: words(duty, "e_bike")[-1] == "acknowledged", 5, "who was called hears who took it on")
    car.is_so(NOTHING)
    wait_until(lambda: words(duty, "e_bike")[-1] == "closed", 5, "and how it ended")
    assert words(duty, "e_bike") == ["escalated", "escalated", "acknowledged", "closed"]


def maintenance(gatehouse, car, inspector):
    """An elevator in inspection mode does odd things: seen, not told; what stands when it ends is told."""
    car.is_so(STUCK, INSPECTION)
    wait_until(lambda: listed(gatehouse, "stuck_between_floors"), 5, "seen")
    assert listed(gatehouse, "stuck_between_floors")["overlays"] == ["suppressed"]
    assert json.loads(gatehouse.cli("status", "--json").stdout)["alarms"]["suppressed"] == 1
    car.is_so(NOTHING, INSPECTION)
    wait_until(lambda: not listed(gatehouse, "stuck_between_floors"), 5, "over, and nobody has to take it on")
    car.is_so(STUCK, INSPECTION)
    wait_until(lambda: listed(gatehouse, "stuck_between_floors"), 5, "seen again")
    assert words(inspector, "stuck_between_floors") == []
    car.is_so(STUCK)
    wait_until(lambda: words(inspector, "stuck_between_floors"), 5, "told when the inspection ends")
    word, alarm = told(inspector, "stuck_between_floors")[0]
    assert (word, alarm["state"]) == ("raised", "active_unacknowledged")
    still = gatehouse.cli("alarms", "close", "lift-1/stuck_between_floors", "--reason", "误报", *WHO, ok=(8,))
    assert "still holds" in still.stderr
    car.is_so(NOTHING)
    wait_until(lambda: "returned" in words(inspector, "stuck_between_floors"), 5, "returned")
    gatehouse.cli("alarms", "close", "lift-1/stuck_between_floors", "--reason", "传感器进水，已更换", *WHO)
    wait_until(lambda: words(inspector, "stuck_between_floors")[-1] == "closed", 5, "closed")
    alarm = told(inspector, "stuck_between_floors")[-1][1]
    assert (alarm["reason"], alarm["done"]["by"]) == ("传感器进水，已更换", "张伟")


def out_of_service(gatehouse, car, inspector):
    """A whole elevator, with what is a matter of life only if that is said."""
    out = ("alarms", "out-of-service", "lift-1", "--for", "1h", "--reason", "换曳引机", *WHO)
    refused = gatehouse.cli(*out, ok=(8,))
    assert "lift-1/passenger_trapped" in refused.stderr and "--life-safety" in refused.stderr
    gatehouse.cli(*out, "--life-safety")
    wait_until(lambda: words(inspector, "no_sign_of_life") == ["out_of_service"], 5, "told once, for the whole device")
    assert told(inspector, "no_sign_of_life")[0][1]["out_of_service"]["whole_device"] is True
    heard = len(inspector.accepted())
    car.is_so(E_BIKE)
    wait_until(lambda: (listed(gatehouse, "e_bike") or {}).get("overlays") == ["out_of_service"], 5, "raised while out of service")
    car.is_so(NOTHING)
    wait_until(lambda: not listed(gatehouse, "e_bike"), 5, "and gone")
    assert len(inspector.accepted()) == heard, "nobody is told"
    gatehouse.cli("alarms", "in-service", "lift-1", *WHO)
    wait_until(lambda: words(inspector, "no_sign_of_life") == ["out_of_service", "in_service"], 5, "back, told once")
    assert gatehouse.lines("alarms", "list") == []


def a_rescue(gatehouse, car, inspector):
    """Nine seconds for thirty minutes: warned of after 1.5, 4.5 and 7.5, over a kill; who arrives stops it."""
    said = lambda: [alarm["rescue"]["said"] for word, alarm in told(inspector, "passenger_trapped") if word == "rescue"]
    rescue = lambda step, *more, **ok: gatehouse.cli("alarms", "rescue", "lift-1/passenger_trapped", step, *WHO, *more, **ok)
    car.is_so(TRAPPED)
    wait_until(lambda: said() == ["warning"], 8, "warned of after a sixth")
    rescue("dispatched", "-m", "维保两人出发")
    wait_until(lambda: said() == ["warning", "dispatched"], 3, "dispatched, told")
    gatehouse.kill()
    gatehouse.start()
    wait_until(lambda: said().count("warning") >= 2, 8, "warned again after the restart")
    rescue("arrived")
    again = rescue("arrived", ok=(8,))
    assert "张伟" in again.stderr
    car.is_so(NOTHING)
    rescue("released")
    wait_until(lambda: said()[-1] == "released", 5, "released, told")
    wait_until(lambda: "returned" in words(inspector, "passenger_trapped"), 5, "returned")
    assert "overdue" not in said()
    shown = gatehouse.cli("alarms", "show", "lift-1/passenger_trapped", "--lang", "zh").stdout
    assert all(word in shown for word in ("派遣", "到场", "解救", "维保两人出发", "限 9s")), shown
    steps = [step["rescue"] for step in json.loads(gatehouse.cli("alarms", "show", "lift-1/passenger_trapped", "--json").stdout)["steps"]]
    assert [step for step in steps if step] == said()
    gatehouse.acknowledge("lift-1", name="passenger_trapped")
    wait_until(lambda: words(inspector, "passenger_trapped")[-1] == "closed", 5, "closed by a person")
    never(lambda: "overdue" in said(), 1, "a rescue that is over is never overdue")


def everyone_is_right(inspector, duty):
    """Each event once, under its own id, in order, in one chain."""
    for receiver in (inspector, duty):
        requests = receiver.received()
        assert all(r.accepted and r.verdict == "ok" for r in requests), [(r.mode, r.verdict) for r in requests]
        of_alarm = {}
        for request in requests:
            of_alarm.setdefault(request.json["subject"], []).append(request.json["gatehouseseq"])
        assert all(seqs == sorted(seqs) for seqs in of_alarm.values())
    ids = {r.id: r.json["gatehouseseq"] for r in inspector.accepted()}
    assert len(ids) == len(set(ids.values())), "an event has one id"
