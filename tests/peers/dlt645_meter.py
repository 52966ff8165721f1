#!/usr/bin/env python3
"""Electricity meters on one line: DL/T 645-2007 as the package `dlt645` speaks it, over TCP (a serial server) or on a serial port.

The package's server is one meter and does not turn addresses round: it is given them as they go over the wire. It answers a foreign
address with an error, where a real meter stays silent; here several meters share the line and whoever is not on it says nothing.
The ledger holds what each item of each meter was, as {"unit": number, "table": "dlt645", "address": item, "value"}.

With `faults`, that share of the answers goes wrong: late, doubled, that to the question before, a wrong byte, cut off, another meter's.
"""
import argparse
import random
import sys
import threading
import time

from loguru import logger

from dlt645.service.serversvc.server_service import MeterServerService, RtuServer, TcpServer

from ledger import Ledger

logger.remove()  # it would tell of each byte
VOLTAGE, CURRENT, ACTIVE = {"a": 0x02010100, "b": 0x02010200, "c": 0x02010300}, 0x02020100, 0x02030000
FORWARD, REVERSE = 0x00010000, 0x00020000
FAULTS = ("late", "twice", "previous", "wrong byte", "cut off", "another meter's")


class Dlt645Meters:
    """`numbers`: as printed on the meters, twelve digits each."""

    def __init__(self, server, numbers, ledger=None, faults=0.0, late_by=0.3, seed=645):
        self.server, self.ledger = server, ledger or Ledger()
        self.faults, self.late_by, self.chance = faults, late_by, random.Random(seed)
        self.counts = dict.fromkeys(("none", *FAULTS), 0)
        self._meters, self._lock, self._before = {}, threading.Lock(), b""
        for number in numbers:
            meter = MeterServerService(server)
            meter.set_address(bytes.fromhex(number)[::-1])
            self._meters[bytes(meter.address)] = meter
        server.service = self

    @classmethod
    def over_tcp(cls, port, numbers, **more):
        return cls(TcpServer("127.0.0.1", port, 3600.0), numbers, **more)

    @classmethod
    def on_port(cls, path, numbers, baud=2400, **more):
        return cls(RtuServer(str(path), 8, 1, baud, "E", 5.0), numbers, **more)

    def start(self):
        assert self.server.start(), "the meters' line does not open"
        return self

    def stop(self):
        self.server.stop()

    def set(self, number, item, value):
        """From now on this meter's item is `value`."""
        meter = self._meters[bytes.fromhex(number)[::-1]]
        with self._lock:
            assert meter.set_02(item, value) if item >> 24 == 2 else meter.set_00(item, value), f"{item:08X} is never {value}"
            self.ledger.hold(number, "dlt645", item, [value])

    def handle_request(self, frame):
        """What the package's servers call for each whole frame: the bytes to send back, or None."""
        meter = self._meters.get(bytes(frame.addr))
        if meter is None:
            return None
        with self._lock:
            reply = meter.handle_request(frame)
            previous, self._before = self._before, bytes(reply)
        fault = self.chance.choice(FAULTS) if self.chance.random() < self.faults else "none"
        self.counts[fault] += 1
        return self._spoilt(bytes(reply), previous, fault)

    def _spoilt(self, reply, previous, fault):
        if fault == "late":
            time.sleep(self.late_by)
        elif fault == "twice":
            return reply + reply
        elif fault == "previous":
            return previous or None
        elif fault == "wrong byte":
            at = self.chance.randrange(4, len(reply))
            return reply[:at] + bytes([reply[at] ^ self.chance.randrange(1, 256)]) + reply[at + 1:]
        elif fault == "cut off":
            return reply[:self.chance.randrange(5, len(reply))]
        elif fault == "another meter's":
            begun = reply.index(0x68)
            body = bytes([0x68, reply[begun + 1] ^ 0x01]) + reply[begun + 2:-2]
            return body + bytes([sum(body) % 256, 0x16])
        return reply


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--tcp", type=int, metavar="PORT", help="listen on loopback")
    where.add_argument("--port", help="serial port or pty")
    parser.add_argument("--baud", type=int, default=2400)
    parser.add_argument("--numbers", default="123456781012", help="with commas")
    parser.add_argument("--faults", type=float, default=0.0, help="share of answers that go wrong")
    parser.add_argument("--ledger", help="JSONL file of all that was ever held")
    a = parser.parse_args()
    numbers, more = a.numbers.split(","), dict(ledger=Ledger(a.ledger), faults=a.faults)
    meters = Dlt645Meters.over_tcp(a.tcp, numbers, **more) if a.tcp else Dlt645Meters.on_port(a.port, numbers, a.baud, **more)
    meters.start()
    print('on stdin: "123456781012 02010100 220.1"', flush=True)
    try:
        for line in sys.stdin:
            number, item, value = line.split()
            meters.set(number, int(item, 16), float(value))
    finally:
        meters.stop()
