#!/usr/bin/env python3
"""A Monarch NICE3000+ elevator board: Modbus RTU requests, but replies with a two-byte byte count (raw bytes).

    read current floor  01 03 10 18 00 01 00 CD  →  01 03 00 02 00 07 A5 C8

An error is an 8-byte frame that names address 0x8001 and carries the error word.
"""
import argparse
import json
import struct
import sys
import threading

from ledger import Ledger
from rtu import RtuSlave, framed

FLOOR, SPEED, LOAD, CAR_TOP_INPUTS, SYSTEM_STATUS, STATUS_WORD, FAULT = 0x1018, 0x1010, 0x101A, 0x101B, 0x101D, 0x3000, 0x8000
BLOCKS = [(0x1010, 0x20), (0x2000, 6), (0x2010, 12), (0x3000, 1), (0x8000, 1)]  # (first register, how many)
BAD_COMMAND, BAD_ADDRESS, BAD_PARAMETER = 2, 4, 5


class Nice3000(RtuSlave):
    def __init__(self, port, unit=1, ledger=None):
        super().__init__(port)
        self.unit, self.ledger = unit, ledger or Ledger()
        self._lock = threading.Lock()
        self.registers = {}
        for first, count in BLOCKS:
            self.set(first, [0] * count)

    def set(self, address, values):
        with self._lock:
            self.ledger.hold(self.unit, "holding", address, values)
            self.registers.update({address + i: value for i, value in enumerate(values)})

    def answer(self, unit, code, address, count):
        if unit == self.unit:
            self.send(self.reply(code, address, count))

    def reply(self, code, address, count):
        error = lambda word: framed(struct.pack(">BBHH", self.unit, code, 0x8001, word))
        if code != 3:
            return error(BAD_COMMAND)
        if not 1 <= count <= 10:  # the maker's own app never asks for more than ten
            return error(BAD_PARAMETER)
        with self._lock:
            words = [self.registers.get(address + i) for i in range(count)]
        if None in words:
            return error(BAD_ADDRESS)
        return framed(struct.pack(f">BBH{count}H", self.unit, code, 2 * count, *words))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", help="serial port or pty")
    parser.add_argument("--unit", type=int, default=1)
    parser.add_argument("--ledger", help="JSONL file of everything that was ever held")
    a = parser.parse_args()
    board = Nice3000(a.port, a.unit, Ledger(a.ledger)).start()
    print('registers on stdin, one JSON a line: {"address":4120,"values":[7]}', flush=True)
    for line in sys.stdin:
        board.set(**json.loads(line))
    board.join()
