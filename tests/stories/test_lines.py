"""Every kind of Modbus line, each with slaves by others behind it: what is read is what they held, also after the line was lost."""
import itertools
import os
import pathlib
import pty
import threading
import time
import tty

from libmodbus_slave import LibmodbusSlave
from modbus_rtu import ModbusAscii
from modbus_serial import ModbusSerial
from modbus_tcp import RtuOverTcp
from modem import Modem
from rtu import framed
from support.gateway import site_head
from support.lift import FLOOR, SPEED
from support.machine import Process, free_port
from support.waiting import wait_until

POINTS = {"floor": (FLOOR, 0, 1), "speed": (SPEED, 500, 1000)}  # address, where its values begin, raw per value: no two registers ever hold the same
PERIOD_NS = 10**9


def bus(name, kind, keys, units):
    devices = "".join(f"""
[[device]]
id      = "{name}-{unit}"
profile = "elevator/story-rtu"
bus     = "{name}"
unit    = {unit}
""" for unit in units)
    return f'\n[[bus]]\nid = "{name}"\n[bus.{kind}]\n{keys}\n{devices}'


class SerialServer(Process):
    """socat as a serial server: one TCP connection at a time on a pty."""

    def __init__(self, folder, name, pty_path):
        self.port = free_port()
        super().__init__(["socat", f"TCP-LISTEN:{self.port},bind=127.0.0.1,reuseaddr,fork,max-children=1,nodelay", f"{pty_path},raw,echo=0"], folder / f"{name}-server.log")


def values(n, unit, address, base):
    return unit * 1000 + base + n % 400


def untrue(gatehouse, name, slave, units):
    """How many good readings there are, and those whose register did not hold that value at that time."""
    seen, wrong = 0, []
    for unit, (point, (address, _, scale)) in itertools.product(units, POINTS.items()):
        for row in gatehouse.good(f"{name}-{unit}", point):
            seen += 1
            words = (round(row["value"] * scale),)
            if words not in slave.ledger.held(unit, "holding", address, row["ns"], PERIOD_NS):
                wrong.append((f"{name}-{unit}", row, words))
    return seen, wrong


def test_every_line_reads_what_its_slaves_hold(tmp_path, line, ending, gateway):
    through, west, ascii_line, mobile = line("east"), line("west"), line("ascii"), line("mobile")
    pymodbus = ending(RtuOverTcp(free_port(), [1, 2, 3]).start())
    server_east, server_west = ending(SerialServer(tmp_path, "east", through.a)), ending(SerialServer(tmp_path, "west", west.a))
    dial_in = free_port()
    slaves = {
        "pymodbus": (pymodbus, [1, 2, 3]),
        "libmodbus": (ending(LibmodbusSlave(through.b, 4).start()), [4]),
        "npm": (ending(ModbusSerial(west.b, 5).start()), [5]),
        "ascii": (ending(ModbusAscii(ascii_line.b, [6, 7]).start()), [6, 7]),
        "modem": (ending(LibmodbusSlave(mobile.b, 8).start()), [8]),
    }
    modem = ending(Modem(("127.0.0.1", dial_in), mobile.a, b"LIFTS-8\r\n", heartbeat=b"ping"))

    def change(n):
        for slave, units in slaves.values():
            for unit, (address, base, _) in itertools.product(units, POINTS.values()):
                slave.set(unit, address, [values(n, unit, address, base)])

    change(0)
    gatehouse = gateway(site_head(tmp_path)
                        + bus("pymodbus", "modbus_rtu_tcp", f'host = "127.0.0.1"\nport = {pymodbus.port}', [1, 2, 3])
                        + bus("libmodbus", "modbus_rtu_tcp", f'host = "127.0.0.1"\nport = {server_east.port}', [4])
                        + bus("npm", "modbus_rtu_tcp", f'host = "127.0.0.1"\nport = {server_west.port}', [5])
                        + bus("ascii", "modbus_ascii", f'port = "{ascii_line.a}"', [6, 7])
                        + bus("modem", "modbus_dtu", f'listen = "127.0.0.1:{dial_in}"\nregistration = "LIFTS-8"\nheartbeat = "ping"\nlatency = "300ms"', [8])).start()
    modem.start()
    begun = time.monotonic()
    for n in itertools.count(1):
        if time.monotonic() - begun > 8:
            break
        change(n)
        if n == 20:
            modem.redial()
        time.sleep(0.1)  # the registers change on; nothing is waited for

    for name, (slave, units) in slaves.items():
        seen, wrong = untrue(gatehouse, name, slave, units)
        print(f"{name}: {seen} readings of {len(units)} units, all true")
        assert not wrong, wrong[:5]
        assert seen >= len(units) * len(POINTS) * 4, f"{name}: only {seen} readings\n{gatehouse.talk()}"
    assert modem.calls == 2 and modem.beats > 10, (modem.calls, modem.beats)

    # a serial server that loses its power, and has it again
    before = len(gatehouse.good("pymodbus-1"))
    slave, units = slaves.pop("pymodbus")
    slave.stop()
    wait_until(lambda: gatehouse.readings("pymodbus-1")[-1]["quality"] == "comm_fail", 10, "the loss is told")
    back = RtuOverTcp(slave.port, units, ledger=slave.ledger)
    ending(back.start())
    slaves["pymodbus"] = (back, units)
    change(1)
    wait_until(lambda: len(gatehouse.good("pymodbus-1")) > before + 2, 15, "read again")
    seen, wrong = untrue(gatehouse, "pymodbus", back, units)
    assert not wrong, wrong[:5]


class Adapter:
    """A USB adapter with one slave: plugged in, its name leads to a pty; unplugged, the name is gone and the pty dead."""

    def __init__(self, link, unit):
        self.link, self.unit, self.answers = pathlib.Path(link), unit, 0

    def plug_in(self):
        self.master, terminal = pty.openpty()
        tty.setraw(terminal)
        self._kept, self.answers = terminal, 0
        os.symlink(os.ttyname(terminal), self.link)
        self._thread = threading.Thread(target=self._serve, args=(self.master,), daemon=True)
        self._thread.start()

    def _serve(self, master):
        heard = b""
        while True:
            try:
                heard += os.read(master, 256)
            except OSError:
                return
            while len(heard) >= 8:
                count = heard[5]
                request, heard = heard[:8], heard[8:]
                if request == b"unplug!!":
                    return
                body = bytes([self.unit, 3, 2 * count]) + bytes([0, self.unit]) * count
                os.write(master, framed(body))
                self.answers += 1

    def unplug(self):
        os.unlink(self.link)
        os.write(self._kept, b"unplug!!")  # the slave's thread lets go
        self._thread.join(5)
        os.close(self._kept)
        os.close(self.master)


def descriptors(gatehouse):
    folder = pathlib.Path(f"/proc/{gatehouse.process.pid}/fd")
    return sorted(os.readlink(fd) for fd in folder.iterdir() if fd.is_symlink())


def test_a_hundred_times_unplugged_and_back(tmp_path, gateway):
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    adapters = [Adapter(by_id / f"usb-adapter-{unit}", unit) for unit in range(1, 11)]
    for adapter in adapters:
        adapter.plug_in()
    site = site_head(tmp_path) + "".join(bus(f"line-{a.unit}", "modbus_rtu", f'port = "{a.link}"\nbaud = 115200', [a.unit]) for a in adapters)
    gatehouse = gateway(site).start()
    for adapter in adapters:
        wait_until(lambda: adapter.answers > 2, 15, f"{adapter.link} is read", every=0.02)
    terminals = lambda: [fd for fd in descriptors(gatehouse) if fd.startswith("/dev/pts")]
    before = len(descriptors(gatehouse))
    assert len(terminals()) == len(adapters)

    longest = 0.0
    for _ in range(10):
        for adapter in adapters:
            adapter.unplug()
        wait_until(lambda: not terminals(), 10, "the dead ports are let go", every=0.02)
        for adapter in adapters:
            adapter.plug_in()
        back = time.monotonic()
        for adapter in adapters:
            wait_until(lambda: adapter.answers > 2, 10, f"{adapter.link} is read again within 10 s", every=0.02)
            longest = max(longest, time.monotonic() - back)
    after = len(descriptors(gatehouse))
    print(f"100 times unplugged: {before} descriptors before, {after} after; read again after {longest:.2f} s at most")
    assert len(terminals()) == len(adapters)
    assert after <= before, descriptors(gatehouse)
    for adapter in adapters:
        rows = gatehouse.readings(f"line-{adapter.unit}-{adapter.unit}", "floor")
        assert {row["value"] for row in rows if row["quality"] == "good"} == {float(adapter.unit)}, rows
        assert any(row["quality"] == "comm_fail" for row in rows), "the loss was told"
