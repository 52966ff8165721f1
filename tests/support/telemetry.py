"""telemetry.db itself, read without the gateway: the tail and the blocks as `src/store/packed/` describes them, in code that shares nothing with it."""
import contextlib
import json
import sqlite3
import struct
import zlib

MASK = (1 << 64) - 1
USUAL_TIMES, MEMORY, WORDS_MAX, SHAPES_MAX = 11, 4, 64, 64
SINGLE, DOUBLE, FLAG, TEXT, MISSING, STALE = 13, 14, 15, 16, ["absent", "out_of_range", "comm_fail", "decode_error"], 0x20
OTHER = object()


def signed(number):
    return number >> 1 ^ -(number & 1)


def wrapped(number):
    number &= MASK
    return number - (1 << 64) if number >> 63 else number


def varints(data, at, count):
    numbers = []
    for _ in range(count):
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        numbers.append(value)
    return numbers, at


class Bits:
    def __init__(self, data):
        self.all, self.left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count):
        assert count <= self.left, "the bits end too early"
        bits = self.all & (1 << count) - 1
        self.all >>= count
        self.left -= count
        return bits

    def number(self):
        return self.take(self.take(6) + 1)


class Spread:
    def __init__(self):
        self.mean = 0

    def take(self, bits):
        low, times = (self.mean >> MEMORY | 1).bit_length() - 1, 0
        while times < USUAL_TIMES and bits.take(1):
            times += 1
        if times < USUAL_TIMES:
            step = times << low | bits.take(low)
        elif bits.take(1):
            return OTHER
        else:
            step = bits.number()
        self.mean += min(step, 2 * USUAL_TIMES << low, 1 << 56) - (self.mean >> MEMORY)
        return step


def is_missing(form):
    return 17 <= form < 21


class Column:
    def __init__(self):
        self.kind = self.last = 0
        self.spread, self.words = Spread(), []

    def take(self, bits, least=0):
        step = self.spread.take(bits)
        if step is not OTHER:
            self.last = wrapped(self.last + signed(step + least & MASK))
            return
        self.kind = bits.take(6)
        form = self.kind & ~STALE
        if form == TEXT:
            if bits.take(1):
                self.last = bits.take(6)
            else:
                if len(self.words) == WORDS_MAX:
                    self.words = []
                self.words.append(bytes(bits.take(8) for _ in range(bits.take(11))).decode())
                self.last = len(self.words) - 1
        else:
            self.last = 0 if is_missing(form) else signed(bits.number())

    def sample(self):
        """(quality, value)"""
        form, number = self.kind & ~STALE, self.last
        if is_missing(form):
            return MISSING[form - 17], None
        if form == 0:
            value = number
        elif form <= 6:
            value = number / 10**form
        elif form < SINGLE:
            value = number * [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6][form - 7]
        elif form >= 21:  # the float next to a decimal
            value = struct.unpack("<f", struct.pack("<f", number / 10 ** (form - 20)))[0]
        elif form == SINGLE:
            value = struct.unpack("<f", struct.pack("<I", number))[0]
        elif form == DOUBLE:
            value = struct.unpack("<d", struct.pack("<q", number))[0]
        else:
            value = bool(number) if form == FLAG else self.words[number]
        return "stale" if self.kind & STALE else "good", value


class Clock:
    def __init__(self):
        self.at = self.gap = 0
        self.spread = Spread()

    def take(self, bits):
        self.gap = wrapped(self.gap + signed(self.spread.take(bits)))
        self.at = wrapped(self.at + self.gap)
        return self.at


class Shapes:
    def __init__(self):
        self.lists, self.last = [], 0

    def take(self, bits):
        if not bits.take(1):
            if bits.take(1):
                self.last = bits.take(6)
            else:
                shape, end = [], 0
                for _ in range(bits.number()):
                    first = end + signed(bits.number())
                    end = first + bits.number()
                    shape += range(first, end)
                if len(self.lists) == SHAPES_MAX:
                    self.lists = []
                self.lists.append(shape)
                self.last = len(self.lists) - 1
        return self.lists[self.last]


class Chain:
    def __init__(self):
        self.clock, self.shapes, self.columns, self.place = Clock(), Shapes(), {}, 0

    def take(self, rows, bits):
        self.place += 1
        for _ in range(rows):
            at, shape = self.clock.take(bits), self.shapes.take(bits)
            still, row = bits.take(1), []
            for point in shape:
                column = self.columns.setdefault(point, Column())
                if not still:
                    column.take(bits)
                row.append((point, *column.sample()))
            yield at, row


def tail(slots):
    """(series, at in ms, row) of everything that is in no block yet."""
    chains = {}
    for slot in slots:
        at = 0
        while at + 8 <= len(slot):
            length, crc = struct.unpack_from("<II", slot, at)
            if not length:
                break
            sections = slot[at + 8 : at + 8 + length]
            assert zlib.crc32(sections) == crc, "a damaged frame"
            at += 8 + length
            here = 0
            while here < len(sections):
                (series, place, rows, size), here = varints(sections, here, 4)
                chain = chains[series] = chains[series] if place else Chain()
                assert chain.place == place, f"section {place} of series {series} after {chain.place}"
                for at_ms, row in chain.take(rows, Bits(sections[here : here + size])):
                    yield series, at_ms, row
                here += size


def block(data):
    """(at in ms, row) of a block."""
    assert data[0] in (1, 2)
    (rows, times, shapes, columns), at = varints(data, 1, 4)
    sizes, cells = [], {}
    for _ in range(columns):
        (point, size), at = varints(data, at, 2)
        sizes.append((point, size))
    time_bits, shape_bits = Bits(data[at : at + times]), Bits(data[at + times : at + times + shapes])
    at += times + shapes
    for point, size in sizes:
        cells[point] = column_cells(Bits(data[at : at + size]))
        at += size
    assert at == len(data)
    clock, known = Clock(), Shapes()
    for _ in range(rows):
        at_ms = clock.take(time_bits)
        yield at_ms, [(point, *next(cells[point])) for point in known.take(shape_bits)]


def column_cells(bits):
    column = Column()
    if not bits.take(1):
        while True:
            column.take(bits)
            yield column.sample()
    stretches = Spread()
    while True:
        for _ in range(stretches.take(bits)):
            yield column.sample()
        column.take(bits, 1)
        yield column.sample()


def rows(store):
    """(device, at in ms, [(point, quality, value)]) of everything in the store, each device's in the order it was stored."""
    with contextlib.closing(sqlite3.connect(f"file:{store}/telemetry.db?mode=ro", uri=True)) as db:
        db.execute("BEGIN")  # a row is in a block or in the tail, never in both
        series = {ix: (device, [name for name, _ in json.loads(points)]) for ix, device, points in db.execute("SELECT id, device, points FROM series")}
        found = [(ix, at, row) for ix, data in db.execute("SELECT series, bytes FROM block ORDER BY id") for at, row in block(data)]
        found += tail(data for data, in db.execute("SELECT bytes FROM tail WHERE seq > (SELECT seq FROM packed) ORDER BY slot"))
    for ix, at_ms, row in found:
        device, names = series[ix]
        if ":" not in device:  # the gateway's own lines say words
            yield device, at_ms, [(names[point], quality, value) for point, quality, value in row]
