"""What the JSON API lets reach beyond the gateway: a lamp is told something, once; an office gets a drill; letters for an office that is gone are
given up. Each by its role, at its pace, on record with who and from where, also through a proxy."""
from inspector import Inspector
from lamps import TcpLamps
from support.api import ROLES, Api, audit
from support.car import TRAPPED, endpoint, site
from support.gateway import SECRET
from support.machine import free_port
from support.waiting import wait_until

LIFT, LAMP = 1, 2
DIMMING, CHARGE = 0x21, 0x22
COMMAND, DRILL = "/devices/lamp-1/command", "/delivery/office/drill"
DIM = {"command": "set_dimming", "value": 40, "as": "张伟", "note": "夜间"}
BEHIND = {"x-forwarded-for": "203.0.113.9, 192.168.1.77"}  # the first is what the caller wrote itself


def table(folder, port, endpoints):
    proxy = "[console]\ntrusted_proxies = [\"127.0.0.1\"]"
    return site(folder, port, endpoints).replace("[console]", proxy) + f"""
[[device]]
id      = "lamp-1"
name    = "1号路灯"
profile = "street-light/story-lamp"
bus     = "lan"
unit    = {LAMP}
"""


def test_what_reaches_beyond_the_gateway(tmp_path, ending, gateway):
    field, office = ending(TcpLamps(free_port(), [LIFT, LAMP]).start()), ending(Inspector(free_port(), SECRET).set("up"))
    field.set(LIFT, 0, [3, 0, 0])
    field.set(LAMP, CHARGE, [80])
    stays, gone = endpoint("office", office.port, '"operational"'), endpoint("gone", free_port(), '"operational"')
    gatehouse = gateway(table(tmp_path, field.port, [stays, gone])).start()
    wait_until(lambda: gatehouse.good("lamp-1", "battery_soc") and gatehouse.good("lift-1", "mode"), 15, "all is read")
    api = Api(gatehouse)
    a_lamp_is_told(api, field, tmp_path)
    an_office_is_tried(api, office, tmp_path)
    letters_are_given_up(api, gatehouse, field, tmp_path, [stays])


def a_lamp_is_told(api, field, folder):
    for role in ROLES[:2]:
        api.refused(403, role, "POST", COMMAND, json=DIM)
    assert field.writes() == []
    told = api("operator", "POST", COMMAND, json=DIM | {"value": 40.4}, headers=BEHIND)
    assert told.status_code == 200, told.text
    said = told.json()
    assert (said["result"], said["value"], said["by"]) == ("done", 40, "张伟"), "what is really set is said"
    assert said["from"] == "api:operator-1(operator)@192.168.1.77", "the address that our proxy wrote, not what the caller did"
    assert field.writes() == [(6, DIMMING, [40])], "once"
    assert [row for row in audit(folder, "operate") if row[0] == "张伟"][-1][1] == said["from"]

    assert "0 to 100" in api.refused(400, "operator", "POST", COMMAND, json=DIM | {"value": 101})["detail"]
    known = api.refused(404, "operator", "POST", COMMAND, json=DIM | {"command": "fly"})
    assert "set_horn" in known["todo"]["en"]
    api.refused(404, "operator", "POST", "/devices/nobody/command", json=DIM)
    api.refused(400, "operator", "POST", COMMAND, json={"command": "set_dimming"})
    assert api.refused(403, "admin", "POST", "/devices/lift-1/command", json=DIM)["type"].endswith(":never-told"), "an elevator, never"
    field.mode = "refuses"
    assert api.refused(409, "operator", "POST", COMMAND, json=DIM)["type"].endswith(":not-done")
    field.mode = "obeys"
    asked = [api(role, "POST", COMMAND, json=DIM | {"value": 101}) for role in ("operator", "admin") * 4]
    assert sorted({answer.status_code for answer in asked}) == [400, 429], "five at once, then one in two seconds, whoever asks"
    assert int(asked[-1].headers["retry-after"]) >= 1


def an_office_is_tried(api, office, folder):
    for role in ROLES[:2]:
        api.refused(403, role, "POST", DRILL, json={})
    assert office.received() == []
    taken = api.post(DRILL, {"as": "李强", "note": "季度演练"}, role="operator")
    [letter] = office.accepted()
    assert (letter.json["type"], letter.id, taken["status"]) == ("gatehouse.drill", taken["event"], 200)
    assert "alarm" not in letter.json["data"] and "李强" in letter.body.decode()
    assert audit(folder, "drill") == [("李强", "api:operator-1(operator)@127.0.0.1", "office", "asked for: 季度演练")]
    hindered = api.refused(502, "operator", "POST", "/delivery/gone/drill", json={})
    assert hindered["type"].endswith(":hindered")
    api.refused(404, "operator", "POST", "/delivery/nobody/drill", json={})
    api.post(DRILL, {}, role="operator")
    api.refused(429, "operator", "POST", DRILL, json={})
    assert len(office.received()) == 2, "each is a letter that somebody receives"


def letters_are_given_up(api, gatehouse, field, folder, stay):
    field.set(LIFT, 0, [3, 0, TRAPPED])
    waiting = lambda: [row for row in gatehouse.lines("delivery", "list") if row["endpoint"] == "gone" and row["queued"]]  # noqa: E731
    wait_until(waiting, 10, "a letter that nobody takes")
    why = {"as": "王芳", "reason": "平台已撤销"}
    assert "take it out of the site file" in api.refused(409, "admin", "POST", "/delivery/gone/discard", json=why)["detail"]
    assert gatehouse.stop()[0] == 0
    port = f'listen = "127.0.0.1:{api.port}"'
    text = table(folder, field.port, stay)
    gatehouse.config.write_text(text.replace(text[text.index('listen = "'):].split("\n")[0], port, 1))
    gatehouse.start()
    wait_until(api.answers, 5, "it answers again")
    api.refused(403, "operator", "POST", "/delivery/gone/discard", json=why)
    api.refused(400, "admin", "POST", "/delivery/gone/discard", json=why | {"reason": " "})
    api.refused(404, "admin", "POST", "/delivery/nobody/discard", json=why)
    given_up = api.post("/delivery/gone/discard", why, role="admin")
    assert (given_up["result"], given_up["letters"] >= 1) == ("discarded", True)
    assert not waiting(), "and that is on record"
    [(who, origin, object, outcome)] = audit(folder, "delivery discard")
    assert (who, origin, object) == ("王芳", "api:admin-1(admin)@127.0.0.1", "gone") and "平台已撤销" in outcome
