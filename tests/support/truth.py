"""Units whose registers say whose they are and when (tests/peers/truth_units.c), and the checker that holds what was stored against that."""
import bisect
import collections
import subprocess

from support.machine import PEERS, Process
from support.waiting import wait_until

TICK_MS = 5
ROUND = 1 << 16  # ticks, until the count begins again
SLOTS = [0, 16, 32]  # the even addresses ÷ 2 that are read: three questions of the same shape


def class_of(slots):
    return """class = "truth"
title = { zh = "真值", en = "truth" }
""" + "".join(f'\n[[point]]\nname = "slot_{slot}"\nkind = "number"\n' for slot in slots)


def profile(name, timeout, every, slots):
    return f"""profile  = "truth/{name}"
revision = 1
title    = {{ zh = "真值", en = "truth" }}
products = ["none: tests/peers/truth_units.c"]
source   = "tests/peers/truth_units.c"

[modbus]
address_base = 0
max_gap      = 0
timeout      = "{timeout}"
retries      = 1
""" + "".join(f'\n[[point]]\nname  = "slot_{slot}"\nread  = {{ table = "holding", address = {2 * slot}, type = "u32" }}\nevery = "{every}"\n' for slot in slots)


def write_profiles(folder, slots=SLOTS, **profiles):
    """profiles: name=(timeout, every)."""
    kind = folder / "profiles" / "truth"
    kind.mkdir(parents=True)
    (kind / "class.toml").write_text(class_of(slots))
    for name, (timeout, every) in profiles.items():
        (kind / f"{name}.toml").write_text(profile(name, timeout, every, slots))
        (kind / f"{name}.cases.toml").write_text(
            '[[case]]\nfact = "unit 1"\nholding = { 0x0000 = 256, 0x0001 = 7 }\nwant = { slot_0 = 16777223.0 }\n')
    return folder / "profiles"


class TruthUnits(Process):
    """libmodbus answers on these lines: "tcp:PORT" or "rtu:UNIT:PATH"."""

    def __init__(self, folder, lines):
        program = folder / "truth_units"
        subprocess.run(["cc", "-O2", PEERS / "truth_units.c", "-o", program, "-lmodbus", "-lpthread"], check=True)
        super().__init__([program, *lines], folder / "truth_units.log")
        wait_until(lambda: "ready" in self.log.read_text(), 10, "libmodbus serves", every=0.02)


class Verdict:
    """`wrong`: values that the register never held; `old`: values from before they were asked for; `in_a_row`: answers in whose millisecond the
    same was asked again, which a reading's time cannot tell from before."""

    def __init__(self):
        self.good, self.missing, self.wrong, self.old, self.points, self.in_a_row = 0, collections.Counter(), [], [], collections.Counter(), 0

    def __str__(self):
        return f"{self.good} good readings of {len(self.points)} registers, {len(self.wrong)} wrong, {len(self.old)} old, {self.in_a_row} asked again at once, without value: {dict(self.missing)}"


def judge(rows, unit_of, asked):
    """Holds the rows of telemetry.db against the truth. `asked`: {(unit, first, count): times of the requests}."""
    verdict = Verdict()
    for device, at_ms, samples in rows:
        unit = unit_of[device]
        for point, quality, value in samples:
            if quality != "good":
                verdict.missing[quality] += 1
                continue
            verdict.good += 1
            verdict.points[unit, point] += 1
            slot = int(point.removeprefix("slot_"))
            if value >> 16 != unit << 8 | slot:
                verdict.wrong.append((device, point, at_ms, hex(value)))
                continue
            times = asked[unit, 2 * slot, 2]
            last = bisect.bisect_right(times, (at_ms + 1) / 1000) - 1
            age_ms = ticks_before(at_ms // TICK_MS, value & 0xFFFF) * TICK_MS
            held = lambda asked: at_ms - age_ms >= times[asked] * 1000 - 2 * TICK_MS
            if last >= 0 and held(last):
                continue
            # one that was asked in the very millisecond of the reading may have been asked after it: then the one before was answered
            if last > 0 and times[last] * 1000 >= at_ms and held(last - 1):
                verdict.in_a_row += 1
                continue
            asked_ago = [round(at_ms - asked_at * 1000, 2) for asked_at in times[max(0, last - 2):last + 2]]
            verdict.old.append((device, point, at_ms, age_ms, asked_ago))
    return verdict


def ticks_before(now, tick):
    """How long before `now` the tick was, or minus how long after it."""
    behind = (now - tick) % ROUND
    return behind - ROUND if behind > ROUND // 2 else behind
