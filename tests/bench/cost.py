#!/usr/bin/env python3
"""Registers per CPU second: the gateway, with decoding, rules and storing, against a bare tokio-modbus loop (tests/bench/bare).

    python3 tests/bench/cost.py                        both, three times in turn, against the same server (tests/bench/field.c)
    python3 tests/bench/cost.py --registers 125 --seconds 10 --rounds 1

Both ask for blocks of the same size over 10 connections. The gateway is asked for more than it can do (every unit each 10 ms), so that
both run flat out. Prints the ratio of the medians; the bar is 0.60. Needs cargo build --profile ci; the bare loop is built here.
"""
import argparse
import json
import os
import pathlib
import signal
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


def measure(command_of, seconds):
    """(registers per CPU second, registers per second, CPU share) of the program; its start is left out."""
    with tempfile.TemporaryDirectory(prefix="gatehouse-cost-", dir=os.environ.get("BENCH_DIR")) as where:
        folder = pathlib.Path(where)
        ports = [free_port() for _ in range(BUSES)]
        field = Field(folder, ports)
        with open(folder / "log", "w") as log:
            program = subprocess.Popen(command_of(folder, ports), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            time.sleep(WARM_UP)
            if program.poll() is not None:
                sys.exit(f"it ended with {program.returncode}:\n{(folder / 'log').read_text()}")
            before, begun = field.registers(), Usage(program.pid)
            time.sleep(seconds)
            after, ended = field.registers(), Usage(program.pid)
        finally:
            for process in (program, field.process):
                process.terminate()
                process.wait(20)
            lost = "readings are lost" in (folder / "log").read_text()
    took, cpu = ended.at - begun.at, ended.cpu - begun.cpu
    return (after - before) / cpu, (after - before) / took, cpu / took, lost


def build_bare():
    folder = ROOT / "tests/bench/bare"
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "bare"
    subprocess.run(["cargo", "build", "-q", "--release", "--manifest-path", folder / "Cargo.toml", "--target-dir", target], check=True)
    return target / "release" / "bare_modbus"


def main(a):
    program = build_bare()
    bare = lambda folder, ports: [program, str(a.registers), str(UNITS), *map(str, ports)]
    gateway = lambda folder, ports: [a.binary, "run", "--config", str(write_site(folder, ports, UNITS * BUSES, a.registers, "10ms", f"pipeline = {a.pipeline}\n"))]
    rates = {"bare tokio-modbus": [], "gatehouse": []}
    for round_ in range(a.rounds):
        for name, command_of in zip(rates, (bare, gateway)):
            per_cpu, per_second, share, lost = measure(command_of, a.seconds)
            rates[name].append(per_cpu)
            print(f"round {round_ + 1}  {name:<18} {per_cpu / 1e6:6.2f} M registers / CPU s   {per_second / 1e6:6.2f} M/s at {100 * share:.0f} % CPU   "
                  f"{1e6 * a.registers / per_cpu:.1f} µs a request of {a.registers}"
                  + ("   but the store did not keep up: some were not stored" if lost else ""), flush=True)
    ratio = statistics.median(rates["gatehouse"]) / statistics.median(rates["bare tokio-modbus"])
    print(f"ratio {ratio:.2f} of the bare client's registers per CPU second at {a.registers} registers a request (bar: 0.60)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "ci"
    parser.add_argument("--binary", default=os.environ.get("GATEHOUSE_BIN", target / "gatehouse"))
    parser.add_argument("--registers", type=int, default=50)
    parser.add_argument("--pipeline", type=int, default=16, help="requests at once on a connection, as the gateway's profile allows it")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    main(parser.parse_args())
