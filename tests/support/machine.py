"""What a story borrows from the machine: free ports, ptys, a broker."""
import fcntl
import functools
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from support.waiting import wait_until

PEERS = pathlib.Path(__file__).parent.parent / "peers"


PORTS, BLOCK = range(12_000, 32_000), 200  # below 32768, where the kernel takes the near ends of connections from


def free_port():
    """A port of this process alone, given once: no other run of stories gets it between now and its use, whatever is asked in between."""
    return next(_ports())


@functools.cache
def _ports():
    return _ports_of_locked_blocks(pathlib.Path(tempfile.gettempdir()) / "gatehouse-story-ports")


def _ports_of_locked_blocks(folder):
    folder.mkdir(exist_ok=True)
    held = []  # open, and so locked, until the process ends
    for first in PORTS[::BLOCK]:
        lock = open(folder / str(first), "a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        held.append(lock)
        yield from filter(_nobody_listens, range(first, first + BLOCK))
    raise AssertionError(f"no port left of {PORTS}: {folder} says who has them")


def _nobody_listens(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what has ended may have left its last words on the way
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Process:
    """A program that ends with the story. Its talk goes to a file."""

    def __init__(self, command, log):
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as out:
            self.popen = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def stop(self, how=signal.SIGTERM):
        if self.popen.poll() is None:
            self.popen.send_signal(how)
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


class Line(Process):
    """Two ptys joined end to end: `a` is for the gateway, `b` for the peer. With `baud`, bytes take their time on the wire."""

    def __init__(self, folder, name, baud=None):
        self.a, self.b = folder / f"{name}-a", folder / f"{name}-b"
        if baud:
            command = [sys.executable, PEERS / "paced_line.py", self.a, self.b, "--baud", baud]
        else:
            command = ["socat", f"PTY,link={self.a},raw,echo=0", f"PTY,link={self.b},raw,echo=0"]
        super().__init__(command, folder / f"{name}.log")
        wait_until(lambda: os.path.exists(self.a) and os.path.exists(self.b), 10, f"the ptys of {name}", every=0.02)


class Broker(Process):
    """mosquitto on loopback. `tls`: a folder with ca.pem, server.pem, server.key; whoever comes must show a certificate of that authority."""

    def __init__(self, folder, persistence=True, tls=None):
        self.port, self.folder = free_port(), folder / "mosquitto"
        self.folder.mkdir()
        self.conf = self.folder / "mosquitto.conf"
        # `user root`: started as root it would become the user mosquitto, who may not write here
        conf = f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_type all\nlog_dest stderr\n"
        if persistence:
            conf += f"persistence true\npersistence_location {self.folder}/\nautosave_interval 1\n"
        if tls:
            conf += f"cafile {tls}/ca.pem\ncertfile {tls}/server.pem\nkeyfile {tls}/server.key\nrequire_certificate true\n"
        self.conf.write_text(conf)
        self.start()

    def start(self):
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        super().__init__([program, "-c", self.conf], self.folder / "log")
        wait_until(self._answers, 10, "mosquitto listens")

    def kill(self):
        """As a power cut: what it kept in memory only is gone."""
        self.stop(signal.SIGKILL)

    def _answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def subscriptions(self, client_id):
        return self.log.read_text().count(f"Sending SUBACK to {client_id}\n")

    def subscribed(self, client_id):
        return self.subscriptions(client_id) > 0

    def acknowledged(self, client_id):
        """Messages that this client has acknowledged."""
        return self.log.read_text().count(f"Received PUBACK from {client_id} ")
