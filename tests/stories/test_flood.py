"""Story: a storm sets off the whole perimeter. Critical calls go singly and at once, one alarm says that there is a flood, the others go in
summaries, each once, also over a kill; and a lamp that flickers is told of twice, not a hundred times."""
import json
import os
import sqlite3
import time

from kiosk import Kiosks
from platform_office import Platform
from support.gateway import site_head, tcp_bus
from support.machine import free_port
from support.waiting import wait_until

FENCES, CONTACTS = 16, 0x00C0
CLASSES = ["perimeter", "recycling-kiosk"]


def endpoint(id, port, priorities):
    return f"""
[[endpoint]]
id      = "{id}"
purpose = "property"
wants   = {{ classes = {json.dumps(CLASSES)}, priorities = {json.dumps(priorities)}, data = ["public", "operational", "security"] }}
[endpoint.http]
url     = "http://127.0.0.1:{port}/"
timeout = "2s"
"""


def kiosk_bus(port):
    return f'\n[[bus]]\nid = "broker"\n[bus.mqtt]\nurl = "mqtt://127.0.0.1:{port}"\nclient_id = "gatehouse-flood"\n'


def kiosks_table(count):
    return f"""
[[device]]
repeat  = "1..{count}"
id      = "kiosk-{{n}}"
profile = "recycling-kiosk/gatehouse-kiosk"
bus     = "broker"
address = "{{n}}"
""" + "".join(f'\n[[alarm]]\nclass = "recycling-kiosk"\nname = "{name}"\non_delay = "0s"\noff_delay = "0s"\n' for name in ("smoke", "scale_overload"))


def bodies(platform):
    return [json.loads(request.body) for request in platform.accepted()]


def of_type(platform, kind):
    return [body for body in bodies(platform) if body["type"] == f"gatehouse.{kind}"]


def singly(platform, kind="raised"):
    return [body["subject"] for body in of_type(platform, f"alarm.{kind}")]


def test_a_storm(tmp_path, modbus, broker, ending, gateway):
    registers, kiosks = modbus(range(1, FENCES + 1)), ending(Kiosks(broker.port))
    office, fire = ending(Platform(free_port())), ending(Platform(free_port()))
    gatehouse = gateway(site_head(tmp_path) + tcp_bus(registers.port) + kiosk_bus(broker.port) + f"""
[[device]]
repeat  = "1..{FENCES}"
id      = "fence-{{n}}"
profile = "perimeter/eletechsup-n4dih32"
bus     = "lan"
unit    = "{{n}}"

[flood]
summary_every = "3s"
""" + kiosks_table(1) + endpoint("office", office.port, ["critical", "high", "medium", "low"]) + endpoint("fire", fire.port, ["critical"])).start()
    wait_until(lambda: broker.subscribed("gatehouse-flood") and gatehouse.good(f"fence-{FENCES}", "intrusion"), 15, "all is read")
    for unit in range(1, FENCES + 1):
        registers.set(unit, CONTACTS, [1, 0])
    wait_until(lambda: "gateway:alarms/alarm_flood" in singly(office), 10, "there is a flood")
    begun = time.monotonic()
    kiosks.send("1", kiosks.message("1", weight_kg=1, scale="stable", smoke=True))
    wait_until(lambda: singly(fire) == ["kiosk-1/smoke"], 5, "the critical one, singly")
    assert "kiosk-1/smoke" in singly(office)
    gatehouse.kill()
    gatehouse.start()
    wait_until(lambda: of_type(office, "summary"), 15, "a summary")
    fences = [subject for subject in singly(office) if subject.startswith("fence-")]
    groups = [group for body in of_type(office, "summary") for group in body["data"]["summary"]["groups"]]
    together = [f'{one["device"]}/{group["name"]}' for group in groups for one in group["alarms"]]
    assert len(fences) == 10, f"ten singly: {fences}"
    assert sorted(fences + together) == sorted(f"fence-{n}/intrusion" for n in range(1, FENCES + 1)), "each once, over a kill"
    assert all(one["state"] == "active_unacknowledged" and one["step"] == "raised" for group in groups for one in group["alarms"])
    assert of_type(fire, "summary") == [], "who wants critical ones only is not told of the others"
    assert time.monotonic() - begun < 30
    with sqlite3.connect(f"file:{tmp_path}/store/events.db?mode=ro", uri=True) as db:
        stored = db.execute("SELECT count(*) FROM event WHERE kind = 'raised' AND alarm = 'intrusion'").fetchone()[0]
    assert stored == FENCES, "every one of them is on record"
    [flood] = gatehouse.alarms("gateway:alarms", "alarm_flood")
    assert flood["state"] == "active_unacknowledged"


def test_ten_thousand_transitions_with_five_calls_among_them(tmp_path, broker, ending, gateway):
    """In short: two thousand in about two seconds, of alarms that chatter. LONG_FLOOD=1: ten thousand in ten, of so many alarms that none does,
    and every one of them is told, singly or in a summary."""
    long = bool(os.environ.get("LONG_FLOOD"))
    transitions, seconds, count = (10_000, 10, 1_000) if long else (2_000, 2, 100)
    kiosks, office = ending(Kiosks(broker.port)), ending(Platform(free_port()))
    gatehouse = gateway(site_head(tmp_path) + kiosk_bus(broker.port) + kiosks_table(count + 5)
                        + endpoint("office", office.port, ["critical", "high", "medium", "low"])).start()
    wait_until(lambda: broker.subscribed("gatehouse-flood"), 10, "the gateway listens")
    state = lambda name, smoke=False: {"weight_kg": 1, "scale": name, "smoke": smoke}  # noqa: E731
    for n in range(1, count + 6):
        kiosks.send(str(n), kiosks.message(str(n), **state("stable")))
    calls, begun = {}, time.monotonic()
    for n in range(transitions):
        if n % (transitions // 5) == transitions // 10:
            caller = str(count + 1 + len(calls))
            calls[f"kiosk-{caller}/smoke"] = time.monotonic()
            kiosks.post(caller, kiosks.message(caller, **state("stable", True)))
        kiosk = str(n % count + 1)
        kiosks.post(kiosk, kiosks.message(kiosk, **state(("overload", "stable")[n // count % 2])))
        time.sleep(max(0.0, begun + n * seconds / transitions - time.monotonic()))
    sent = time.monotonic() - begun
    heard = lambda: {body["subject"] for body in of_type(office, "alarm.raised")} & set(calls)  # noqa: E731
    wait_until(lambda: len(heard()) == 5, 20, "five calls for help")
    at = {json.loads(request.body)["subject"]: request.ns / 1e9 for request in reversed(office.accepted()) if b'"smoke"' in request.body}
    slowest = max(at[call] - when for call, when in calls.items())

    def stored(what="count(*)"):
        with sqlite3.connect(f"file:{tmp_path}/store/events.db?mode=ro", uri=True) as db:
            of = "alarm = 'scale_overload' AND kind IN ('raised', 'returned', 'closed')"
            return db.execute(f"SELECT {what} FROM event WHERE {of} ORDER BY seq").fetchall()

    wait_until(lambda: stored() == [(transitions,)], 30, "every transition is stored", every=0.2)
    took = time.monotonic() - begun
    letters = len(office.accepted())
    print(f"{transitions} transitions sent in {sent:.1f} s, stored after {took:.1f} s; slowest critical letter {slowest:.2f} s; {letters} letters")
    assert slowest <= 5 and took <= 30 and letters < 600, f"{slowest=} {took=} {letters=}"
    assert [subject for subject in singly(office) if subject in calls] == list(calls), "each call once, as they came"
    of_each = {}
    for device, kind in stored("device, kind"):
        of_each.setdefault(device, []).append(kind)
    each = transitions // count
    assert len(of_each) == count and all([kind == "raised" for kind in kinds] == [True, False] * (each // 2) for kinds in of_each.values())
    if long:
        each_is_told(office, transitions)


def each_is_told(office, transitions):
    """A minute at most after it happened, none twice: singly, by its place in a summary, or as one of those that it only counts."""
    overload = lambda: [body for body in bodies(office) if body["type"].startswith("gatehouse.alarm.") and body["subject"].endswith("/scale_overload")]  # noqa: E731

    def told():
        summaries = [body["data"]["summary"] for body in of_type(office, "summary")]
        named = sum(one["steps"] for summary in summaries for group in summary["groups"] for one in group["alarms"])
        return len(overload()), named, sum(summary.get("more", 0) for summary in summaries)

    wait_until(lambda: sum(told()) >= transitions, 75, "all of them are told", every=0.5)
    print("told singly, named in summaries, counted in summaries:", told())
    assert sum(told()) == transitions
