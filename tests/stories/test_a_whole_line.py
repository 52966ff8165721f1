"""A whole line is lost: one alarm, told to whoever wants to hear of what hangs on it, and none for each device. And it ends by itself."""
from modbus_tcp import ModbusTcp
from support.gateway import inspector_table, site_head, tcp_bus
from support.lift import Lift
from support.waiting import never, wait_until

LIFTS = [1, 2, 3]


def site(folder, port, inspector_port):
    return site_head(folder) + f"""
{tcp_bus(port)}

[[device]]
repeat  = "1..3"
id      = "lift-{{n}}"
profile = "elevator/story-tcp"
bus     = "lan"
unit    = "{{n}}"

[[alarm]]
class    = "field-bus"
name     = "bus_down"
on_delay = "2s"
off_delay = "1s"

[[alarm]]
class    = "elevator"
name     = "comm_loss"
on_delay = "2s"
off_delay = "1s"
""" + inspector_table(inspector_port).replace('["critical"]', '["critical", "high", "medium"]')


def told(inspector):
    return [(r.json["subject"], r.json["type"].rsplit(".", 1)[1]) for r in inspector.accepted()]


def test_a_whole_line_is_one_alarm(tmp_path, modbus, inspector, ending, gateway):
    tcp = modbus(LIFTS)
    for unit in LIFTS:
        Lift(tcp, unit, float_speed=True)
    gatehouse = gateway(site(tmp_path, tcp.port, inspector.port)).start()
    for unit in LIFTS:
        wait_until(lambda: gatehouse.good(f"lift-{unit}", "floor"), 20, f"lift {unit} read")

    tcp.stop()
    wait_until(lambda: told(inspector) == [("bus:lan/bus_down", "raised")], 20, "the line's own alarm")
    event = inspector.accepted()[0].json["data"]
    assert event["device"]["tags"]["devices"] == "lift-1, lift-2, lift-3", "whoever hears it hears which lifts nobody watches"
    assert gatehouse.state("bus:lan", "bus_down") == "active_unacknowledged"
    never(lambda: told(inspector)[1:], 4, "an alarm for each device")
    for unit in LIFTS:
        assert gatehouse.readings(f"lift-{unit}", "floor")[-1]["quality"] == "comm_fail"

    again = ModbusTcp(tcp.port, LIFTS)
    ending(again.start())
    for unit in LIFTS:
        Lift(again, unit, float_speed=True)
    wait_until(lambda: gatehouse.readings("lift-3", "floor")[-1]["quality"] == "good", 20, "read again")
    gatehouse.acknowledge("bus:lan", "bus_down")
    wait_until(lambda: gatehouse.state("bus:lan", "bus_down") == "closed", 20, "it ends by itself")
    wait_until(lambda: told(inspector)[-1] == ("bus:lan/bus_down", "closed"), 20, "and that is told")
    assert {subject for subject, _ in told(inspector)} == {"bus:lan/bus_down"}


def test_a_device_that_is_alone_on_its_line_has_an_alarm_of_its_own(tmp_path, modbus, inspector, gateway):
    tcp = modbus([1])
    Lift(tcp, 1, float_speed=True)
    gatehouse = gateway(site(tmp_path, tcp.port, inspector.port).replace("1..3", "1..1")).start()
    wait_until(lambda: gatehouse.good("lift-1", "floor"), 20, "read")
    tcp.stop()
    wait_until(lambda: gatehouse.state("lift-1", "comm_loss") == "active_unacknowledged", 20, "its own alarm")
    assert not [row for row in gatehouse.alarms(name="bus_down")]
