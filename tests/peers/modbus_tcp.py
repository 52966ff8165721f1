#!/usr/bin/env python3
"""Modbus TCP server: pymodbus with several units, a truth ledger and a control port."""
from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer

from ledger import Ledger
from modbus_server import ModbusServer


class ModbusTcp(ModbusServer):
    def __init__(self, port, units, **more):
        super().__init__(units, **more)
        self.port = port

    def build(self, devices):
        return ModbusTcpServer(devices, address=("127.0.0.1", self.port))


class RtuOverTcp(ModbusTcp):
    """A serial server and the units behind it in one: RTU frames on a TCP connection. Units that are not there are silent, as on a line."""

    def build(self, devices):
        return ModbusTcpServer(devices, framer=FramerType.RTU, address=("127.0.0.1", self.port), ignore_missing_devices=True)


if __name__ == "__main__":
    parser = ModbusServer.arguments(__doc__)
    parser.add_argument("--port", type=int, default=5020)
    a = parser.parse_args()
    ModbusTcp(a.port, map(int, a.units.split(",")), size=a.size, ledger=Ledger(a.ledger)).run(a.control)
