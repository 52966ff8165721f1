"""DL/T 645-2007 meters, each the package `dlt645` as a meter: on a serial line of 2400 baud with a dead one beside them, and behind a serial
server; what they say is what they held, and a phase that is lost is told.
"""
from dlt645_meter import ACTIVE, CURRENT, FORWARD, REVERSE, VOLTAGE, Dlt645Meters
from support.gateway import inspector_table, site_head
from support.machine import free_port
from support.waiting import wait_until

MS = 1_000_000
NORTH, SOUTH, DEAD, TRANSFORMER = "202208310002", "000000000017", "202208319999", "123456781012"
ITEMS = {"voltage_a": VOLTAGE["a"], "voltage_b": VOLTAGE["b"], "voltage_c": VOLTAGE["c"], "current_a": CURRENT, "power_active": ACTIVE,
         "energy_forward": FORWARD, "energy_reverse": REVERSE}


def meter_bus(id, table):
    return f'\n[[bus]]\nid = "{id}"\n{table}\n'


def meter(id, number, bus, profile="power-line/story-meter"):
    return f'\n[[device]]\nid = "{id}"\nprofile = "{profile}"\nbus = "{bus}"\naddress = "{number}"\n'


def untrue(meters, number, rows, slack_ns):
    """The good readings whose value the meter did not hold at that time: must be none."""
    held = lambda row: {words[0] for words in meters.ledger.held(number, "dlt645", ITEMS[row["point"]], row["ns"], slack_ns)}
    near = lambda row: any(abs(row["value"] - value) < 1e-9 for value in held(row))
    return [row for row in rows if row["quality"] == "good" and row["point"] in ITEMS and not near(row)]


def read(gatehouse, device, **values):
    """Each of these points was read with this value at some time."""
    seen = lambda: {(row["point"], row["value"]) for row in gatehouse.good(device)}
    wait_until(lambda: values.items() <= seen(), 20, f"{device} read with {values}", every=0.3)


def test_meters_on_a_line_and_behind_a_serial_server(tmp_path, line, inspector, ending, gateway):
    wire = line("meters", baud=2400)
    flats = Dlt645Meters.on_port(wire.b, [NORTH, SOUTH])
    main = Dlt645Meters.over_tcp(free_port(), [TRANSFORMER])
    for number, volts in ((NORTH, 220.1), (SOUTH, 231.7)):
        for item, value in ((VOLTAGE["a"], volts), (VOLTAGE["b"], volts + 1), (ACTIVE, 1.25), (FORWARD, 12345.67)):
            flats.set(number, item, round(value, 4))
    shown = (220.1, 219.8, 221.3, -1.234, -0.2716, 98765.43, 3.21)
    for item, value in zip(ITEMS.values(), shown):
        main.set(TRANSFORMER, item, value)
    ending(flats.start()), ending(main.start())
    site = (site_head(tmp_path) + meter_bus("flats", f'[bus.dlt645]\nport = "{wire.a}"')
            + meter_bus("main", f'[bus.dlt645_tcp]\nhost = "127.0.0.1"\nport = {main.server.port}')
            + meter("north", NORTH, "flats") + meter("south", "17", "flats") + meter("dead", DEAD, "flats")
            + meter("transformer", TRANSFORMER, "main", "power-line/dlt645-2007-meter")
            + '\n[[alarm]]\nclass = "power-line"\nname = "phase_a_lost"\non_delay = "500ms"\noff_delay = "500ms"\n'
            + inspector_table(inspector.port).replace('"elevator"', '"power-line"').replace('["critical"]', '["critical", "high"]'))
    gatehouse = gateway(site)
    assert gatehouse.cli("check").returncode == 0
    gatehouse.start()

    read(gatehouse, "transformer", **dict(zip(ITEMS, shown)))
    tried = gatehouse.lines("profile", "test", "transformer")
    assert {row["point"]: row["result"] for row in tried}["voltage_a"] == "pass", "an installer asks the meter too, item by item"
    assert next(row for row in tried if row["point"] == "voltage_a")["value"] == 220.1
    for volts, watts in ((219.9, -0.0004), (0.0, 0.0)):
        flats.set(NORTH, VOLTAGE["b"], round(volts + 10, 1))
        flats.set(NORTH, ACTIVE, watts)
        flats.set(NORTH, VOLTAGE["a"], volts)
        read(gatehouse, "north", voltage_a=volts, voltage_b=round(volts + 10, 1), power_active=watts)

    raised = wait_until(lambda: inspector.accepted(), 10, "the lost phase, delivered")[0].json
    assert raised["type"] == "gatehouse.alarm.raised" and raised["subject"].startswith("north/phase_a_lost")
    assert raised["data"]["readings"]["voltage_a"] | {"at": ""} == {"value": 0.0, "unit": "V", "quality": "good", "at": ""}
    flats.set(NORTH, VOLTAGE["a"], 230.0)
    wait_until(lambda: gatehouse.state("north", "phase_a_lost") == "returned_unacknowledged", 10, "the phase is back")

    for device, meters, number in (("north", flats, NORTH), ("south", flats, SOUTH), ("transformer", main, TRANSFORMER)):
        rows = [row for row in gatehouse.readings(device) if row["point"] in ITEMS]
        assert untrue(meters, number, rows, 1000 * MS) == []
        good = [row for row in rows if row["quality"] == "good"]  # a machine that is busy may miss an answer now and then
        assert len(good) > 0.8 * len(rows) and {row["quality"] for row in rows} <= {"good", "comm_fail"}, (device, len(good), len(rows))
    assert gatehouse.good("south", "energy_forward")[0]["value"] == 12345.67
    assert gatehouse.good("dead") == [] and {row["quality"] for row in gatehouse.readings("dead")} == {"comm_fail"}
    assert not [r for r in inspector.accepted() if not r.json["subject"].startswith("north/phase_a_lost")]


def test_no_answer_becomes_the_value_of_another(tmp_path, ending, gateway):
    """A quarter of the answers goes wrong in six ways, and each item's value tells whose it is."""
    meters = Dlt645Meters.over_tcp(free_port(), [NORTH, SOUTH], faults=0.25, late_by=0.8)
    places = [(n, item) for n in (NORTH, SOUTH) for item in (VOLTAGE["a"], VOLTAGE["b"], ACTIVE, FORWARD)]

    def change(round):
        for place, (number, item) in enumerate(places):
            meters.set(number, item, round_to(item, 1.0 + place + round / 100))

    round_to = lambda item, value: round(value, 1) if item >> 16 == 0x0201 else round(value, 2)
    change(0)
    ending(meters.start())
    gatehouse = gateway(site_head(tmp_path) + meter_bus("main", f'[bus.dlt645_tcp]\nhost = "127.0.0.1"\nport = {meters.server.port}')
                        + meter("north", NORTH, "main") + meter("south", SOUTH, "main"))
    gatehouse.start()
    rounds = 0
    enough = lambda: meters.counts["none"] > 50 and all(meters.counts.values())
    while not enough():
        rounds += 1
        change(rounds)
        wait_until(lambda seen=sum(meters.counts.values()): sum(meters.counts.values()) > seen + 3, 20, "more questions", every=0.02)
    good = 0
    for device, number in (("north", NORTH), ("south", SOUTH)):
        rows = gatehouse.readings(device)
        assert untrue(meters, number, rows, 1500 * MS) == []
        good += sum(row["quality"] == "good" for row in rows)
    assert good > 25 and rounds > 5, (good, rounds, meters.counts)
