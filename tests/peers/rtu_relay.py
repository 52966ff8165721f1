#!/usr/bin/env python3
"""A faulty RS-485 bus between one Modbus RTU master and its slaves, each end a pty. Requests pass; each reply may meet one fault, by chance:

    late       held back longer than the master waits, into the midst of what comes next
    duplicate  sent twice: at once, or while the next request is under way
    swap       kept, and sent in place of the next reply on the bus
    merge      kept, and sent in front of the next reply in one write
    cut        half a frame
    corrupt    one to three bits flipped: what a CRC-16 always sees

Nothing that one unit says ever overtakes what it said before, as on a wire.
A thread serves any number of buses. `asked` is the ledger: when which register of which unit was asked for.
"""
import argparse
import array
import collections
import json
import os
import random
import selectors
import signal
import struct
import sys
import threading
import time
import tty

FAULTS = ["late", "duplicate", "swap", "merge", "cut", "corrupt"]
REQUEST = 8


def pty(link):
    """A pty that appears at `link`; we keep both ends open, so that whoever uses it may close it and come back."""
    master, slave = os.openpty()
    tty.setraw(master), tty.setraw(slave)
    os.set_blocking(master, False)
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(os.ttyname(slave), link)
    return master, slave


class Slave:
    def __init__(self, master):
        self.master, self.buffer, self.expected = master, b"", collections.deque()


class Bus:
    def __init__(self, link, units):
        """`units`: {unit id: link}."""
        self.ends = [pty(link)] + [pty(path) for path in units.values()]
        self.master, self.buffer = self.ends[0][0], b""
        self.slaves = {unit: Slave(end[0]) for unit, end in zip(units, self.ends[1:])}
        self.kept = {"swap": b"", "merge": b""}
        self.queue = []  # (due, units, bytes)


class RtuRelay:
    def __init__(self, buses, chances=None, seed=1, late=(0.05, 0.2)):
        """`buses`: {link of the master: {unit id: link of the slave}}; `late`: how much later, from … to seconds."""
        self.chances = dict.fromkeys(FAULTS, 0.05) if chances is None else chances
        self.counts, self.late = collections.Counter(), late
        self.asked = collections.defaultdict(lambda: array.array("d"))  # {(unit, first, count): times}
        self.buses = [Bus(link, units) for link, units in buses.items()]
        self._chance, self._running = random.Random(seed), True
        self._selector = selectors.DefaultSelector()
        for bus in self.buses:
            self._selector.register(bus.master, selectors.EVENT_READ, (self._request, bus, None))
            for slave in bus.slaves.values():
                self._selector.register(slave.master, selectors.EVENT_READ, (self._reply, bus, slave))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def stop(self):
        self._running = False
        self._thread.join(5)
        for bus in self.buses:
            for end in bus.ends:
                os.close(end[0]), os.close(end[1])
        self.buses = []

    def _run(self):
        while self._running:
            now, wait = time.monotonic(), 0.1
            for bus in self.buses:
                while bus.queue and bus.queue[0][0] <= now:
                    self._send(bus, bus.queue.pop(0)[2])
                if bus.queue:
                    wait = min(wait, bus.queue[0][0] - now)
            for key, _ in self._selector.select(wait):
                what, bus, slave = key.data
                what(bus, slave, os.read(key.fd, 4096))

    def _request(self, bus, _, data):
        bus.buffer += data
        while len(bus.buffer) >= REQUEST:
            request, bus.buffer = bus.buffer[:REQUEST], bus.buffer[REQUEST:]
            unit, code, first, count = struct.unpack(">BBHH", request[:6])
            self.asked[unit, first, count].append(time.time())
            self.counts["requests"] += 1
            if unit in bus.slaves:
                bus.slaves[unit].expected.append(5 + 2 * count)
                os.write(bus.slaves[unit].master, request)

    def _reply(self, bus, slave, data):
        slave.buffer += data
        while len(slave.buffer) >= 5:
            length = 5 if slave.buffer[1] & 0x80 else slave.expected[0]
            if len(slave.buffer) < length:
                return
            slave.expected.popleft()
            frame, slave.buffer = slave.buffer[:length], slave.buffer[length:]
            self._deliver(bus, frame)

    def _fault(self):
        dice = self._chance.random()
        for fault, chance in self.chances.items():
            if dice < chance:
                return fault
            dice -= chance
        return "none"

    def _deliver(self, bus, frame):
        fault, delay = self._fault(), 0.0
        self.counts[fault] += 1
        units, kept = {frame[0]}, bus.kept
        if kept["swap"]:  # the one before goes out in this one's place
            kept["swap"], frame = (frame if fault == "swap" else b""), kept["swap"]
            units = {frame[0]}
        elif fault in kept and not kept["merge"]:
            kept[fault] = frame
            return
        if kept["merge"]:
            frame, kept["merge"], units = kept["merge"] + frame, b"", units | {kept["merge"][0]}
        if fault == "late":
            delay = self._chance.uniform(*self.late)
        elif fault == "duplicate":
            frame += frame
        elif fault == "cut":
            frame = frame[: self._chance.randrange(1, len(frame))]
        elif fault == "corrupt":
            frame = self._flipped(frame)
        self._queue(bus, units, frame, delay)

    def _flipped(self, frame):
        frame = bytearray(frame)
        for bit in self._chance.sample(range(8 * len(frame)), self._chance.choice((1, 2, 3))):
            frame[bit // 8] ^= 1 << bit % 8
        return bytes(frame)

    def _queue(self, bus, units, frame, delay):
        before = [due for due, others, _ in bus.queue if units & others]
        if not delay and not before:
            return self._send(bus, frame)
        bus.queue.append((max([time.monotonic() + delay, *before]), units, frame))
        bus.queue.sort(key=lambda one: one[0])  # stable: what one unit says stays in order

    def _send(self, bus, frame):
        try:
            os.write(bus.master, frame)
        except BlockingIOError:  # nobody reads: the master is gone
            self.counts["unread"] += 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("master", help="where the master's pty appears")
    parser.add_argument("slaves", nargs="+", metavar="UNIT=LINK", help="where each slave's pty appears")
    parser.add_argument("--seed", type=int, default=1)
    for fault in FAULTS:
        parser.add_argument(f"--{fault}", type=float, default=0.05, help="chance (default: 0.05)")
    a = parser.parse_args()
    units = {int(unit): link for unit, link in (word.split("=", 1) for word in a.slaves)}
    relay = RtuRelay({a.master: units}, {fault: getattr(a, fault) for fault in FAULTS}, a.seed).start()
    signal.sigwait([signal.SIGINT, signal.SIGTERM])
    json.dump(relay.counts, sys.stdout)
