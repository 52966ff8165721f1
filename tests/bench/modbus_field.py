#!/usr/bin/env python3
"""A field of Modbus TCP units for measuring: cheap enough to answer 1 000 requests a second beside what is measured.

Every unit has 50 holding registers. Register 0 counts the reads of that unit; the others are `quiet` (one of a hundred changes by ±1 a read), `walk` (every
second one does) or are `noise` (each anew within ±8 of its level). On SIGTERM the times of all
reads are written to a file, one JSON line a unit: {"port", "unit", "reads": [monotonic seconds …]}.
"""
import argparse
import asyncio
import json
import random
import signal
import struct
import time

REGISTERS = 50
STEPS = 2048  # of the walk that all units share, each from its own place


def walk(nature, seed=1):
    chance, values, rows = random.Random(seed), [2000 + 37 * i for i in range(REGISTERS)], []
    steps = {"quiet": [-1, 1] + [0] * 198, "walk": [-1, 0, 0, 1], "noise": [0]}[nature]
    for _ in range(STEPS):
        values = [v + chance.choice(steps) for v in values]
        seen = [v + chance.randint(-8, 8) for v in values] if nature == "noise" else values
        rows.append(struct.pack(f">{REGISTERS}H", *seen))
    return rows + rows[::-1]  # there and back: no jump where it begins again


class Field:
    def __init__(self, nature):
        self.rows, self.reads = walk(nature), {}

    def reply(self, port, request):
        tid, _, _, unit, code, address, count = struct.unpack(">HHHBBHH", request)
        if code != 3 or address + count > REGISTERS:
            return struct.pack(">HHHBBB", tid, 0, 3, unit, code | 0x80, 2)
        reads = self.reads.setdefault((port, unit), [])
        reads.append(time.monotonic())
        row = self.rows[(unit * 61 + port * 17 + len(reads)) % len(self.rows)]
        words = struct.pack(">H", len(reads) & 0xFFFF) + row[2:]
        return struct.pack(">HHHBBB", tid, 0, 3 + 2 * count, unit, code, 2 * count) + words[2 * address : 2 * (address + count)]


class Connection(asyncio.Protocol):
    def __init__(self, field, port):
        self.field, self.port, self.buffer = field, port, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        while len(self.buffer) >= 12:
            self.transport.write(self.field.reply(self.port, self.buffer[:12]))
            self.buffer = self.buffer[12:]


async def serve(ports, report, nature):
    loop, field, stop = asyncio.get_running_loop(), Field(nature), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    for port in ports:
        await loop.create_server(lambda port=port: Connection(field, port), "127.0.0.1", port)
    print("ready", flush=True)
    await stop.wait()
    with open(report, "w") as out:
        for (port, unit), reads in field.reads.items():
            out.write(json.dumps({"port": port, "unit": unit, "reads": reads}) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--report", required=True, help="where the times of all reads go")
    parser.add_argument("--nature", choices=["quiet", "walk", "noise"], default="walk", help="how the values behave")
    a = parser.parse_args()
    asyncio.run(serve(a.ports, a.report, a.nature))
