"""Story: receivers as cities have them. Their own JSON, digest logins, Ed25519, a letter that one cannot read, a secret that is
changed, TLS that is wrong in five ways, and an endpoint that is taken out of the site while letters wait for it."""
import base64
import json
import sqlite3
import subprocess

from platform_office import Bearer, Digest, Platform
from support.gateway import ENTRAPMENT, entrapment_table, site_head, tcp_bus
from support.lift import Lift
from support.machine import free_port
from support.wrong_tls import Authority, TlsServer, openssl
from support.waiting import wait_until

TEMPLATE = """{
  "msgType": {{ "DRILL" if type == "gatehouse.drill" else data.alarm.name | upper }},
  "msgId": {{ id }},
  "happenTime": {{ time | strftime("%Y-%m-%d %H:%M:%S") }},
  "community": {{ data.site.name }}{% if data.device is defined %},
  "lift": {{ data.device.name }},
  "step": {{ type | replace("gatehouse.alarm.", "") }},
  "door": {{ data.readings.door.value }}{% endif %}
}"""


def endpoint(id, url, more=""):
    return f"""
[[endpoint]]
id      = "{id}"
purpose = "city-platform"
wants   = {{ classes = ["elevator"], priorities = ["critical"], data = ["operational"] }}
[endpoint.http]
url     = "{url}"
timeout = "2s"
{more}
"""


def login(kind, folder, user, password):
    (folder / f"{kind}-{user}").write_text(password)
    return f'{kind} = {{ username = "{user}", password = {{ file = "{kind}-{user}" }} }}'


def site(folder, tcp_port, endpoints):
    return site_head(folder) + f"""
{tcp_bus(tcp_port)}

[[device]]
id      = "lift-1"
name    = "1号电梯"
profile = "elevator/story-tcp"
bus     = "lan"
unit    = 1
""" + entrapment_table("400ms", "300ms") + "".join(endpoints)


def steps(platform):
    return [json.loads(request.body)["type"].removeprefix("gatehouse.alarm.") for request in platform.accepted()]


def test_platforms(tmp_path, modbus, gateway, ending):
    tcp = modbus([1])
    lift = Lift(tcp, 1, float_speed=True)
    city = ending(Platform(free_port(), Digest("gatehouse", "口令 1", "SHA-256", nonce_uses=2)))
    old_city = ending(Platform(free_port(), Digest("岗亭", "pass:word", "MD5", nonce_uses=9)))
    gated = ending(Platform(free_port(), Bearer("the new token")))
    unreadable = lambda body, nth: 422 if b"alarm.raised" in body and nth <= 3 else None  # noqa: E731
    picky = ending(Platform(free_port(), refuse=unreadable))
    openssl("genpkey", "-algorithm", "ed25519", "-out", tmp_path / "signing.pem")
    seed = subprocess.run(["openssl", "pkey", "-in", tmp_path / "signing.pem", "-outform", "DER"], capture_output=True, check=True).stdout[-32:]
    (tmp_path / "signing-key").write_text("whsk_" + base64.b64encode(seed).decode())
    (tmp_path / "token").write_text("the old token\n")
    (tmp_path / "city.json.j2").write_text(TEMPLATE)
    url = "http://127.0.0.1:{}/api/push?src=岗亭".format
    gone = endpoint("gone", url(free_port()))
    stay = [
        endpoint("city", url(city.port), login("digest", tmp_path, "gatehouse", "口令 1") + '\ntemplate = "city.json.j2"'),
        endpoint("old-city", url(old_city.port), login("digest", tmp_path, "岗亭", "pass:word") + '\nsecret = { file = "signing-key" }'),
        endpoint("gated", url(gated.port), 'bearer = { file = "token" }'),
        endpoint("picky", url(picky.port), "accept = { body = 'code == 0' }"),
    ]
    gatehouse = gateway(site(tmp_path, tcp.port, [*stay, gone])).start()

    lift.trap()
    wait_until(lambda: gatehouse.state("lift-1") == "active_unacknowledged", 20, "the alarm")
    lift.free()
    wait_until(lambda: gatehouse.state("lift-1") == "returned_unacknowledged", 20, "the passenger is free")
    gatehouse.acknowledge("lift-1")
    wait_until(lambda: steps(old_city)[-1:] == ["closed"], 20, "closed at the old city")
    assert [step for step in steps(old_city) if step != "acknowledged"] == ["raised", "returned", "closed"], "in order, each once"
    wait_until(lambda: len(city.accepted()) == len(old_city.accepted()), 20, "the city has as many")

    # its own words, and nothing else
    bodies = [json.loads(request.body) for request in city.accepted()]
    assert [body["step"] for body in bodies] == steps(old_city)
    assert bodies[0]["msgType"] == ENTRAPMENT.upper() and bodies[0]["lift"] == "1号电梯" and bodies[0]["door"] == "closed"
    assert len(bodies[0]["happenTime"]) == 19 and city.accepted()[0].headers["content-type"] == "application/json"
    assert old_city.accepted()[0].headers["content-type"] == "application/cloudevents+json"
    # a nonce serves as often as it may, counted; then the next, in the same attempt
    counts = {}
    for nonce, count in city.access.seen:
        counts.setdefault(nonce, []).append(count)
    assert list(counts.values())[0] == [1, 2, 3] and len(counts) > 1, counts
    assert len(old_city.requests) == len(old_city.accepted()) + 1, "asked once, answered with every letter"
    for request in old_city.accepted():
        signature = request.headers["webhook-signature"].removeprefix("v1a,")
        (tmp_path / "sig").write_bytes(base64.b64decode(signature))
        signed = f'{request.headers["webhook-id"]}.{request.headers["webhook-timestamp"]}.'.encode() + request.body
        (tmp_path / "signed").write_bytes(signed)
        openssl("pkeyutl", "-verify", "-rawin", "-inkey", tmp_path / "signing.pem", "-sigfile", tmp_path / "sig", "-in", tmp_path / "signed")

    # what one platform cannot read is set aside, seen, an alarm; what follows goes; it can be offered again
    wait_until(lambda: steps(picky)[-1:] == ["closed"], 20, "the rest at the picky one")
    assert "raised" not in steps(picky)
    [aside] = gatehouse.lines("delivery", "show", "picky")
    assert (aside["state"], aside["trouble"], aside["attempts"], aside["kind"]) == ("set_aside", "letter_refused", 3, "raised")
    assert "422" in aside["last_error"]["zh"] and "422" in aside["last_error"]["en"]
    shows = lambda device, name: gatehouse.state(device, name) == "active_unacknowledged"  # noqa: E731
    wait_until(lambda: shows("endpoint:picky", "letters_set_aside"), 25, "the alarm about it")
    assert "1" in gatehouse.cli("delivery", "retry", "picky", "--as", "张伟").stdout
    wait_until(lambda: "raised" in steps(picky), 10, "taken the fourth time")

    # a secret is changed while letters wait: nothing is lost, one alarm, no restart
    wait_until(lambda: shows("endpoint:gated", "endpoint_rejects"), 25, "the alarm about the login")
    told = gatehouse.cli("--lang", "zh", "status").stdout
    assert "登录被拒" in told and "401" in told, told
    assert not gated.accepted()
    (tmp_path / "token").write_text("the new token\n")
    wait_until(lambda: steps(gated) == steps(old_city), 60, "all letters, in order, by the new token")
    wait_until(lambda: gatehouse.state("endpoint:gated", "endpoint_rejects") != "active_unacknowledged", 25, "the alarm is over")

    # a drill is a real letter with a real receipt, and no alarm
    drill = json.loads(gatehouse.cli("delivery", "test", "city", "--json", "--as", "李强").stdout)
    assert drill["accepted"] and drill["status"] == 200 and json.loads(city.accepted()[-1].body)["msgType"] == "DRILL"
    failed = json.loads(gatehouse.cli("delivery", "test", "gone", "--json", ok=(7,)).stdout)
    assert failed["trouble"] == "unreachable" and failed["why"]["zh"]

    # the site names it no more: its letters are kept until somebody gives them up, by name
    assert gatehouse.stop()[0] == 0
    gatehouse.config.write_text(site(tmp_path, tcp.port, stay))
    waiting = len(steps(old_city))
    assert f'{waiting} letters wait for "gone"' in gatehouse.cli("check").stdout
    gatehouse.start()
    assert "Letters wait for an endpoint" in gatehouse.talk(200)
    gatehouse.cli("delivery", "discard", "picky", "--as", "张伟", ok=(2,))
    assert str(waiting) in gatehouse.cli("delivery", "discard", "gone", "--as", "张伟", "-m", "合同到期").stdout
    assert "gone" not in gatehouse.cli("check").stdout
    with sqlite3.connect(f"file:{tmp_path}/store/events.db?mode=ro", uri=True) as db:
        audit = db.execute("SELECT who, action, object, outcome FROM audit WHERE action LIKE 'delivery%' ORDER BY number").fetchall()
    assert audit == [("张伟", "delivery retry", "picky", "1 letters"), ("张伟", "delivery discard", "gone", f"{waiting} letters: 合同到期")]


def test_tls_that_is_wrong(tmp_path, gateway, ending):
    """`delivery test` without a gateway: each fault has a name of its own, and not a byte of the letter leaves."""
    ours = Authority(tmp_path)
    servers = {
        "certificate_expired": (ours.certificate("late", end="20210101000000Z"), ()),
        "certificate_not_yet_valid": (ours.certificate("early", start="20490101000000Z"), ()),
        "certificate_other_name": (ours.certificate("other", host="other.example"), ()),
        "certificate_unknown_issuer": (ours.self_signed("self"), ()),
        "old_tls": (ours.certificate("old"), ("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")),
    }
    running = {kind: ending(TlsServer(tmp_path, kind, pair, *more)) for kind, (pair, more) in servers.items()}
    good = ending(TlsServer(tmp_path, "good", ours.certificate("good")))
    tables = [endpoint(kind.replace("_", "-"), f"https://localhost:{server.port}/", f'ca_file = "{ours.pem}"') for kind, server in running.items()]
    tables.append(endpoint("good", f"https://localhost:{good.port}/", f'ca_file = "{ours.pem}"'))
    gatehouse = gateway(site_head(tmp_path) + "".join(tables))
    for kind, server in running.items():
        said = json.loads(gatehouse.cli("delivery", "test", kind.replace("_", "-"), "--json", ok=(7,)).stdout)
        assert (said["trouble"], said["accepted"]) == (kind, False), said
        assert said["why"]["zh"] != said["why"]["en"]
        assert server.read() == b"", f"{kind}: bytes left"
    said = json.loads(gatehouse.cli("delivery", "test", "good", "--json", ok=(7,)).stdout)
    assert said["trouble"] == "no_reply" and b"gatehouse.drill" in good.read(), "to whom it trusts it speaks"
