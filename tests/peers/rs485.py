#!/usr/bin/env python3
"""An RS-485 bus that takes time: one master, several slaves, each on a pty; every byte costs its bits on the one pair of wires.

A request reaches the slave that it names when its last byte is through, a reply reaches the master byte by byte. What is sent while
the wire is busy waits, and is counted as a collision. A unit without a slave is a wire that leads nowhere.

On SIGTERM the ledger is written, one JSON line a frame: {"from": "master" or unit, "sent", "begun", "ended", "delivered", "frame",
"collided"}: when it was handed over, when its first bit was on the wire and its last, and when we really handed it on, in seconds of wall time.
"""
import argparse
import json
import os
import select
import signal
import time
import tty


def pty(link):
    """A pty that appears at `link`; both ends are held here, so that a client may close and come back without a hang-up."""
    master, slave = os.openpty()
    tty.setraw(master), tty.setraw(slave)
    os.set_blocking(master, False)
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(os.ttyname(slave), link)
    return master


class Wire:
    def __init__(self, master, slaves, baud, bits):
        self.master, self.slaves = pty(master), {unit: pty(link) for unit, link in slaves.items()}
        self.unit_at = {fd: unit for unit, fd in self.slaves.items()}
        self.character, self.free = bits / baud, 0.0
        self.due = []  # (when, fd, bytes, fact), in order: the wire carries one thing after the other
        self.ledger, self.running = [], True

    def carry(self):
        poll = select.poll()
        for fd in (self.master, *self.unit_at):
            poll.register(fd, select.POLLIN)
        while self.running:
            wait = max(0.0, self.due[0][0] - time.time()) if self.due else 0.2
            for fd, _ in poll.poll(wait * 1000):
                self.take(fd, os.read(fd, 4096))
            now, ready = time.time(), 0
            while ready < len(self.due) and self.due[ready][0] <= now:
                _, fd, data, fact = self.due[ready]
                os.write(fd, data)
                fact["delivered"] = now
                ready += 1
            del self.due[:ready]

    def take(self, fd, frame):
        sent = time.time()
        begun = max(sent, self.free)
        self.free = begun + len(frame) * self.character
        fact = {"from": self.unit_at.get(fd, "master"), "sent": sent, "begun": begun, "ended": self.free, "delivered": self.free,
                "frame": frame.hex(), "collided": begun > sent + 0.0005}
        self.ledger.append(fact)
        if fd == self.master:
            slave = self.slaves.get(frame[0])
            if slave is not None:
                self.due.append((self.free, slave, frame, fact))
        else:
            self.due += [(begun + (n + 1) * self.character, self.master, frame[n : n + 1], fact) for n in range(len(frame))]

    def stop(self, *_):
        self.running = False


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("master", help="path at which the master's pty appears")
    parser.add_argument("slaves", nargs="+", metavar="UNIT=PATH", help="paths at which the slaves' ptys appear")
    parser.add_argument("--baud", type=int, default=9600)
    parser.add_argument("--bits", type=int, default=10, help="bits per byte on the wire (8N1: 10)")
    parser.add_argument("--ledger", required=True)
    a = parser.parse_args()
    wire = Wire(a.master, {int(unit): path for unit, path in (word.split("=", 1) for word in a.slaves)}, a.baud, a.bits)
    signal.signal(signal.SIGTERM, wire.stop)
    wire.carry()
    with open(a.ledger, "w") as out:
        out.writelines(json.dumps(fact) + "\n" for fact in wire.ledger)
