"""The real binary: started, killed, and asked through its command line only."""
import base64
import datetime
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

from support.machine import free_port
from support.waiting import wait_until

ROOT = pathlib.Path(__file__).parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = pathlib.Path(os.environ.get("GATEHOUSE_BIN", TARGET / "ci" / "gatehouse"))
PROFILES = ROOT / "tests" / "stories" / "profiles"
SECRET = "whsec_" + base64.b64encode(b"what the inspector knows").decode()
ENTRAPMENT = "passenger_trapped_suspected"


def site_head(folder):
    """The tables that every site of the stories has. `[console]` gets a port of its own, so that stories can overlap."""
    (folder / "inspection-secret").write_text(SECRET)
    return f"""
[site]
id       = "story"
name     = "故事小区"
timezone = "Asia/Shanghai"
profile_dirs = ["{PROFILES}"]

[store]
dir = "{folder / 'store'}"

[console]
listen = "127.0.0.1:{free_port()}"
"""


def tcp_bus(port, name="lan"):
    return f"""[[bus]]
id = "{name}"
[bus.modbus_tcp]
host = "127.0.0.1"
port = {port}"""


def inspector_table(port, more="", accept="{ status = [200, 201, 202, 204, 409] }"):
    return f"""
[[endpoint]]
id      = "safety-inspection"
purpose = "safety-inspection"
[endpoint.http]
url     = "http://127.0.0.1:{port}/api/alarms"
secret  = {{ file = "inspection-secret" }}
accept  = {accept}
timeout = "2s"
[endpoint.wants]
classes    = ["elevator"]
priorities = ["critical"]
data       = ["public", "operational"]
{more}
"""


def entrapment_table(on_delay, off_delay):
    return f"""
[[alarm]]
class     = "elevator"
name      = "{ENTRAPMENT}"
on_delay  = "{on_delay}"
off_delay = "{off_delay}"
"""


def at_ns(text):
    """RFC 3339 → nanoseconds of wall time."""
    return int(datetime.datetime.fromisoformat(text).timestamp() * 1e6) * 1000


def run_binary(*arguments, timeout=30, **more):
    more.setdefault("env", {**os.environ, "NO_COLOR": "1"})
    return subprocess.run([str(BINARY), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, **more)


class Gateway:
    environment = {}  # besides ours

    def __init__(self, folder, site):
        self.folder, self.config, self.log = folder, folder / "gatehouse.toml", folder / "gatehouse.log"
        self.config.write_text(site)
        self.process = None

    # ── its life ──

    def start(self, ready_within=20):
        """Start it and wait until it has said READY to systemd (that is: to us)."""
        where = tempfile.mkdtemp(prefix="gatehouse-notify-")  # a socket path may not be long
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(f"{where}/s")
            notify.settimeout(0.2)
            with open(self.log, "ab") as out:
                self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=out,
                                                stderr=out, env={**os.environ, "NO_COLOR": "1", "NOTIFY_SOCKET": f"{where}/s", **self.environment})
            wait_until(lambda: self._said_ready(notify), ready_within, "READY=1 from gatehouse run", every=0)
        return self

    def command(self):
        return [str(BINARY), "run", "--config", str(self.config)]

    def _said_ready(self, notify):
        assert self.process.poll() is None, f"gatehouse run ended with {self.process.returncode}:\n{self.talk()}"
        try:
            return b"READY=1" in notify.recv(4096)
        except TimeoutError:
            return False

    def kill(self):
        """As a power cut for the process: SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; returns the exit code and how long it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"gatehouse did not stop within 15 s of SIGTERM:\n{self.talk()}") from None
        return code, time.monotonic() - begun

    def end(self):
        """At the end of a story, however it went."""
        if self.process and self.process.poll() is None:
            self.kill()

    def talk(self, lines=60):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def rss_mib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024

    # ── its command line ──

    def cli(self, *arguments, ok=(0,)):
        done = run_binary(*arguments, "--config", self.config)
        assert done.returncode in ok, f"gatehouse {' '.join(map(str, arguments))} → {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def lines(self, *arguments):
        """The JSON lines of a verb. "Nothing found" (4) is an empty list."""
        out = self.cli(*arguments, "--json", ok=(0, 4)).stdout
        found = [json.loads(line) for line in out.splitlines() if line.strip()]
        return found[0] if len(found) == 1 and isinstance(found[0], list) else found

    def readings(self, device, point=None):
        rows = self.lines("readings", device, *(["--point", point] if point else []))
        for row in rows:
            row["ns"] = at_ns(row["at"])
        return rows

    def good(self, device, point=None):
        return [row for row in self.readings(device, point) if row["quality"] == "good"]

    def alarms(self, device=None, name=ENTRAPMENT):
        """What `alarms list` shows of this alarm, with `name`, `device`, `id` and `state` whatever the exact spelling around them."""
        rows = []
        for row in self.lines("alarms", "list"):
            alarm = row["alarm"] if isinstance(row.get("alarm"), dict) else row
            found = {
                "id": row.get("id") or alarm.get("id") or alarm.get("occurrence"),
                "name": alarm.get("name") or row.get("alarm"),
                "device": row["device"]["id"] if isinstance(row.get("device"), dict) else row.get("device"),
                "state": alarm.get("state") or row.get("state"),
            }
            if found["name"] == name and device in (None, found["device"]):
                rows.append(found)
        return rows

    def state(self, device, name=ENTRAPMENT):
        """The state of the alarm on this device; "closed" when it is not listed."""
        open_ones = [row for row in self.alarms(device, name) if row["state"] != "closed"]
        assert len(open_ones) <= 1, f"the same alarm twice: {open_ones}"
        return open_ones[0]["state"] if open_ones else "closed"

    def acknowledge(self, device, name=ENTRAPMENT, who="值班员"):
        for row in self.alarms(device, name):
            if row["state"].endswith("unacknowledged"):
                self.cli("alarms", "ack", row["id"], "--as", who)
