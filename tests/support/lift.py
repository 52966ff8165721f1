"""The elevator of tests/stories/profiles/elevator: where its points are, and how a passenger gets trapped in it."""
import struct

FLOOR, DOOR, MODE, FLAGS, SPEED = 0x0000, 0x0002, 0x0003, 0x0004, 0x0200  # SPEED far off: it is never in one request with the rest
CLOSED, OPEN = 0, 2
DOORS = ["closed", "opening", "open", "closing"]
DOOR_ZONE, OCCUPIED = 0x0001, 0x0004


class Lift:
    """`server` is a peer with set(unit, address, values). The RTU lift has its speed in mm/s, the TCP lift as a float, low word first."""

    def __init__(self, server, unit, float_speed=False):
        self.server, self.unit, self.float_speed = server, unit, float_speed
        self.free(floor=1)

    def speed_words(self, speed):
        if self.float_speed:
            high, low = struct.unpack(">HH", struct.pack(">f", speed))
            return [low, high]
        return [int(speed * 1000) & 0xFFFF]

    def moves(self, floor, speed):
        self.server.set(self.unit, FLOOR, [floor & 0xFFFF])
        self.server.set(self.unit, SPEED, self.speed_words(speed))

    def free(self, floor=None):
        """At a floor, door open, nobody inside."""
        if floor is not None:
            self.moves(floor, 0.0)
        self.server.set(self.unit, DOOR, [OPEN, 0, DOOR_ZONE])

    def trap(self):
        """Stopped between floors, door closed, someone inside. True from this call on."""
        self.server.set(self.unit, SPEED, self.speed_words(0.0))
        self.server.set(self.unit, DOOR, [CLOSED, 0, OCCUPIED])

    # ── what a reading must be, by the ledger ──

    def true_values(self, point, at_ns, slack_ns):
        """All values that the point really had within the slack around `at_ns`."""
        address, count = {"floor": (FLOOR, 1), "speed": (SPEED, 2 if self.float_speed else 1), "door": (DOOR, 1), "mode": (MODE, 1),
                          "door_zone": (FLAGS, 1), "occupied": (FLAGS, 1)}[point]
        return {self.value(point, words) for words in self.server.ledger.held(self.unit, "holding", address, at_ns, slack_ns, count)}

    def value(self, point, words):
        raw = words[0]
        signed = raw - 0x10000 if raw & 0x8000 else raw
        if point == "speed":
            return struct.unpack(">f", struct.pack(">HH", words[1], words[0]))[0] if self.float_speed else signed / 1000
        return {"floor": float(signed), "door": DOORS[raw & 7] if raw & 7 < 4 else None, "mode": "normal" if raw == 0 else None,
                "door_zone": bool(raw & DOOR_ZONE), "occupied": bool(raw & OCCUPIED)}[point]


def untrue(lift, rows, slack_ns):
    """The good readings whose value the register did not hold at that time: must be none."""
    def matches(value, truths):
        return any(abs(value - t) < 1e-6 if isinstance(t, float) and not isinstance(value, (str, bool)) else value == t for t in truths)
    return [row for row in rows if row["quality"] == "good" and not matches(row["value"], lift.true_values(row["point"], row["ns"], slack_ns))]
