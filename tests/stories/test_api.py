"""The JSON API as an inspector far from the box uses it: what stands, acknowledged from there, told to the endpoints with who and from where.
And as somebody uses it who should not: no token, a wrong one, too little of a role, too much, too slowly, too many."""
import concurrent.futures
import json
import re
import socket
import time

import httpx
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from inspector import Inspector
from kiosk import Kiosks
from support.api import ROLES, Api, audit, standing, told, words
from support.car import E_BIKE, NOTHING, TRAPPED, Car, site, two_offices
from support.gateway import SECRET
from support.machine import Broker, free_port
from support.waiting import wait_until

CARD = "6222-0042-7788"


def kiosk_site(port):
    return f"""
[[bus]]
id = "broker"
[bus.mqtt]
url = "mqtt://127.0.0.1:{port}"
client_id = "gatehouse-api"

[[device]]
id      = "kiosk-1"
profile = "recycling-kiosk/gatehouse-kiosk"
bus     = "broker"
address = "1"
"""


def test_an_inspector_elsewhere(tmp_path, modbus, inspector, ending, gateway):
    tcp, other, broker = modbus([1]), ending(Inspector(free_port(), SECRET).set("up")), ending(Broker(tmp_path))
    car, kiosks = Car(tcp), ending(Kiosks(broker.port))
    gatehouse = gateway(site(tmp_path, tcp.port, two_offices(inspector, other)) + kiosk_site(broker.port)).start()
    wait_until(lambda: gatehouse.good("lift-1", "mode"), 10, "the first readings")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(re.search(r':(\d+)"', gatehouse.config.read_text().split("[console]")[1]).group(1)))) != 0, "no token, no open port"
    api = Api(gatehouse)

    acknowledged_from_there(api, gatehouse, car, inspector, other, tmp_path)
    the_rest_of_its_life(api, gatehouse, car, inspector)
    what_is_of_persons(api, kiosks, broker, tmp_path)
    described(api)
    turned_away(api, tmp_path)
    taken_away(api, gatehouse, tmp_path)
    the_token_is_nowhere(api, gatehouse, tmp_path)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", api.port)) as waits:
        waits.sendall(f"GET /api/v1/events?wait=25 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api.tokens['admin']}\r\n\r\n".encode())
        code, _ = gatehouse.stop()
    assert code == 0 and time.monotonic() - began < 8, "a connection that stays open does not hold up the end"


def acknowledged_from_there(api, gatehouse, car, inspector, other, folder):
    """Waits for what happens, sees it, takes it on; the endpoints hear who did, each as much as it may know."""
    after = api.get("/events")["after"]
    assert api.get("/events", after=after)["events"] == [], "nothing yet, and nobody waits"
    began = time.monotonic()
    car.is_so(TRAPPED)
    happened = api.get("/events", after=after, wait=25)
    assert time.monotonic() - began < 5, "who waits hears of it at once"
    [raised] = happened["events"]
    assert (raised["step"], raised["alarm"], raised["priority"], raised["readings"]["floor"]["value"]) == ("raised", "passenger_trapped", "critical", 3)
    assert happened["after"] == raised["seq"] > after
    row = standing(api, "passenger_trapped")
    cli_row = gatehouse.lines("alarms", "list")[0]
    assert row == cli_row, "the same as at the command line"
    status = api.get("/status")
    assert status["alarms"]["unacknowledged"] == 1 and status["devices"]["online"] == 1 and status["storage"] is None

    done = api.post(f"/alarms/{row['id']}/acknowledge", {"as": "张伟", "note": "十分钟到"})
    assert (done["result"], done["state"], done["by"]) == ("acknowledged", "active_acknowledged", "张伟")
    assert done["from"] == "api:inspector-1(inspector)@127.0.0.1"
    wait_until(lambda: words(inspector, "passenger_trapped") == ["raised", "acknowledged"], 10, "told")
    person = told(inspector, "passenger_trapped")[-1][1]["acknowledged"]
    assert (person["by"], person["note"], person["from"], person["vouched_by"]) == ("张伟", "十分钟到", done["from"], "api_token")
    wait_until(lambda: words(other, "passenger_trapped") == ["raised", "acknowledged"], 10, "told to the other")
    assert told(other, "passenger_trapped")[-1][1]["acknowledged"].keys() == {"at", "from", "vouched_by"}
    assert told(other, "passenger_trapped")[-1][1]["acknowledged"]["from"] == "api", "a token may have a person's name"

    second = api.post(f"/alarms/{row['id']}/acknowledge", {"as": "李娜", "note": "我也在路上"}, role="operator")
    assert (second["result"], second["acknowledged_by"]) == ("already_acknowledged", "张伟"), "a note, not an error"
    assert api.post("/alarms/lift-1%2Fpassenger_trapped/note", {"note": "家属在场"})["result"] == "noted"
    gatehouse.cli("alarms", "note", row["id"], "--as", "王芳", "-m", "物业经理已到")
    history = api.get(f"/alarms/{row['id']}")
    assert [step["step"] for step in history["steps"]] == ["raised", "acknowledged"]
    notes = [(note["by"], note["note"], note["vouched_by"]) for note in history["notes"]]
    assert notes == [("李娜", "already acknowledged by 张伟: 我也在路上", "api_token"), ("inspector-1", "家属在场", "api_token"), ("王芳", "物业经理已到", "local_command_line")]
    assert gatehouse.lines("alarms", "show", row["id"]) == [history], "the same as at the command line"
    assert [row[:2] for row in audit(folder, "acknowledge")] == [("张伟", done["from"]), ("李娜", "api:operator-1(operator)@127.0.0.1")]


def the_rest_of_its_life(api, gatehouse, car, inspector):
    trapped = "/alarms/lift-1%2Fpassenger_trapped"
    for step in ("dispatched", "arrived", "released"):
        assert api.post(f"{trapped}/rescue", {"as": "张伟", "step": step})["result"] == "done"
    again = api.refused(409, "inspector", "POST", f"{trapped}/rescue", json={"as": "张伟", "step": "arrived"})
    assert again["type"].endswith(":turned-down")
    still = api.refused(409, "inspector", "POST", f"{trapped}/close", json={"reason": "误报"})
    assert "still holds" in still["detail"]
    car.is_so(NOTHING)
    wait_until(lambda: "returned" in words(inspector, "passenger_trapped") or standing(api, "passenger_trapped") is None, 10, "over")
    if standing(api, "passenger_trapped"):
        assert api.post(f"{trapped}/close", {"as": "张伟", "reason": "已解救"})["state"] == "closed"
    assert standing(api, "passenger_trapped") is None

    e_bike = "/alarms/lift-1%2Fe_bike"
    long = api.refused(403, "inspector", "POST", f"{e_bike}/shelve", json={"reason": "厂家明日到", "for": "5h"})
    assert "4 h" in long["detail"]
    life = api.refused(409, "operator", "POST", f"{trapped}/shelve", json={"reason": "-", "for": "1h"})
    assert "matter of life" in life["detail"]
    shelved = api.post(f"{e_bike}/shelve", {"reason": "厂家明日到", "for": "1h"})
    assert shelved["until"] > time.strftime("%Y-%m-%d")
    assert standing(api, "e_bike")["shelved"]["vouched_by"] == "api_token"
    assert api.post(f"{e_bike}/unshelve", {})["result"] == "done"
    for path in (f"{e_bike}", "/devices/lift-1"):
        out = {"reason": "换曳引机", "for": "1h"}
        if path.startswith("/devices"):
            api.refused(403, "operator", "POST", f"{path}/out-of-service", json=out | {"life_safety": True})
            api.refused(409, "admin", "POST", f"{path}/out-of-service", json=out)
            assert api.post(f"{path}/out-of-service", out | {"life_safety": True}, role="admin")["alarms"] > 1
        else:
            api.post(f"{path}/out-of-service", out, role="operator")
        api.post(f"{path}/in-service", {}, role="operator")
    api.refused(404, "inspector", "POST", "/alarms/nobody-1/acknowledge", json={})
    api.refused(404, "inspector", "POST", "/alarms/lift-1%2Fnothing/unshelve", json={})
    api.refused(404, "viewer", "GET", "/alarms/nobody-1")
    api.refused(404, "operator", "POST", "/delivery/nobody/retry", json={})
    assert api.post("/delivery/city/retry", {}, role="operator")["letters"] == 0
    assert {row["id"] for row in api.get("/delivery")["endpoints"]} == {"safety-inspection", "city"}

    car.is_so(E_BIKE)
    wait_until(lambda: standing(api, "e_bike"), 10, "another alarm")
    # the whole record, one at a time
    pages, before = [], None
    while True:
        page = api.get("/alarms", state="all", limit=1, **({"before": before} if before else {}))
        pages += [row["id"] for row in page["alarms"]]
        before = page["before"]
        if before is None:
            break
    assert pages == [row["id"] for row in gatehouse.lines("alarms", "list", "--all")] and len(pages) == len(set(pages)) >= 2
    seqs, after = [], 0
    while events := api.get("/events", after=after, limit=3)["events"]:
        seqs += [event["seq"] for event in events]
        after = seqs[-1]
    assert seqs == list(range(1, len(seqs) + 1)), "every one of them, each once"
    assert api.get("/events", after=10**9)["after"] == seqs[-1], "a number from another store: begin anew"


def what_is_of_persons(api, kiosks, broker, folder):
    wait_until(lambda: broker.subscribed("gatehouse-api"), 10, "the subscription")
    kiosks.send("1", kiosks.message("1", weight_kg=2.5, card=CARD))
    wait_until(lambda: api.get("/devices/kiosk-1")["readings"].get("card"), 10, "the card's reading")
    device = "/devices/kiosk-1"
    for role in ROLES:
        seen = api.get(device, role=role)["readings"]
        assert seen["weight"]["value"] == 2.5 and seen["card"]["value"] is None and seen["card"]["masked"], role
    for role in ROLES[:3]:
        api.refused(403, role, "GET", device, params={"private": "true"})
    assert api.get(device, role="admin", private="true")["readings"]["card"]["value"] == CARD
    assert ("admin-1", "api:admin-1(admin)@127.0.0.1", "kiosk-1", "values of persons shown") in audit(folder, "api")
    api.refused(404, "viewer", "GET", "/devices/nobody")
    assert {d["id"] for d in api.get("/devices")["devices"]} == {"lift-1", "kiosk-1"}
    assert [d["id"] for d in api.get("/devices", **{"class": "elevator"})["devices"]] == ["lift-1"]


def described(api):
    """The description is an OpenAPI document to somebody else's validator, what the gateway answers is what it says, and each route asks for its role."""
    document = api.get("/openapi.json")
    validate(document)
    store = Registry().with_resource("urn:api", Resource.from_contents(document, default_specification=DRAFT202012))
    paths = {"devices": "kiosk-1", "alarms": standing_or_last(api), "delivery": "city"}
    visited = 0
    for path, operations in document["paths"].items():
        kind = path.split("/")[3] if path.count("/") > 2 else ""
        address = path.replace("{id}", paths.get(kind, ""))
        for method, operation in operations.items():
            visited += 1
            roles = operation.get("x-roles", [])
            body = {"json": {}} if method == "post" else {}
            if path == "/healthz":
                assert api(None, "GET", "/healthz").json() == {"status": "ok"}, "nothing about the site"
                continue
            api.refused(401, None, method.upper(), address, **body)
            for role in ROLES:
                if role not in roles:
                    api.refused(403, role, method.upper(), address, **body)
            answer = api("admin", method.upper(), address, **body)
            assert answer.status_code in ({200} if method == "get" else {200, 400, 404, 409}), f"{method} {path}: {answer.text}"
            declared = operation["responses"]["200" if answer.status_code == 200 else "default"]["content"]
            kind = answer.headers["content-type"]
            assert kind in declared, f"{path}: {kind}"
            schema = json.loads(json.dumps(declared[kind]["schema"]).replace('"#/', '"urn:api#/'))
            Draft202012Validator(schema, registry=store).validate(answer.json())
            time.sleep(0.12)  # a token's pace
    assert visited == 24


def standing_or_last(api):
    return api.get("/alarms", state="all", limit=1)["alarms"][0]["id"]


def turned_away(api, folder):
    acknowledge = "/alarms/nobody-1/acknowledge"
    api.refused(404, "viewer", "GET", "/nothing")
    api.refused(405, "viewer", "DELETE", "/alarms")
    api.refused(400, "viewer", "GET", "/alarms", params={"limt": 3})
    api.refused(400, "inspector", "POST", acknowledge, json={"an": "张伟"})
    api.refused(400, "inspector", "POST", acknowledge, content=b"{", headers={"content-type": "application/json"})
    api.refused(400, "inspector", "POST", acknowledge, json={"as": "x" * 65})
    api.refused(415, "inspector", "POST", acknowledge, content=b"as=1", headers={"content-type": "application/x-www-form-urlencoded"})
    api.refused(413, "inspector", "POST", acknowledge, json={"note": "长" * 20_000})
    api.refused(421, "viewer", "GET", "/status", headers={"host": "evil.example"})
    headers = api("viewer", "GET", "/status").headers
    assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff" and "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers and "access-control-allow-origin" not in headers

    wrong = [api("gth_" + "A" * 43, "GET", "/status").status_code for _ in range(14)]
    assert wrong[0] == 401 and wrong[-1] == 429 and sorted(wrong) == wrong, wrong
    assert api("viewer", "GET", "/status").status_code == 200, "guessing shuts nobody out"
    with httpx.Client(headers={"authorization": f"Bearer {api.tokens['operator']}"}) as client, concurrent.futures.ThreadPoolExecutor(8) as crowd:
        burst = list(crowd.map(lambda _: client.get(f"{api.url}/api/v1/openapi.json"), range(200)))
    assert {answer.status_code for answer in burst} == {200, 429}
    assert int(next(answer for answer in burst if answer.status_code == 429).headers["retry-after"]) >= 1
    assert api("viewer", "GET", "/status").status_code == 200, "one token's pace is its own"
    records = wait_until(lambda: {row[3] for row in audit(folder, "api")} >= {"turned away: wrong token", "turned away: too many requests"} and audit(folder, "api"), 5, "on record")
    assert len([row for row in records if "wrong token" in row[3]]) <= 2, "one record, not one for each"
    assert ("viewer-1", "api:@127.0.0.1", "POST /api/v1/alarms/{id}/acknowledge", "turned away: role viewer, needs inspector") in records


def taken_away(api, gatehouse, folder):
    extra = api.tokens["extra"] = api.add("张伟", "viewer")
    wait_until(lambda: api("extra", "GET", "/site").status_code == 200, 5, "a new token is good")
    assert [row["name"] for row in gatehouse.lines("token", "list")] == [f"{role}-1" for role in ROLES] + ["张伟"]
    gatehouse.cli("token", "add", "张伟", "--role", "admin", ok=(2,))
    gatehouse.cli("token", "remove", "张伟")
    wait_until(lambda: api(extra, "GET", "/site").status_code in (401, 429), 5, "and then no more")
    gatehouse.cli("token", "remove", "张伟", ok=(4,))
    outcomes = [row[2:] for row in audit(folder, "token")]
    assert ("张伟", "added: viewer") in outcomes and ("张伟", "removed: viewer") in outcomes, outcomes


def the_token_is_nowhere(api, gatehouse, folder):
    secrets = [token.removeprefix("gth_").encode() for token in api.tokens.values()]
    places = [path for path in folder.rglob("*") if path.is_file()]
    assert {"events.db", "tokens.json", "gatehouse.log"} <= {path.name for path in places}
    for path in places:
        said = path.read_bytes()
        assert not any(secret in said for secret in secrets), path
    assert (folder / "store" / "tokens.json").stat().st_mode & 0o777 == 0o600
    shown = gatehouse.cli("print-config").stdout + gatehouse.cli("token", "list").stdout + gatehouse.cli("status", "--json").stdout
    assert not any(secret.decode() in shown for secret in secrets)
