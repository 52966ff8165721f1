"""The shipped elevator profile against a NICE3000+ board, whose replies carry a two-byte byte count: what is read is what it held."""
import nice3000
from support.gateway import site_head
from support.waiting import wait_until

SLACK = 2_000_000_000  # the shipped profile chooses its own periods


def test_nice3000(tmp_path, line, ending, gateway):
    wire = line("lifts", baud=9600)
    board = nice3000.Nice3000(wire.b)
    board.set(nice3000.FLOOR, [7])
    board.set(nice3000.SYSTEM_STATUS, [7 << 4])  # bits 4-7: 7 is automatic
    board.set(nice3000.STATUS_WORD, [3])         # stopped
    ending(board.start())
    gatehouse = gateway(site_head(tmp_path) + f"""
[[bus]]
id = "lifts"
[bus.modbus_rtu]
port = "{wire.a}"
baud = 9600
framing = "8N1"

[[device]]
id      = "lift"
name    = "默纳克电梯"
profile = "elevator/monarch-nice3000"
bus     = "lifts"
unit    = 1
""").start()
    for floor, speed_mm in [(7, 0), (8, 1750), (12, 0), (1, 500)]:
        board.set(nice3000.FLOOR, [floor])
        board.set(nice3000.SPEED, [speed_mm])
        wait_until(lambda: [r for r in gatehouse.good("lift", "floor") if r["value"] == floor], 20, f"floor {floor}")
        wait_until(lambda: [r for r in gatehouse.good("lift", "speed") if abs(abs(r["value"]) - speed_mm / 1000) < 1e-6], 20, f"{speed_mm} mm/s")
    rows = gatehouse.readings("lift")
    print("points:", sorted({(r["point"], r["quality"]) for r in rows}))
    visited = 0
    for row in rows:
        if row["quality"] == "good" and row["point"] in ("floor", "speed"):
            address, scale = {"floor": (nice3000.FLOOR, 1), "speed": (nice3000.SPEED, 1000)}[row["point"]]
            held = {words[0] for words in board.ledger.held(1, "holding", address, row["ns"], SLACK)}
            assert round(abs(row["value"]) * scale) in held, row
            visited += 1
    assert visited >= 8
    assert {r["quality"] for r in rows} & {"comm_fail", "decode_error"} == set(), "the board answered every request"
