"""A network of its own for the gateway: a namespace joined to ours by one cable, on which packets can be lost, held up or let through slowly."""
import os
import pathlib
import socket
import struct
import subprocess
import threading
import time


def run(*words):
    return subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True).stdout


class Cable:
    """`near` is our end's address, where relays listen; what runs by `around` is at the far end, with `near` as its name server. A second
    cable, to `field`, stays well whatever befalls the first."""

    def __init__(self):
        number = os.getpid() % 65_536
        self.name = f"gh{number}"
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        net, host = f"10.{200 + number // 8192}.{number // 32 % 256}", number % 32 * 8
        self.near = self._join("n", f"{net}.{host + 1}", f"{net}.{host + 2}")
        self.field = self._join("f", f"{net}.{host + 5}", f"{net}.{host + 6}")
        self._etc = pathlib.Path("/etc/netns") / self.name  # `ip netns exec` lays its files over those of /etc
        self._etc.mkdir(parents=True)
        (self._etc / "resolv.conf").write_text(f"nameserver {self.near}\noptions timeout:5 attempts:2\n")
        (self._etc / "nsswitch.conf").write_text("hosts: files dns\n")
        self.around = ["ip", "netns", "exec", self.name]
        self.inside("nft", "add", "table", "inet", "gh")
        for hook in ("input", "output"):
            self.inside("nft", f"add chain inet gh {hook} {{ type filter hook {hook} priority 0 ; }}")

    def _join(self, which, near, far):
        ours, theirs = f"{self.name}{which}0", f"{self.name}{which}1"
        run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", self.name)
        run("ip", "addr", "add", f"{near}/30", "dev", ours)
        run("ip", "link", "set", ours, "up")
        run("ip", "-n", self.name, "addr", "add", f"{far}/30", "dev", theirs)
        run("ip", "-n", self.name, "link", "set", theirs, "up")
        return near

    def inside(self, *words):
        return run(*self.around, *words)

    def lose(self, port, share=100, ways=("input", "output")):
        """So many of a hundred packets of connections to this port of the near end are lost, each way."""
        chance = f"numgen random mod 100 < {share}" if share < 100 else ""
        for way in ways:
            self.inside("nft", f"add rule inet gh {way} tcp {'sport' if way == 'input' else 'dport'} {port} {chance} drop")

    def rate(self, bits):
        bucket = ["root", "tbf", "rate", bits, "burst", "2kb", "latency", "400ms"]
        run("tc", "qdisc", "replace", "dev", f"{self.name}n0", *bucket)
        self.inside("tc", "qdisc", "replace", "dev", f"{self.name}n1", *bucket)

    def mend(self):
        for way in ("input", "output"):
            self.inside("nft", "flush", "chain", "inet", "gh", way)
        subprocess.run(["tc", "qdisc", "del", "dev", f"{self.name}n0", "root"], capture_output=True)
        subprocess.run([*self.around, "tc", "qdisc", "del", "dev", f"{self.name}n1", "root"], capture_output=True)

    def stop(self):
        subprocess.run(["ip", "netns", "del", self.name], check=True)
        for which in "nf":  # they go with their other ends, a moment later
            subprocess.run(["ip", "link", "del", f"{self.name}{which}0"], capture_output=True)
        for file in self._etc.glob("*"):
            file.unlink()
        if self._etc.exists():
            self._etc.rmdir()


class Relay:
    """Listens on `host` and passes on to a port of loopback, each piece `delay` seconds later."""

    def __init__(self, host, target):
        self.target, self.delay, self.connections = target, 0.0, 0
        self._socket = socket.create_server((host, 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    def _pass(self, a, b):
        try:
            while piece := a.recv(65536):
                time.sleep(self.delay)
                b.sendall(piece)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        if a.fileno() < 0:
            b.close()

    def stop(self):
        self._socket.close()


class NameServer:
    """A DNS server of one answer: an address, "nxdomain", or "hang"."""

    def __init__(self, host):
        self.says, self.asked = "nxdomain", []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                question, whom = self._socket.recvfrom(512)
            except OSError:
                return
            self.asked.append(time.monotonic())
            if self.says == "hang":
                continue
            end = question.index(b"\0", 12) + 5
            kind = struct.unpack_from(">H", question, end - 4)[0]
            found = self.says != "nxdomain" and kind == 1
            head = question[:2] + struct.pack(">HHHHH", 0x8180 | (3 if self.says == "nxdomain" else 0), 1, found, 0, 0)
            answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(self.says) if found else b""
            self._socket.sendto(head + question[12:end] + answer, whom)

    def stop(self):
        self._socket.close()
