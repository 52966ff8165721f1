#!/usr/bin/env python3
"""A faulty wire between a Modbus TCP master and its server. Requests pass; each reply may meet one fault, by chance:

    late       held back longer than the master waits
    duplicate  sent twice: the second lies there when the next reply is waited for
    swap       kept, and sent in place of the next reply (which is then kept, and so on)
    merge      kept, and sent in front of the next reply in one segment
    cut        half a frame, then the connection is closed
    crumbs     one byte a segment
    retag      another transaction id
    reunit     another unit id
    corrupt    a bit of the head flipped: what comes before the values, for a TCP frame has no checksum of its own

`asked` is the ledger: when which register of which unit was asked for.
"""
import argparse
import array
import asyncio
import collections
import functools
import random
import struct
import threading
import time

FAULTS = ["late", "duplicate", "swap", "merge", "cut", "crumbs", "retag", "reunit", "corrupt"]
HEAD = 9  # transaction, protocol, length, unit, function, byte count


async def read_frame(reader):
    head = await reader.readexactly(6)
    return head + await reader.readexactly(struct.unpack(">HHH", head)[2])


class TcpRelay:
    def __init__(self, port, target_port, chances=None, seed=1, late_by=1.0, more_ports=()):
        """`more_ports`: further (port, target port) pairs."""
        self.ports, self.late_by = [(port, target_port), *more_ports], late_by
        self.port = port
        self.chances = dict.fromkeys(FAULTS, 0.05) if chances is None else chances
        self.counts = collections.Counter()
        self.asked = collections.defaultdict(lambda: array.array("d"))  # {(unit, first, count): times}
        self._chance = random.Random(seed)
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def start(self):
        self._thread.start()
        assert self._up.wait(10), f"a port is not free: {self.ports}"
        return self

    def stop(self):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        servers = [await asyncio.start_server(functools.partial(self._connection, target), "127.0.0.1", port) for port, target in self.ports]
        self._up.set()
        await self._stop.wait()
        for server in servers:
            server.close()

    async def _connection(self, target_port, reader, writer):
        self.counts["connections"] += 1
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", target_port)
        except OSError:
            return writer.close()
        tasks = [asyncio.create_task(self._requests(reader, up_writer)), asyncio.create_task(self._replies(up_reader, writer))]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close(), up_writer.close()

    async def _requests(self, reader, up_writer):
        while True:
            request = await read_frame(reader)
            unit, _, first, count = struct.unpack(">BBHH", request[6:12])
            self.asked[unit, first, count].append(time.time())
            self.counts["requests"] += 1
            up_writer.write(request)

    def _fault(self):
        dice = self._chance.random()
        for fault, chance in self.chances.items():
            if dice < chance:
                return fault
            dice -= chance
        return "none"

    async def _replies(self, up_reader, writer):
        kept = {"swap": b"", "merge": b""}
        while True:
            frame = await read_frame(up_reader)
            fault = self._fault()
            self.counts[fault] += 1
            if kept["swap"]:  # the one before goes out in this one's place
                kept["swap"], frame = (frame if fault == "swap" else b""), kept["swap"]
            elif fault in kept and not kept["merge"]:
                kept[fault] = frame
                continue
            frame, kept["merge"] = kept["merge"] + frame, b""
            if fault == "late":
                await asyncio.sleep(self.late_by)
            elif fault == "duplicate":
                writer.write(frame)
                await asyncio.sleep(self._chance.choice((0, 0.005)))  # in one segment, or as the next request is under way
            elif fault == "retag":
                frame = bytes([frame[0], frame[1] ^ 0x01]) + frame[2:]
            elif fault == "reunit":
                frame = frame[:6] + bytes([frame[6] ^ 0x03]) + frame[7:]
            elif fault == "corrupt":
                bit = self._chance.randrange(8 * HEAD)
                frame = frame[: bit // 8] + bytes([frame[bit // 8] ^ 1 << bit % 8]) + frame[bit // 8 + 1 :]
            elif fault == "cut":
                writer.write(frame[: len(frame) // 2])
                await writer.drain()
                return
            if fault == "crumbs":
                for byte in frame:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.002)
            else:
                writer.write(frame)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, help="where the master connects")
    parser.add_argument("target_port", type=int, help="where the server listens")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--late-by", type=float, default=1.0, help="seconds")
    for fault in FAULTS:
        parser.add_argument(f"--{fault}", type=float, default=0.05, help="chance (default: 0.05)")
    a = parser.parse_args()
    relay = TcpRelay(a.port, a.target_port, {fault: getattr(a, fault) for fault in FAULTS}, a.seed, a.late_by).start()
    try:
        relay._thread.join()
    except KeyboardInterrupt:
        print(dict(relay.counts))
