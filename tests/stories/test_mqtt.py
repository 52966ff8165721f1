"""Behind a broker: TLS, restarts without a memory, messages that are too long, unreadable, old, repeated, or of nobody we know."""
import collections
import json
import subprocess
import time

from kiosk import Kiosks, topic
from support.gateway import at_ns, site_head
from support.machine import Broker
from support.waiting import never, wait_until

CLIENT = "gatehouse-story"


def site(folder, port, more="", kiosks=2, scheme="mqtt"):
    return site_head(folder) + f"""
[[bus]]
id = "broker"
[bus.mqtt]
url = "{scheme}://127.0.0.1:{port}"
client_id = "{CLIENT}"
{more}

[[device]]
repeat  = "1..{kiosks}"
id      = "kiosk-{{n}}"
name    = "{{n}}号回收箱"
profile = "recycling-kiosk/gatehouse-kiosk"
bus     = "broker"
address = "{{n}}"

[[alarm]]
class    = "recycling-kiosk"
name     = "smoke"
on_delay = "0s"
"""


def bus(gatehouse):
    [seen] = json.loads(gatehouse.cli("status", "--json").stdout)["buses"]
    return seen


def heard(gatehouse, kiosk, weight, within=5):
    wait_until(lambda: [r for r in gatehouse.good(kiosk, "weight") if r["value"] == weight], within, f"{weight} kg of {kiosk}")


def truly_said(gatehouse, kiosks, kiosk):
    """What is stored as good was said, at that time, and is stored once."""
    said = {(at_ns(fact["time"]), fact["value"]) for fact in kiosks.ledger.about(unit=kiosk)}
    rows = [(row["ns"], row["value"]) for row in gatehouse.good(f"kiosk-{kiosk}", "weight")]
    assert rows and set(rows) <= said, sorted(set(rows) - said)
    twice = [row for row, count in collections.Counter(rows).items() if count > 1]
    assert twice == [], f"stored twice: {twice}"
    return rows


def test_only_a_broker_that_the_site_trusts_is_heard(tmp_path, ending, gateway):
    keys = certificates(tmp_path)
    broker = ending(Broker(tmp_path, tls=keys))
    kiosks = ending(Kiosks(broker.port, ca=keys / "ca.pem", cert=keys / "client.pem", key=keys / "client.key"))

    def with_keys(authority, certificate=True):
        ours = f'cert_file = "{keys}/client.pem"\nkey_file = "{keys}/client.key"' if certificate else ""
        return site(tmp_path, broker.port, f'ca_file = "{keys}/{authority}.pem"\n{ours}', kiosks=1, scheme="mqtts")

    for text, zh, en in [(with_keys("stranger"), "不是可信机构签发的：请检查 ca_file", "vouches for the broker's certificate: check ca_file"),
                         (with_keys("ca", certificate=False), "不接受我们的证书：请检查 cert_file", "does not accept our certificate: check cert_file")]:
        gatehouse = gateway(text).start()
        kiosks.send("1", kiosks.message("1", weight_kg=1.0))
        wait_until(lambda: bus(gatehouse)["messages"]["trouble"], 10, "the reason")
        assert zh in gatehouse.cli("status", "--lang", "zh").stdout and en in gatehouse.cli("status", "--lang", "en").stdout
        assert en in gatehouse.talk(), "and in the log"
        assert gatehouse.good("kiosk-1") == [], "nothing was heard"
        assert gatehouse.stop()[0] == 0

    gatehouse = gateway(with_keys("ca")).start()
    wait_until(lambda: broker.subscribed(CLIENT), 10, "the subscription")
    for n in range(20):
        kiosks.send("1", kiosks.message("1", weight_kg=float(100 + n)))
    heard(gatehouse, "kiosk-1", 119.0)
    rows = truly_said(gatehouse, kiosks, "1")
    assert [value for _, value in rows] == [float(100 + n) for n in range(20)], "each once, none lost"
    assert bus(gatehouse)["messages"]["trouble"] is None


def test_a_broker_that_forgets_everything_again_and_again(tmp_path, ending, gateway):
    broker = ending(Broker(tmp_path, persistence=False))
    kiosks = ending(Kiosks(broker.port))
    gatehouse = gateway(site(tmp_path, broker.port, kiosks=2)).start()
    wait_until(lambda: broker.subscribed(CLIENT), 10, "the subscription")
    kept, weight = [], 0
    for round in range(4):
        for _ in range(10):  # heard by a broker that stays
            weight += 1
            kept.append(float(weight))
            kiosks.send("1", kiosks.message("1", weight_kg=float(weight)))
            kiosks.send("2", kiosks.message("2", weight_kg=float(weight)))
        for kiosk in ("kiosk-1", "kiosk-2"):
            heard(gatehouse, kiosk, float(weight))
        if round == 3:
            break
        for _ in range(10):  # said into its end: some are lost with the broker, none is doubled
            weight += 1
            kiosks.post("1", kiosks.message("1", weight_kg=float(weight)))
        before = broker.subscriptions(CLIENT)
        broker.kill()
        broker.start()
        wait_until(lambda: broker.subscriptions(CLIENT) > before and kiosks.connected(), 15, "subscribed again")
    for kiosk in ("1", "2"):
        values = [value for _, value in truly_said(gatehouse, kiosks, kiosk)]
        assert set(kept) <= set(values), f"lost: {set(kept) - set(values)}"
    stored = len(gatehouse.good("kiosk-1", "weight")) + len(gatehouse.good("kiosk-2", "weight"))
    counts = bus(gatehouse)["messages"]["counts"]
    assert broker.acknowledged(CLIENT) <= stored + counts["duplicates"] + counts["stale"], "acknowledged means stored"
    assert bus(gatehouse)["reconnects"] == 3


def test_what_must_not_be_believed(tmp_path, ending, gateway):
    broker = ending(Broker(tmp_path))
    kiosks = ending(Kiosks(broker.port))
    kiosks.send("1", kiosks.message("1", ago=1200, smoke=True, weight_kg=1.0), retain=True)
    kiosks.raw(topic("2"), b"x" * (5 << 20), retain=True)
    gatehouse = gateway(site(tmp_path, broker.port, "discover = true", kiosks=3)).start()
    old = wait_until(lambda: gatehouse.readings("kiosk-1", "smoke"), 10, "what the broker kept")
    assert [(row["value"], row["quality"]) for row in old] == [(True, "stale")]

    # too long is left out, others go on
    kiosks.send("2", kiosks.message("2", pad=10_241, weight_kg=2.0, smoke=False))
    kiosks.raw(topic("2"), b"y" * (1 << 20))
    kiosks.send("3", kiosks.message("3", weight_kg=3.0, smoke=False))
    heard(gatehouse, "kiosk-3", 3.0)
    heard(gatehouse, "kiosk-2", 2.0)

    # unreadable is never a value
    deep = "[" * 10_000
    for payload in [b"{not json", deep, b'{"smoke":"\xff"}', b"", b"\0\0"]:
        kiosks.raw(topic("2"), payload)
    wait_until(lambda: bus(gatehouse)["messages"]["counts"]["malformed"] == 5, 5, "five that nobody can read")
    assert {row["value"] for row in gatehouse.readings("kiosk-2", "smoke") if row["quality"] == "decode_error"} == {None}

    # repeated is stored once, replayed raises nothing
    captured = kiosks.message("3", smoke=True, weight_kg=4.0)
    now = kiosks.message("3", smoke=False, weight_kg=5.0)
    for message in (now, now, captured):
        kiosks.send("3", message)
    counts = wait_until(lambda: (lambda c: c["stale"] == 2 and c)(bus(gatehouse)["messages"]["counts"]), 5, "the replay")
    assert counts["duplicates"] == 1
    truly_said(gatehouse, kiosks, "3")
    assert [(r["value"], r["quality"]) for r in gatehouse.readings("kiosk-3", "smoke")][-1] in [(False, "good"), (True, "stale")]
    never(lambda: gatehouse.alarms(name="smoke"), 1, "an alarm from what is old")

    # a kiosk that was switched on anew counts from 0, and is believed
    kiosks.switch_on("3")
    kiosks.send("3", kiosks.message("3", smoke=True, weight_kg=6.0))
    wait_until(lambda: gatehouse.state("kiosk-3", "smoke") == "active_unacknowledged", 5, "smoke, live")
    kiosks.send("1", kiosks.message("1", smoke=False, weight_kg=7.0))
    heard(gatehouse, "kiosk-1", 7.0)
    assert gatehouse.state("kiosk-1", "smoke") == "closed"

    strangers(gatehouse, kiosks)
    seen = bus(gatehouse)
    assert (seen["reconnects"], seen["messages"]["oversize"]) == (0, 2), seen
    log = gatehouse.log.read_text()
    assert log.count("cannot be read") == 1 and log.count("too long") == 1, "told once"
    assert topic("2") in log


def strangers(gatehouse, kiosks):
    """Listed with the lines that make a device of them, which are right."""
    def listed():
        kiosks.raw(topic("K 99"), "{}")
        return bus(gatehouse)["messages"]["unknown_devices"]

    [found] = wait_until(listed, 10, "the unknown kiosk")
    assert (found["address"], found["topic"], found["profiles"]) == ("K 99", topic("K 99"), ["recycling-kiosk/gatehouse-kiosk"])
    screen = gatehouse.cli("status", "--lang", "zh").stdout.splitlines()
    begin = next(n for n, line in enumerate(screen) if "未知设备 K 99" in line)
    pasted = "\n".join(screen[begin + 1:begin + 7])
    before = gatehouse.config.read_text()
    gatehouse.config.write_text(before + "\n" + pasted + "\n")
    assert gatehouse.cli("check").returncode == 0
    gatehouse.config.write_text(before)


def certificates(folder):
    """An authority, the broker's certificate and ours from it, and an authority that vouches for neither."""
    keys = folder / "keys"
    keys.mkdir()
    (keys / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")

    def openssl(line):
        subprocess.run(["openssl", *line.split()], cwd=keys, check=True, capture_output=True)

    new = "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    for name in ("ca", "stranger"):
        openssl(f"{new} -x509 -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem")
    for name in ("server", "client"):
        openssl(f"{new} -subj /CN={name} -keyout {name}.key -out {name}.csr")
        openssl(f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out {name}.pem")
    return keys
