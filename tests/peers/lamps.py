"""Lamps that can be told things (pymodbus), and the ledger of every write that reached them: the truth about "exactly once".

`mode` says what a lamp makes of a write: "obeys", "refuses" (exception 3), "lazy" (says yes and does nothing), "mute" (does it and says
nothing), "deaf" (neither), "slow" (takes its time, then obeys)."""
import asyncio
import contextvars
import dataclasses
import functools

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer

from modbus_server import ModbusServer

WRITES = (5, 6, 15, 16)
BY_HAND = contextvars.ContextVar("by_hand", default=False)  # the story itself sets a register: nothing came over the wire


class Lamps(ModbusServer):
    def __init__(self, units, **more):
        super().__init__(units, **more)
        self.mode = "obeys"

    def set(self, *where_and_what, **more):
        by_hand = BY_HAND.set(True)
        try:
            super().set(*where_and_what, **more)
        finally:
            BY_HAND.reset(by_hand)

    def writes(self, unit=None):
        """[(function, address, values)] in the order they came."""
        facts = [fact for fact in self.ledger.about(kind="write") if unit in (None, fact["unit"])]
        return [(fact["function"], fact["address"], fact["values"]) for fact in facts]

    async def _accessed(self, unit, function, start, address, count, registers, values):
        if function not in WRITES or values is None or BY_HAND.get():
            return None
        self.ledger.write(kind="write", unit=unit, function=function, address=address, values=[int(v) for v in values])
        if self.mode == "slow":
            await asyncio.sleep(3)
        if self.mode == "refuses":
            return ExcCodes.ILLEGAL_VALUE
        if self.mode in ("lazy", "deaf"):
            at = address - start
            values[:] = registers[at:at + len(values)]
        return None

    def _answers(self, sending, packet):
        function = packet[self.function_at] & 0x7F if len(packet) > self.function_at else 0
        return b"" if sending and function in WRITES and self.mode in ("mute", "deaf") else packet

    def with_action(self, devices):
        return [dataclasses.replace(d, action=functools.partial(self._accessed, d.id)) for d in devices]


class TcpLamps(Lamps):
    function_at = 7

    def __init__(self, port, units, **more):
        super().__init__(units, **more)
        self.port = port

    def build(self, devices):
        return ModbusTcpServer(self.with_action(devices), address=("127.0.0.1", self.port), trace_packet=self._answers)


class RtuLamps(Lamps):
    function_at = 1

    def __init__(self, port, units, baud=9600, **more):
        super().__init__(units, **more)
        self.port, self.baud = port, baud

    def build(self, devices):
        return ModbusSerialServer(self.with_action(devices), port=str(self.port), baudrate=self.baud, ignore_missing_devices=True,
                                  trace_packet=self._answers)
