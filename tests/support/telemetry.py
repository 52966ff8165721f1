"""telemetry.db itself, read without the gateway: the rows as `src/store/samples.rs` writes them (numbers, and values that are missing)."""
import contextlib
import json
import sqlite3

TEXT, WORD, SINGLE = 13, 14, 15
MISSING = {4: "absent", 5: "out_of_range", 6: "comm_fail", 7: "decode_error"}


class Blob:
    def __init__(self, blob):
        self.blob, self.at = blob, 0

    def byte(self):
        self.at += 1
        return self.blob[self.at - 1]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def signed(self):
        number = self.varint()
        return number >> 1 ^ -(number & 1)

    def points(self):
        points, end = [], 0
        for _ in range(self.varint()):
            first = end + self.signed()
            end = first + self.varint()
            points += range(first, end)
        return points

    def sample(self):
        """(quality, number or None); other kinds of value are not for this reader."""
        first = self.byte()
        kind, number = first & 15, first >> 4 & 7 | (self.varint() << 3 if first & 0x80 else 0)
        if kind == WORD and number in MISSING:
            return MISSING[number], None
        assert kind == 0, f"kind {kind} in {self.blob.hex()}: not a whole number"
        return "good", number >> 1 ^ -(number & 1)


def rows(store):
    """(device, at in ms, [(point, quality, number)]) of everything in the store, in the order it was stored."""
    with contextlib.closing(sqlite3.connect(f"file:{store}/telemetry.db?mode=ro", uri=True)) as db:
        series = {ix: (device, [name for name, _ in json.loads(points)]) for ix, device, points in db.execute("SELECT id, device, points FROM series")}
        for at_ms, ix, samples in db.execute("SELECT at_ms, series, samples FROM row ORDER BY seq"):
            device, names = series[ix]
            if device.startswith("bus:"):  # the gateway's own lines say words
                continue
            blob = Blob(samples)
            yield device, at_ms, [(names[point], *blob.sample()) for point in blob.points()]
