"""Story: whoever takes a letter acknowledges in the reply to it. It counts where the site expects it, for the alarm that the letter tells of or
the reply names, once, labelled with who vouches for the person; and from nobody else."""
import collections
import json
import sqlite3

from platform_office import Platform
from support.car import E_BIKE, NOTHING, TRAPPED, Car, endpoint, site
from support.gateway import ROOT
from support.machine import free_port
from support.waiting import wait_until

PERSON = {"as": "李强", "note": "十分钟到"}


class Desk:
    """Its reply to a letter: what `word` makes of the body, if it makes anything of it."""

    def __init__(self, word):
        self.word, self.platform = word, Platform(free_port(), reply=self.reply)

    def reply(self, body):
        return json.dumps({"code": 0, "desk": {"ack": self.word(json.loads(body))}}).encode()

    def told(self, kind):
        bodies = [json.loads(request.body) for request in self.platform.accepted()]
        return [body for body in bodies if body.get("type") == f"gatehouse.alarm.{kind}"]

    def stop(self):
        self.platform.stop()


def to_raised(word):
    return lambda body: word if body["type"] == "gatehouse.alarm.raised" else None


class City:
    """A body of its own says nothing of the occurrence: a reply has to name the alarm. It does for an entrapment, at the letter that tells of
    somebody else's acknowledgement: so it is the second."""

    def __init__(self):
        self.letters = collections.Counter()

    def __call__(self, body):
        self.letters[body["Fault_Reason"]] += 1
        nth, trapped = self.letters[body["Fault_Reason"]], body["Trapped"] == "1"
        if nth != (2 if trapped else 1):
            return None
        return {"as": "王芳", **({"id": "lift-1/passenger_trapped"} if trapped else {})}


def by_reply(name, desk, data, more="", **wants):
    return endpoint(name, desk.platform.port, data, 'ack_reply = "/desk/ack"\n' + more, **wants)


def test_who_takes_a_letter_acknowledges_in_the_reply(tmp_path, modbus, ending, gateway):
    tcp = modbus([1])
    car = Car(tcp)
    duty, deaf, city = ending(Desk(to_raised(PERSON))), ending(Desk(to_raised({"as": "外人"}))), ending(Desk(City()))
    template = f'template = "{ROOT}/config/templates/elevator-city.json.j2"\ncode_table = "elevator/chongqing"\n'
    table = site(tmp_path, tcp.port, [
        by_reply("duty", duty, '"operational", "personal"', priorities=("critical",)),
        by_reply("city", city, '"operational"', template),
        endpoint("deaf", deaf.platform.port, '"operational"', priorities=("high",)),
    ]).replace("unit    = 1\n", 'unit    = 1\ntags    = { registration_code = "31103301002019070001" }\n')
    gatehouse = gateway(table).start()
    wait_until(lambda: gatehouse.good("lift-1", "mode"), 10, "the first readings")

    car.is_so(E_BIKE)
    wait_until(lambda: deaf.told("raised") and len(city.platform.accepted()) == 1, 10, "an alarm that two hear of")
    car.is_so(E_BIKE | TRAPPED)
    wait_until(lambda: gatehouse.state("lift-1", "passenger_trapped") == "active_acknowledged", 10, "acknowledged from there")
    # a reply in the platform's own form that names no alarm, and one where the site expects none, are nobody's word
    assert gatehouse.state("lift-1", "e_bike") == "active_unacknowledged"
    assert "so the reply must name its" in gatehouse.log.read_text() and "外人" not in gatehouse.log.read_text()

    [alarm] = gatehouse.alarms("lift-1", "passenger_trapped")
    wait_until(lambda: len(words(tmp_path)) == 2, 10, "both were heard")
    assert words(tmp_path) == [("李强", "http:duty", alarm["id"]), ("王芳", "http:city", alarm["id"])], "on record under the alarm, however it was named"
    [history] = gatehouse.lines("alarms", "show", alarm["id"])
    [step] = [step for step in history["steps"] if step["step"] == "acknowledged"]
    [note] = history["notes"]
    assert (step["who"]["by"], note["by"]) == ("李强", "王芳"), "who was second left a note, no error"
    assert step["who"]["vouched_by"] == note["vouched_by"] == "http_reply"
    wait_until(lambda: duty.told("acknowledged"), 10, "the others hear of it")
    heard = duty.told("acknowledged")[-1]["data"]["alarm"]["acknowledged"]
    assert (heard["vouched_by"], heard["from"]) == ("http_reply", step["who"]["from"])

    car.is_so(NOTHING)
    wait_until(lambda: len(duty.told("returned")) == 1, 10, "over")
    assert len(words(tmp_path)) == 2, "a reply to what follows is no second word"


def words(folder):
    with sqlite3.connect(f"file:{folder}/store/events.db?mode=ro", uri=True) as events:
        return events.execute("SELECT who, origin, object FROM audit WHERE action = 'acknowledge' ORDER BY number").fetchall()
