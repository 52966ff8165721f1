"""modbus_serial_slave.cjs with a truth ledger: the npm library that half the hobby gateways are written with."""
import json
import os
import pathlib
import subprocess

from ledger import Ledger

HERE = pathlib.Path(__file__).parent
NODE_MODULES = pathlib.Path(os.environ.get("GATEHOUSE_NODE_MODULES", HERE.parents[1] / ".npm" / "node_modules"))


class ModbusSerial:
    def __init__(self, port, unit, ledger=None):
        self.port, self.unit, self.ledger = port, unit, ledger or Ledger()

    def start(self):
        command = ["node", HERE / "modbus_serial_slave.cjs", self.port, str(self.unit)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "NODE_PATH": str(NODE_MODULES)})
        assert self.process.stdout.readline() == "serving\n", "modbus-serial does not serve"
        return self

    def set(self, unit, address, values):
        """Held from some time within this call on: the ledger notes its beginning."""
        assert unit == self.unit
        self.ledger.hold(unit, "holding", address, values)
        self.process.stdin.write(json.dumps({"address": address, "values": values}) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ok\n"

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
