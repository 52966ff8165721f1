"""What modbus_tcp.py and modbus_rtu.py share: a pymodbus server in a thread of its own, its registers and its ledger."""
import argparse
import asyncio
import json
import logging
import threading

from pymodbus.simulator import DataType, SimData, SimDevice

from ledger import Ledger

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # it logs a stack trace for every request to an unknown unit

WRITE_CODE = {"holding": 16, "input": 4}  # pymodbus picks the table by function code


def device(unit, size):
    """A device with `size` holding and `size` input registers; pymodbus wants coils and discretes too."""
    bits = lambda: [SimData(0, count=16, values=False, datatype=DataType.BITS)]
    words = lambda: [SimData(0, count=size, values=0, datatype=DataType.REGISTERS)]
    return SimDevice(unit, simdata=(bits(), bits(), words(), words()))


class ModbusServer:
    """Subclasses say in `build(devices)` which pymodbus server it is."""

    def __init__(self, units, size=0x300, ledger=None):
        self.units, self.size, self.ledger = list(units), size, ledger or Ledger()
        self._up, self._failed = threading.Event(), None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def build(self, devices):
        raise NotImplementedError

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            self._server = self.build([device(unit, self.size) for unit in self.units])
            await self._server.serve_forever(background=True)
        except Exception as error:
            self._failed = error
            return
        finally:
            self._up.set()
        await self._stop.wait()
        await self._server.shutdown()

    def start(self):
        self._thread.start()
        self._up.wait(10)
        if self._failed:
            raise self._failed
        return self

    def stop(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5)

    def set(self, unit, address, values, table="holding"):
        """Registers from `address` on hold `values` from now on; all of them change at once."""

        async def change():
            self.ledger.hold(unit, table, address, values)  # same loop as the replies: no reply comes in between
            await self._server.async_setValues(unit, WRITE_CODE[table], address, list(values))

        asyncio.run_coroutine_threadsafe(change(), self._loop).result(10)

    def control(self, port):
        """Line-JSON control port on loopback: {"unit":1,"address":0,"values":[7],"table":"holding"} → {"ok":true}."""

        async def serve(reader, writer):
            while line := await reader.readline():
                try:
                    await asyncio.to_thread(lambda: self.set(**json.loads(line)))
                    answer = {"ok": True}
                except Exception as error:
                    answer = {"ok": False, "error": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()

        asyncio.run_coroutine_threadsafe(asyncio.start_server(serve, "127.0.0.1", port), self._loop).result(10)

    @staticmethod
    def arguments(about):
        parser = argparse.ArgumentParser(description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        parser.add_argument("--units", default="1,2,3", help="unit ids, with commas")
        parser.add_argument("--size", type=lambda text: int(text, 0), default=0x300, help="registers per table")
        parser.add_argument("--control", type=int, help="loopback port for line-JSON commands")
        parser.add_argument("--ledger", help="JSONL file of everything that was ever held")
        return parser

    def run(self, control_port=None):
        """Serve until interrupted (when run alone)."""
        self.start()
        if control_port:
            self.control(control_port)
        print("serving units", *self.units, flush=True)
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self.stop()
