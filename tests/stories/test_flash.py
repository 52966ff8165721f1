"""What the gateway writes to its flash: held against what the kernel counts, told to whoever wants to know when the day's budget is passed,
and how many years are left at the pace of the days before."""
import datetime
import json
import pathlib
import sqlite3
import zoneinfo

from support.gateway import inspector_table, site_head, tcp_bus
from support.waiting import never, wait_until

BUDGET = 1 << 20
ENDURANCE_GIB, YESTERDAY = 1000, 512 << 20
DAYS_A_YEAR = 365.25


def site(folder, tcp, inspector):
    budget = f'flash_per_day = "1MiB"\nflash_endurance = "{ENDURANCE_GIB}GiB"\n\n[console]'
    wants = inspector_table(inspector.port).replace('classes    = ["elevator"]', 'classes    = ["gateway-flash"]').replace('"critical"', '"medium"')
    return site_head(folder).replace("[console]", budget) + tcp_bus(tcp) + """
[[device]]
id      = "lift-1"
name    = "1号电梯"
profile = "elevator/story-service"
bus     = "lan"
unit    = 1
""" + wants


def written(process):
    """As the kernel counts it, since the start."""
    return int(pathlib.Path(f"/proc/{process.pid}/io").read_text().split("\nwrite_bytes: ")[1].split()[0])


def flash(gatehouse):
    return json.loads(gatehouse.cli("status", "--json").stdout)["flash"]


def test_the_budget_of_the_flash(tmp_path, modbus, inspector, gateway):
    tcp = modbus([1])
    tcp.set(1, 0, [3, 0, 0])
    gatehouse = gateway(site(tmp_path, tcp.port, inspector)).start()
    wait_until(lambda: gatehouse.good("lift-1", "mode"), 10, "the first readings")
    never(inspector.accepted, 3, "a word of a budget that is not passed")
    gatehouse.stop()
    # a day that was long ago enough to be whole, and most of a day's budget today
    today = datetime.datetime.now(zoneinfo.ZoneInfo("Asia/Shanghai")).replace(hour=0, minute=0, second=0, microsecond=0)
    day_ms = lambda day: int(day.timestamp() * 1000)
    with sqlite3.connect(tmp_path / "store" / "telemetry.db") as db:
        before = dict(db.execute("SELECT day_ms, bytes FROM flash"))
        assert set(before) <= {day_ms(today)}, before
        db.execute("INSERT INTO flash VALUES (?, ?)", (day_ms(today - datetime.timedelta(days=1)), YESTERDAY))
        db.execute("INSERT OR REPLACE INTO flash VALUES (?, ?)", (day_ms(today), BUDGET - 1))
    db.close()
    gatehouse.start()
    [letter] = wait_until(inspector.accepted, 60, "the budget is passed, and somebody hears of it")
    assert letter.json["data"]["alarm"]["name"] == "flash_budget_passed" and letter.json["data"]["device"]["class"] == "gateway-flash"
    readings = {name: reading["value"] for name, reading in letter.json["data"]["readings"].items()}
    assert readings["beyond_budget"] is True and readings["budget"] == 1.0 and readings["written_today"] >= 1.0, readings
    seen, by_the_kernel = flash(gatehouse), written(gatehouse.process)
    assert seen["budget_per_day"] == BUDGET and BUDGET < seen["written_today"] <= BUDGET - 1 + by_the_kernel, (seen, by_the_kernel)
    left = (ENDURANCE_GIB * 2**30 - YESTERDAY - seen["written_today"]) / YESTERDAY / DAYS_A_YEAR
    told = gatehouse.cli("status", "--lang", "en").stdout
    assert abs(seen["years_left"] - left) < 0.01 and f"{left:.1f}" in told, (seen, left, told)
