"""The compound of the fault runs: help panels over Modbus TCP, residents who press their buttons, endpoints, and the real gateway.

Each press and each letting go is held long enough for the gateway to have read it, whatever else befalls it: so how many
transitions there must be is known, and `support/judge.py` can say what was lost.
"""
import collections
import random
import threading
import time

from pymodbus.server import ModbusTcpServer

from inspector import Inspector
from modbus_tcp import ModbusTcp
from support.gateway import ROOT, SECRET
from support.machine import free_port

PROFILES = ROOT / "tests" / "faults" / "profiles"
HELP, COUNT = 0, 1  # registers: buttons, and how often any was pressed or let go
BUTTONS = {"help": 1, "note": 2}
ACCEPT = "{ status = [200, 201, 202, 204, 409] }"
ACCEPT_BODY = "{ status = [200], body = 'ResponseStatusObject.StatusCode == 0' }"


def http_endpoint(id, port, accept=ACCEPT, timeout="2s", priorities=("critical",), host="127.0.0.1", scheme="http", more=""):
    return f"""
[[endpoint]]
id      = "{id}"
purpose = "safety-inspection"
[endpoint.http]
url     = "{scheme}://{host}:{port}/api/alarms"
secret  = {{ file = "inspection-secret" }}
accept  = {accept}
timeout = "{timeout}"
{more}
[endpoint.wants]
classes    = ["panel"]
priorities = [{", ".join(f'"{p}"' for p in priorities)}]
data       = ["public", "operational"]
"""


class PanelServer(ModbusTcp):
    """`answers`: when each unit was last read, the latest `KEPT` times (monotonic)."""

    KEPT = 3

    def __init__(self, port, units, **more):
        super().__init__(port, units, **more)
        self.answers = {unit: collections.deque(maxlen=self.KEPT) for unit in self.units}

    def build(self, devices):
        return ModbusTcpServer(devices, address=("127.0.0.1", self.port), trace_pdu=self._note)

    def _note(self, sending, pdu):
        if sending:
            self.answers[pdu.dev_id].append(time.monotonic())
        return pdu


class Panels:
    """`count` help panels, as pymodbus holds them; `port` is where."""

    def __init__(self, count):
        self.names = [f"panel-{n}" for n in range(1, count + 1)]
        self.server = PanelServer(free_port(), range(1, count + 1), size=8)
        self.port, self.ledger = self.server.port, self.server.ledger
        self.facts = []                      # (panel, button, pressed, when): every change, in order
        self.held = {(panel, button): (False, 0.0) for panel in self.names for button in BUTTONS}
        self._counts = dict.fromkeys(self.names, 0)
        self._lock = threading.Lock()

    def start(self):
        self.server.start()
        return self

    def stop(self):
        self.server.stop()

    def push(self, panel, pressed, button="help"):
        with self._lock:
            self._counts[panel] += 1
            self.held[panel, button] = (pressed, time.monotonic())
            word = sum(bit for name, bit in BUTTONS.items() if self.held[panel, name][0])
            self.server.set(self.names.index(panel) + 1, HELP, [word, self._counts[panel] & 0xFFFF])
            self.facts.append((panel, button, pressed, time.time()))

    def read_since(self, panel, moment):
        """Whether the panel was read several times, all of them after `moment`."""
        answers = self.server.answers[self.names.index(panel) + 1]
        return len(answers) == PanelServer.KEPT and answers[0] > moment

    def pushes(self, panel, button="help"):
        """[pressed …] of this button, in order."""
        return [pressed for where, what, pressed, _ in self.facts if (where, what) == (panel, button)]

    def site(self):
        return f"""
[[bus]]
id = "lan"
[bus.modbus_tcp]
host = "127.0.0.1"
port = {self.port}

[[device]]
repeat  = "1..{len(self.names)}"
id      = "panel-{{n}}"
name    = "求助面板 {{n}}"
profile = "panel/faults"
bus     = "lan"
unit    = "{{n}}"
"""


class Residents:
    """Press and let go at random. A button is held for `hold` seconds at least of one and the same life of the gateway, and until it was read
    several times in that: however busy the machine is."""

    def __init__(self, panels, alive_since, hold=1.5, rest=0.5, seed=1, buttons=("help",)):
        """`alive_since()`: when the gateway's present life began (monotonic), None while it has none."""
        self.panels, self.alive_since, self.hold, self.rest, self.buttons = panels, alive_since, hold, rest, buttons
        self._chance, self._leave = random.Random(seed), threading.Event()
        self._due = {key: 0.0 for key in panels.held if key[1] in buttons}
        self._thread = threading.Thread(target=self._live, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def _seen(self, key):
        """The gateway has had time enough to read what is held."""
        alive = self.alive_since()
        if alive is None:
            return False
        since = max(alive, self.panels.held[key][1])
        return time.monotonic() - since >= self.hold and self.panels.read_since(key[0], since)

    def _live(self):
        while not self._leave.wait(0.02):
            for key, due in self._due.items():
                if time.monotonic() >= due and self._seen(key):
                    self.panels.push(key[0], not self.panels.held[key][0], key[1])
                    self._due[key] = time.monotonic() + self.hold + self._chance.uniform(0, self.rest)

    def go_home(self):
        """Everybody lets go; returns when the gateway has had the time to read that."""
        self.stop()
        for step in range(2):  # first what is held is let be read, then what was let go
            while not all(self._seen(key) for key in self._due):
                time.sleep(0.02)
            for key in self._due:
                if step == 0 and self.panels.held[key][0]:
                    self.panels.push(key[0], False, key[1])
        return self

    def stop(self):
        self._leave.set()
        if self._thread.is_alive():
            self._thread.join(10)


def site_text(folder, store=None, sizes=""):
    """What every site of the fault runs begins with. `sizes`: more keys of `[store]`."""
    (folder / "inspection-secret").write_text(SECRET)
    (folder / "inspection-secret").chmod(0o600)
    return f"""
[site]
id       = "faults"
name     = "故障小区"
timezone = "Asia/Shanghai"
profile_dirs = ["{PROFILES}"]

[store]
dir = "{store or folder / 'store'}"
{sizes}

[console]
listen = "127.0.0.1:{free_port()}"

[chattering]
more_than = 1000    # the judge counts letters, each by itself
[flood]
more_than = 1000000
"""


def inspectors(*names):
    """{name: a receiver of its own, up}."""
    return {name: Inspector(free_port(), SECRET).set("up") for name in names}
