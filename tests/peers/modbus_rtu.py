#!/usr/bin/env python3
"""Modbus RTU (or ASCII) server on a serial port or pty: pymodbus with several units, a truth ledger and a control port."""
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer

from ledger import Ledger
from modbus_server import ModbusServer


class ModbusRtu(ModbusServer):
    framer = FramerType.RTU

    def __init__(self, port, units, baud=9600, **more):
        super().__init__(units, **more)
        self.port, self.baud = port, baud

    def build(self, devices):
        return ModbusSerialServer(devices, framer=self.framer, port=str(self.port), baudrate=self.baud, ignore_missing_devices=True)


class ModbusAscii(ModbusRtu):
    framer = FramerType.ASCII


if __name__ == "__main__":
    parser = ModbusServer.arguments(__doc__)
    parser.add_argument("port", help="serial port or pty")
    parser.add_argument("--baud", type=int, default=9600)
    a = parser.parse_args()
    ModbusRtu(a.port, map(int, a.units.split(",")), baud=a.baud, size=a.size, ledger=Ledger(a.ledger)).run(a.control)
