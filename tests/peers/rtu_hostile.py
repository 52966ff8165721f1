#!/usr/bin/env python3
"""An RTU line on which not everyone behaves (raw bytes, not pymodbus):

healthy units answer; a dead unit never does; a late unit answers every request after the master has given up, and then
with the reply to the request before, so that the reply to "floor" arrives when "speed" is being waited for.
"""
import argparse
import json
import struct
import sys
import threading

from ledger import Ledger
from rtu import RtuSlave, framed


class RtuHostile(RtuSlave):
    def __init__(self, port, healthy, dead=(), late=(), late_by=0.5, ledger=None):
        super().__init__(port)
        self.healthy, self.dead, self.late, self.late_by = set(healthy), set(dead), set(late), late_by
        self.registers = {}
        self.ledger = ledger or Ledger()  # what registers held
        self.requests = Ledger()          # who was asked what, and when
        self._previous = {}
        self._lock = threading.Lock()

    def set(self, unit, address, values):
        with self._lock:  # no reply between the ledger and the registers
            self.ledger.hold(unit, "holding", address, values)
            for i, value in enumerate(values):
                self.registers[unit, address + i] = value

    def answer(self, unit, code, address, count):
        self.requests.write(unit=unit, address=address, count=count)
        if unit in self.dead or unit not in self.healthy | self.late:
            return
        with self._lock:
            words = [self.registers.get((unit, address + i)) for i in range(count)]
        if code != 3 or None in words:
            reply = framed(bytes([unit, code | 0x80, 2]))  # illegal data address
        else:
            reply = framed(struct.pack(f">BBB{count}H", unit, code, 2 * count, *words))
        if unit in self.healthy:
            return self.send(reply)
        previous, self._previous[unit] = self._previous.get(unit), reply
        if previous:
            self.send(previous, after=self.late_by)

    def asked_at(self, unit, address):
        """When the register was asked for, in seconds of wall time: the achieved period comes from these."""
        return [f["ns"] / 1e9 for f in self.requests.about(unit=unit) if f["address"] <= address < f["address"] + f["count"]]


if __name__ == "__main__":
    units = lambda text: [int(x) for x in text.split(",") if x]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", help="serial port or pty")
    parser.add_argument("--healthy", type=units, default=[1, 4])
    parser.add_argument("--dead", type=units, default=[2])
    parser.add_argument("--late", type=units, default=[3])
    parser.add_argument("--late-by", type=float, default=0.5, help="seconds")
    parser.add_argument("--ledger", help="JSONL file of everything that was ever held")
    a = parser.parse_args()
    slave = RtuHostile(a.port, a.healthy, a.dead, a.late, a.late_by, Ledger(a.ledger)).start()
    print('registers on stdin, one JSON a line: {"unit":1,"address":0,"values":[7]}', flush=True)
    for line in sys.stdin:
        slave.set(**json.loads(line))
    slave.join()
