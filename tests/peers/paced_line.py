#!/usr/bin/env python3
"""Two ptys joined by a line that takes time: every byte costs 1/baud × bits, as on a real RS-485 wire.

Both ends are held open here, so that a client may close and come back without a hang-up.
"""
import argparse
import os
import random
import select
import time
import tty


def end(link):
    master, slave = os.openpty()
    tty.setraw(master), tty.setraw(slave)
    os.set_blocking(master, False)
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(os.ttyname(slave), link)
    return master, slave


def relay(links, baud, bits=10, flip=0.0, seed=0):
    chance = random.Random(seed)
    ends = [end(link) for link in links]
    masters = [master for master, _ in ends]
    queue, free = ([], []), [0.0, 0.0]  # towards end i: (due, byte); when its wire is free again
    while True:
        dues = [q[0][0] for q in queue if q]
        wait = max(0.0, min(dues) - time.monotonic()) if dues else None
        readable = select.select(masters, [], [], wait)[0]
        now = time.monotonic()
        for i, master in enumerate(masters):
            if master not in readable:
                continue
            for byte in os.read(master, 4096):
                free[1 - i] = max(free[1 - i], now) + bits / baud
                if flip and chance.random() < flip:
                    byte ^= 1 << chance.randrange(8)
                queue[1 - i].append((free[1 - i], byte))
        now = time.monotonic()
        for i, master in enumerate(masters):
            ready = [byte for due, byte in queue[i] if due <= now]
            if ready:
                os.write(master, bytes(ready))
                del queue[i][: len(ready)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("links", nargs=2, help="paths at which the two ptys appear")
    parser.add_argument("--baud", type=int, default=9600)
    parser.add_argument("--bits", type=int, default=10, help="bits per byte on the wire")
    parser.add_argument("--flip", type=float, default=0.0, help="chance that a byte has one bit flipped")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    relay(a.links, a.baud, a.bits, a.flip, a.seed)
