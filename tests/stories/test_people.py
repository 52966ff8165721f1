"""What people do around the gateway: they acknowledge while it is stopped, take a device out of the site, and want to know who is who."""
import os
import sqlite3
import stat

from support.gateway import BINARY, entrapment_table, inspector_table, run_binary, site_head, tcp_bus
from support.lift import Lift
from support.waiting import wait_until


def bus(port):
    return f"""
{tcp_bus(port)}
"""


def lift(n):
    return f"""
[[device]]
id      = "lift-{n}"
name    = "{n}号电梯"
profile = "elevator/story-tcp"
bus     = "lan"
unit    = {n}
"""


def kinds(inspector):
    return [r.json["type"].rsplit(".", 1)[1] for r in inspector.accepted()]


def test_acknowledged_while_the_gateway_is_stopped(tmp_path, modbus, inspector, gateway):
    tcp = modbus([1])
    car = Lift(tcp, 1, float_speed=True)
    gatehouse = gateway(site_head(tmp_path) + bus(tcp.port) + lift(1) + entrapment_table("300ms", "300ms") + inspector_table(inspector.port)).start()
    car.trap()
    wait_until(lambda: kinds(inspector) == ["raised"], 15, "raised at the inspector")
    code, seconds = gatehouse.stop()
    assert code == 0 and seconds < 10

    gatehouse.acknowledge("lift-1", who="张伟")
    assert gatehouse.state("lift-1") == "active_acknowledged"
    second = gatehouse.cli("alarms", "ack", gatehouse.alarms()[0]["id"], "--as", "李娜", "-m", "我也看到了")
    assert "张伟" in second.stdout, "the second person learns who was first"
    unknown = gatehouse.cli("alarms", "ack", "nobody-1", "--as", "李娜", ok=(4,))
    assert unknown.stderr.strip()

    gatehouse.start()
    wait_until(lambda: kinds(inspector) == ["raised", "acknowledged"], 15, "delivered after the next start")
    acknowledged = inspector.accepted()[-1].json["data"]["alarm"]
    assert acknowledged["state"] == "active_acknowledged"
    assert "by" not in acknowledged["acknowledged"], "a person's name is personal data, which this endpoint may not see"
    with sqlite3.connect(tmp_path / "store" / "events.db") as events:
        who = [row[0] for row in events.execute("SELECT who FROM audit ORDER BY 1")]
    assert sorted(set(who)) == sorted({"张伟", "李娜"}) and len(who) == 3, "every try is in the audit"


def test_a_device_that_is_taken_out_of_the_site_leaves_no_alarm_behind(tmp_path, modbus, inspector, gateway):
    tcp = modbus([1, 2])
    car = Lift(tcp, 1, float_speed=True)
    Lift(tcp, 2, float_speed=True)
    tail = entrapment_table("300ms", "300ms") + inspector_table(inspector.port)
    gatehouse = gateway(site_head(tmp_path) + bus(tcp.port) + lift(1) + lift(2) + tail).start()
    car.trap()
    wait_until(lambda: kinds(inspector) == ["raised"], 15, "raised at the inspector")
    gatehouse.stop()

    gatehouse.config.write_text(site_head(tmp_path) + bus(tcp.port) + lift(2) + tail)
    gatehouse.start()
    wait_until(lambda: kinds(inspector) == ["raised", "closed"], 15, "whoever was told of the beginning is told of the end")
    first, last = (r.json["data"]["alarm"] for r in inspector.accepted())
    assert last["occurrence"] == first["occurrence"] and last["reason"] == "rule_removed" and last["state"] == "closed"
    assert gatehouse.alarms() == []


def test_the_door_and_the_files_are_not_for_everybody(tmp_path, modbus, gateway):
    tcp = modbus([1])
    Lift(tcp, 1, float_speed=True)
    gatehouse = gateway(site_head(tmp_path) + bus(tcp.port) + lift(1)).start()
    store = tmp_path / "store"
    wait_until(lambda: (store / "gatehouse.sock").exists(), 10, "the door")
    assert stat.S_IMODE(store.stat().st_mode) == 0o750
    assert stat.S_IMODE((store / "gatehouse.sock").stat().st_mode) == 0o660
    second = run_binary("run", "--config", gatehouse.config)
    assert second.returncode == 1 and str(gatehouse.process.pid) in second.stderr, "a second gateway on the same store says who has it"
    if os.geteuid() == 0:
        os.chmod(tmp_path, 0o755)
        for above in tmp_path.parents:
            if stat.S_IMODE(above.stat().st_mode) & 0o001 == 0:
                return  # pytest's own folder is closed to others: nothing left to try here
        other = run_binary("alarms", "list", "--config", gatehouse.config, user="nobody")
        assert other.returncode == 8 and BINARY.exists(), f"{other.returncode} {other.stdout} {other.stderr}"
