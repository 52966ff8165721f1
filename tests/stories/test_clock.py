"""A box without a clock battery: it comes up in 1970, somebody sets the clock, puts it back by an hour and forward by a day. Alarms go at once, with
times that say what they are worth; what the clock does raises, clears, escalates and ends nothing."""
import datetime
import json
import sqlite3
import time

from inspector import Inspector
from support.car import E_BIKE, NORMAL, NOTHING, STUCK, TRAPPED, endpoint, site
from support.gateway import SECRET, at_ns
from support.machine import free_port
from support.waiting import never, wait_until
from support.wall import WallClock

WHO = ("--by", "张伟")


class AnyTime(Inspector):
    """A receiver that takes a true signature whatever the time in it."""

    def judge(self, headers, body):
        utc = datetime.timezone.utc
        at, now = datetime.datetime.fromtimestamp(int(headers["webhook-timestamp"]), utc), datetime.datetime.now(utc)
        sign = lambda when: self._webhook.sign(headers["webhook-id"], when, body.decode())
        if sign(at) not in headers["webhook-signature"].split():
            return "signature: somebody else's", None
        return super().judge({**headers, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": sign(now)}, body)


def table(folder, tcp, strict, lenient, duty):
    return site(folder, tcp, [
        endpoint("strict", strict.port, '"operational"', priorities=("critical",)), endpoint("lenient", lenient.port, '"operational"', priorities=("critical",)),
        endpoint("duty", duty.port, '"operational"', priorities=("critical", "high", "medium"))]) + """
[shelving]
high = "8h"

[escalation]
priorities = ["critical", "high"]
[[escalation.step]]
after     = "5m"
contact   = "值班经理"
"""


class Story:
    def __init__(self, gatehouse, tcp, wall, *offices):
        self.gatehouse, self.tcp, self.wall = gatehouse, tcp, wall
        self.strict, self.lenient, self.duty = offices

    def car(self, flags):
        """Since when it is so."""
        at = time.time_ns()
        self.tcp.set(1, 0, [3, NORMAL, flags])
        return at

    def status(self):
        return json.loads(self.gatehouse.cli("status", "--json").stdout)

    def listed(self):
        """Of the elevator: each alarm with its state and what lies over it."""
        rows = [row for row in self.gatehouse.lines("alarms", "list") if row["device"] == "lift-1"]
        return sorted((row["alarm"], row["state"], tuple(row.get("overlays", ()))) for row in rows)

    def of_the_clock(self):
        return {row["alarm"]: row["state"] for row in self.gatehouse.lines("alarms", "list") if row["device"] == "gateway:clock"}


def told(office):
    """What an office accepted, each once."""
    return list({request.id: request.json for request in office.accepted()}.values())


def words(office, alarm):
    return [body["type"].removeprefix("gatehouse.alarm.") for body in told(office) if body["data"]["alarm"]["name"] == alarm]


def test_clock(tmp_path, modbus, ending, gateway, inspector):
    tcp, wall = modbus([1]), WallClock(tmp_path)
    lenient, duty = (ending(AnyTime(free_port(), SECRET).set("up")) for _ in range(2))
    gatehouse = gateway(table(tmp_path, tcp.port, inspector, lenient, duty))
    gatehouse.environment = wall.environment
    story = Story(gatehouse, tcp, wall, inspector, lenient, duty)
    story.car(NOTHING)

    a_good_day(story)
    happened = it_comes_up_in_1970(story)
    somebody_sets_it(story, happened)
    back_by_an_hour_and_on_by_a_day(story)
    gatehouse.cli("events", "verify")


def a_good_day(story):
    """The store holds something of today."""
    story.gatehouse.start()
    at = story.car(TRAPPED)
    wait_until(lambda: words(story.strict, "passenger_trapped"), 10, "told")
    [raised] = told(story.strict)
    assert raised["data"]["time_quality"] in ("holdover", "synced", "restored"), raised["data"]["time_quality"]
    assert abs(at_ns(raised["time"]) - at) < 5e9
    story.gatehouse.cli("alarms", "shelve", "lift-1/stuck_between_floors", "--for", "2h", "--reason", "传感器待换", *WHO)
    story.car(STUCK)
    wait_until(lambda: ("stuck_between_floors", "active_unacknowledged", ("shelved",)) in story.listed(), 5, "shelved, and raised")
    story.gatehouse.cli("alarms", "ack", "lift-1/passenger_trapped", "--as", "张伟")
    wait_until(lambda: words(story.duty, "passenger_trapped")[-1] == "closed", 5, "over")
    assert story.gatehouse.stop()[0] == 0


def it_comes_up_in_1970(story):
    """What happens now is told at once, with a time that says of itself that it is none."""
    story.wall.set("1970-01-01T00:00:10+00:00")
    story.duty.set("down")
    story.gatehouse.start()
    assert story.status()["time_quality"] == "unset"
    for lang, line in (("zh", "✕ 时钟未设定"), ("en", "✕ the clock is not set")):
        assert line in story.gatehouse.cli("status", "--lang", lang).stdout
    wait_until(lambda: story.of_the_clock() == {"clock_unset": "active_unacknowledged"}, 5, "it is an alarm")
    before = len(told(story.lenient))
    trapped = story.car(STUCK | TRAPPED)
    wait_until(lambda: len(told(story.lenient)) > before, 10, "told at once")
    assert time.time_ns() - trapped < 10e9
    raised = told(story.lenient)[before]
    assert raised["time"].startswith("1970-01-01T08:00:") and raised["data"]["time_quality"] == "unset"
    assert "time_corrected" not in raised["data"]
    bike = story.car(STUCK | TRAPPED | E_BIKE)
    wait_until(lambda: "e_bike" in [name for name, *_ in story.listed()], 5, "raised")
    refused = lambda: [r for r in story.strict.received() if not r.accepted and r.id == raised["id"]]
    wait_until(lambda: len(refused()) >= 4, 30, "refused again and again by who checks the time, and offered again")
    assert not any(row["set_aside"] for row in story.status()["endpoints"]), "and not given up"
    return raised, bike


def somebody_sets_it(story, happened):
    raised, bike = happened
    alarms = story.listed()
    story.wall.right()
    story.duty.set("up")
    wait_until(lambda: story.status()["time_quality"] in ("holdover", "synced"), 5, "it is set")
    wait_until(lambda: "clock_stepped" in story.of_the_clock(), 5, "and that is an alarm")
    assert story.status()["clock_step"]["by_ms"] > 50 * 365 * 86_400_000
    assert "拨快" in story.gatehouse.cli("status", "--lang", "zh").stdout
    wait_until(lambda: raised["id"] in [body["id"] for body in told(story.strict)], 10, "who checks the time takes it now")
    wait_until(lambda: {"e_bike", "passenger_trapped"} <= {body["data"]["alarm"]["name"] for body in told(story.duty) if body["gatehouseseq"] >= raised["gatehouseseq"]}, 40, "what waited goes")

    of = lambda office, name: next(b for b in told(office) if b["gatehouseseq"] >= raised["gatehouseseq"] and b["data"]["alarm"]["name"] == name)
    taken = {r.body for office in (story.strict, story.lenient) for r in office.received() if r.id == raised["id"]}
    assert len(taken) == 1 and of(story.strict, "passenger_trapped")["time"] == raised["time"], "what was tried stays byte by byte"
    waited = of(story.duty, "e_bike")
    corrected = waited["data"]["time_corrected"]
    assert abs(at_ns(waited["time"]) - bike) < 2e9 + 1e9, (waited["time"], bike)
    assert abs(at_ns(waited["data"]["alarm"]["raised_at"]) - bike) < 3e9
    assert waited["data"]["time_quality"] in ("holdover", "synced")
    assert corrected["stamped"].startswith("1970-01-01T08:00:") and corrected["stamped_quality"] == "unset"
    assert abs(at_ns(waited["time"]) - at_ns(corrected["stamped"]) - corrected["shift_ms"] * 1_000_000) < 2_000_000

    assert story.listed() == alarms, "the step raised, cleared, escalated and ended nothing"
    at = story.car(STUCK | E_BIKE)
    wait_until(lambda: words(story.strict, "passenger_trapped")[-1] == "returned", 5, "and what comes later")
    later = told(story.strict)[-1]
    assert abs(at_ns(later["time"]) - at) < 5e9 and later["data"]["time_quality"] in ("holdover", "synced"), "has the right time"


def back_by_an_hour_and_on_by_a_day(story):
    alarms, before = story.listed(), {office: len(told(office)) for office in (story.strict, story.lenient)}
    rows = len(story.gatehouse.readings("lift-1", "mode"))
    for step in (-3600, 86_400 - 3600):
        was = story.status()["clock_step"]["by_ms"]
        story.wall.move(step)
        wait_until(lambda: story.status()["clock_step"]["by_ms"] != was, 5, f"seen: {step} s")
        never(lambda: story.listed() != alarms, 1.2, f"raised, cleared or ended by {step} s")
    wait_until(lambda: story.of_the_clock().get("clock_stepped", "").endswith("unacknowledged"), 5, "each is an alarm")
    assert {office: len(told(office)) for office in before} == before, "nobody is told anything of the elevator"
    assert not [body for body in told(story.duty) if body["type"].endswith("escalated")]
    assert ("stuck_between_floors", "active_unacknowledged", ("shelved",)) in story.listed(), "nor was a shelf of two hours"
    assert len(story.gatehouse.readings("lift-1", "mode")) >= rows, "and no reading went"
    steps = [record["stepped_ms"] for record in clock_rows(story.gatehouse.folder)]
    assert [abs(ms) > 3_000_000 for ms in steps].count(True) >= 3, f"each is a row of the chain: {steps}"


def clock_rows(folder):
    with sqlite3.connect(f"file:{folder / 'store' / 'events.db'}?mode=ro", uri=True) as conn:
        return [json.loads(record) for (record,) in conn.execute("SELECT record FROM link WHERE kind = 'clock' ORDER BY n")]
