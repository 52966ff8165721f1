#!/usr/bin/env python3
"""Registers per CPU second: the gateway, with decoding, rules and storing, against a bare tokio-modbus loop (tests/bench/bare).

    python3 tests/bench/cost.py                        both, three times in turn, against the same server (tests/bench/field.c)
    python3 tests/bench/cost.py --registers 125 --seconds 10 --rounds 1

Both ask for blocks of the same size over 10 connections. The gateway is asked for more than it can do (every unit each 10 ms), so that
both run flat out. Only what is stored counts: at the end the rows of telemetry.db are held against what the server gave.
Prints the median of the rounds' ratios, each of two runs side by side in time, and the range; the bar is 0.60. Needs cargo build --release; the bare loop is built here.
"""
import argparse
import contextlib
import json
import os
import pathlib
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

from load import BUSES, ROOT, WARM_UP, Usage, free_port, write_site

UNITS = 100  # a connection: more than can be asked, so that both run flat out


class Field:
    def __init__(self, folder, ports):
        program = folder / "field"
        subprocess.run(["cc", "-O2", ROOT / "tests/bench/field.c", "-o", program], check=True)
        self.process = subprocess.Popen([program, *map(str, ports)], stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def registers(self):
        """How many it gave so far."""
        self.process.send_signal(signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())["registers"]


def lost_rows(status):
    """How many rows the gateway says it lost since its start; nothing is asked of the bare loop, which keeps none."""
    if status is None:
        return 0
    out = subprocess.run(status, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(out.stdout)["readings_lost"]


def varint(rest):
    number, shift = 0, 0
    while True:
        byte = rest.pop(0)
        number, shift = number | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return number


def stored_rows(store):
    """How many rows telemetry.db has, counted from its bytes: those in blocks, and those of the tail that are in no block yet."""
    with contextlib.closing(sqlite3.connect(f"file:{store}/telemetry.db?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT ifnull(sum(rows), 0) FROM block").fetchone()[0]
        for (slot,) in db.execute("SELECT bytes FROM tail WHERE seq > (SELECT seq FROM packed)"):
            while slot and (length := int.from_bytes(slot[:4], "little")):
                sections, slot = list(slot[8 : 8 + length]), slot[8 + length :]
                while sections:
                    _series, _place, count, bits = (varint(sections) for _ in range(4))
                    rows, sections = rows + count, sections[bits:]
    return rows


def measure(command_of, a):
    """Registers per CPU second and per second, CPU share, and how many of the answers were not stored. The program's start is left out of the first three;
    the CPU is that of all its threads."""
    with tempfile.TemporaryDirectory(prefix="gatehouse-cost-", dir=os.environ.get("BENCH_DIR")) as where:
        folder = pathlib.Path(where)
        ports = [free_port() for _ in range(BUSES)]
        field = Field(folder, ports)
        command, status = command_of(folder, ports)
        with open(folder / "log", "w") as log:
            program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            time.sleep(WARM_UP)
            if program.poll() is not None:
                sys.exit(f"it ended with {program.returncode}:\n{(folder / 'log').read_text()}")
            lost_before, before, begun = lost_rows(status), field.registers(), Usage(program.pid)
            time.sleep(a.seconds)
            after, ended, lost_after = field.registers(), Usage(program.pid), lost_rows(status)
            program.terminate()
            program.wait(20)
            missing = 0 if status is None else field.registers() // a.registers - stored_rows(folder / "store")
        finally:
            for process in (program, field.process):
                if process.poll() is None:
                    process.kill()
                process.wait(20)
    took, cpu = ended.at - begun.at, ended.cpu - begun.cpu
    # what came and was lost is work that nobody has anything of
    got = after - before - (lost_after - lost_before) * a.registers
    return got / cpu, (after - before) / took, cpu / took, missing


def build_bare():
    folder = ROOT / "tests/bench/bare"
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "bare"
    subprocess.run(["cargo", "build", "-q", "--release", "--manifest-path", folder / "Cargo.toml", "--target-dir", target], check=True)
    return target / "release" / "bare_modbus"


def main(a):
    program = build_bare()
    bare = lambda folder, ports: ([program, str(a.registers), str(UNITS), *map(str, ports)], None)

    def gateway(folder, ports):
        config = str(write_site(folder, ports, UNITS * BUSES, a.registers, "10ms", f"pipeline = {a.pipeline}\n"))
        return [a.binary, "run", "--config", config], [a.binary, "status", "--json", "--config", config]

    rates = {"bare tokio-modbus": [], "gatehouse": []}
    all_stored = True
    for round_ in range(a.rounds):
        for name, command_of in zip(rates, (bare, gateway)):
            per_cpu, per_second, share, missing = measure(command_of, a)
            rates[name].append(per_cpu)
            under_way = BUSES * a.pipeline  # answered, and not yet read when the gateway was stopped
            all_stored &= missing <= under_way
            stored = "" if name != "gatehouse" else "   all stored" if missing <= under_way else f"   {missing} answers were NOT stored: they do not count"
            print(f"round {round_ + 1}  {name:<18} {per_cpu / 1e6:6.2f} M registers / CPU s   {per_second / 1e6:6.2f} M/s at {100 * share:.0f} % CPU   "
                  f"{1e6 * a.registers / per_cpu:.1f} µs a request of {a.registers}{stored}", flush=True)
    ratios = sorted(own / bare for own, bare in zip(rates["gatehouse"], rates["bare tokio-modbus"]))
    spread = f"{ratios[0]:.2f} – {ratios[-1]:.2f}"
    print(f"ratio {statistics.median(ratios):.2f} ({spread}) of the bare client's registers per CPU second at {a.registers} registers a request (bar: 0.60{'' if all_stored else ', with everything stored: NOT so here'})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    parser.add_argument("--binary", default=os.environ.get("GATEHOUSE_BIN", target / "gatehouse"))
    parser.add_argument("--registers", type=int, default=50)
    parser.add_argument("--pipeline", type=int, default=16, help="requests at once on a connection, as the gateway's profile allows it")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    main(parser.parse_args())
