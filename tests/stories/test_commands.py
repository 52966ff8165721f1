"""Devices are told things: once on the wire, read back, every request and its end in the audit. The lamps' own ledger of writes is the truth."""
import datetime
import json
import sqlite3
import subprocess
import zoneinfo

import pytest

from lamps import RtuLamps, TcpLamps
from support.gateway import BINARY, site_head, tcp_bus
from support.machine import free_port
from support.waiting import never, wait_until

DIMMING, CHARGE = 0x21, 0x22


def rtu_bus(pty):
    return f"""
[[bus]]
id = "lan"
[bus.modbus_rtu]
port = "{pty}"
baud = 9600
framing = "8N1"
"""


LAMP = """
[[device]]
id      = "lamp-1"
name    = "1号路灯"
profile = "street-light/story-lamp"
bus     = "lan"
unit    = 1
"""

LIFT = """
[[device]]
id      = "lift-1"
name    = "1号电梯"
profile = "elevator/story-tcp"
bus     = "lan"
unit    = 2
"""


def schedule(at, value):
    return f"""
[[schedule]]
id      = "evening"
class   = "street-light"
command = "set_dimming"
value   = {value}
at      = "{at}"
"""


def audit(folder):
    with sqlite3.connect(folder / "store" / "events.db") as events:
        return events.execute("SELECT who, object, outcome FROM audit WHERE action = 'operate' ORDER BY number").fetchall()


def send(gatehouse, *words, code=0):
    done = gatehouse.cli("commands", "send", *words, "--as", "张伟", ok=(code,))
    return done.stdout + done.stderr


@pytest.fixture(params=["tcp", "rtu"])
def lamps(request, line, ending):
    """The lamp on each kind of bus: the peer, and the site's table of the bus."""
    if request.param == "tcp":
        peer = TcpLamps(free_port(), [1])
        bus = tcp_bus(peer.port)
    else:
        wire = line("lamps")
        peer, bus = RtuLamps(wire.b, [1]), rtu_bus(wire.a)
    ending(peer.start())
    peer.set(1, CHARGE, [80])
    return peer, bus


def test_told_once_and_read_back(tmp_path, lamps, gateway):
    peer, bus = lamps
    gatehouse = gateway(site_head(tmp_path) + bus + LAMP).start()
    wait_until(lambda: gatehouse.good("lamp-1", "battery_soc"), 15, "the lamp read")
    known = {row["command"]: row for row in gatehouse.lines("commands", "list", "lamp-1")}
    assert known["set_dimming"]["range"] == [0.0, 100.0] and known["set_dimming"]["read_back"] == "dimming"

    assert "40" in send(gatehouse, "lamp-1", "set_dimming", "40.4"), "what is really set is said"
    assert peer.writes() == [(6, DIMMING, [40])]
    send(gatehouse, "lamp-1", "set_horn", "on")
    send(gatehouse, "lamp-1", "set_limit", "70000")
    assert [write[0] for write in peer.writes()] == [6, 5, 16]
    assert peer.writes()[2][2] == [1, 4464]

    before = len(peer.writes())
    peer.mode = "mute"
    send(gatehouse, "lamp-1", "set_dimming", "50")  # silent, and its register shows that it did it
    assert len(peer.writes()) == before + 1

    peer.mode = "refuses"
    assert "refused" in send(gatehouse, "lamp-1", "set_dimming", "60", code=1)
    assert len(peer.writes()) == before + 2

    peer.mode = "deaf"
    send(gatehouse, "lamp-1", "set_horn", "off", code=5)  # nobody knows: no point shows it
    assert len(peer.writes()) == before + 3, "exactly one write, also at a device that says nothing"

    peer.mode = "obeys"
    send(gatehouse, "lamp-1", "set_dimming", "101", code=2)
    send(gatehouse, "lamp-1", "fly", "1", code=4)
    peer.set(1, CHARGE, [15])
    wait_until(lambda: gatehouse.good("lamp-1", "battery_soc")[-1]["value"] == 15, 10, "an empty battery")
    assert "interlock" in send(gatehouse, "lamp-1", "set_dimming", "60", code=8)
    assert len(peer.writes()) == before + 3, "nothing is sent against range or interlock"

    rows = audit(tmp_path)
    assert {who for who, _, _ in rows} == {"张伟"}
    assert [outcome.split(":")[0] for _, _, outcome in rows] == [
        "asked", "done", "asked", "accepted", "asked", "accepted", "asked", "done", "asked", "refused", "asked", "unknown",
        "unfit", "no such device or command", "interlock"], rows


def test_an_elevator_is_never_told_anything(tmp_path, ending, gateway):
    peer = ending(TcpLamps(free_port(), [2]).start())
    gatehouse = gateway(site_head(tmp_path) + tcp_bus(peer.port) + LIFT).start()
    wait_until(lambda: gatehouse.good("lift-1"), 15, "the lift read")
    assert "never written to" in send(gatehouse, "lift-1", "go", "1", code=8)
    assert peer.writes() == []
    assert audit(tmp_path)[0][2].startswith("never_told")


def test_killed_between_asked_and_outcome(tmp_path, ending, gateway):
    peer = ending(TcpLamps(free_port(), [1]).start())
    peer.set(1, CHARGE, [80])
    gatehouse = gateway(site_head(tmp_path) + tcp_bus(peer.port) + LAMP).start()
    wait_until(lambda: gatehouse.good("lamp-1", "battery_soc"), 15, "the lamp read")
    peer.mode = "slow"
    asking = subprocess.Popen([BINARY, "commands", "send", "lamp-1", "set_dimming", "70", "--as", "张伟", "--config", gatehouse.config],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: peer.writes(), 10, "the write on the wire", every=0.01)
    gatehouse.kill()
    assert asking.wait(10) != 0, "nobody is told that it was done"
    assert [outcome.split(":")[0] for _, _, outcome in audit(tmp_path)] == ["asked"], "asked was on disk before it went out"

    peer.mode = "obeys"
    gatehouse.start()
    begun = len(gatehouse.good("lamp-1"))
    wait_until(lambda: len(gatehouse.good("lamp-1")) > begun + 5, 15, "the lamp is read on")
    assert peer.writes() == [(6, DIMMING, [70])], "never sent again"
    assert [outcome.split(":")[0] for _, _, outcome in audit(tmp_path)] == ["asked", "unknown"]


def test_without_a_gateway_nothing_is_sent(tmp_path, gateway):
    gatehouse = gateway(site_head(tmp_path) + tcp_bus(free_port()) + LAMP)
    assert "no gateway runs" in send(gatehouse, "lamp-1", "set_dimming", "1", code=1)


def test_a_schedule_is_made_up_for_once(tmp_path, ending, gateway):
    """Its time was a minute ago: what should be so by now is made so at the start, and not at the next."""
    peer = ending(TcpLamps(free_port(), [1]).start())
    peer.set(1, CHARGE, [80])
    a_minute_ago = datetime.datetime.now(zoneinfo.ZoneInfo("Asia/Shanghai")) - datetime.timedelta(minutes=1)
    text = site_head(tmp_path) + tcp_bus(peer.port) + LAMP + schedule(a_minute_ago.strftime("%H:%M"), 30)
    assert gateway(text).cli("check").returncode == 0
    gatehouse = gateway(text).start()
    wait_until(lambda: [o.split(":")[0] for _, _, o in audit(tmp_path)][-1:] == ["done"], 20, "told and read back")
    assert (6, DIMMING, [30]) in peer.writes() and audit(tmp_path)[-1][0] == "schedule evening"
    told = len(peer.writes())

    gatehouse.stop()
    peer.set(1, DIMMING, [0])  # somebody at the lamp itself: the turn was settled, and is not had again
    gatehouse.start()
    wait_until(lambda: gatehouse.good("lamp-1", "dimming")[-1]["value"] == 0, 15, "the lamp read")
    never(lambda: len(peer.writes()) != told, 3, "a settled turn is not told again")
    record = json.loads(gatehouse.cli("commands", "send", "lamp-1", "set_dimming", "10", "--as", "张伟", "--json").stdout)
    assert record["outcome"] == "done" and record["value"] == 10
