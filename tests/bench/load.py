#!/usr/bin/env python3
"""What the gateway costs: N Modbus TCP devices × 50 holding registers each second, decoded, rules evaluated, stored.

    python3 tests/bench/load.py                     100 devices, then 1 000, each for 60 s
    python3 tests/bench/load.py --devices 100 --seconds 20
    python3 tests/bench/load.py --devices 100 --seconds 3600 --nature noise         with packing, which comes every few minutes

Prints CPU, memory, bytes written per reading and the achieved period. Nothing is asserted: machines differ. The first
seconds (start-up, first pages of the databases) are left out of CPU and bytes; memory is that of the whole run. With BENCH_DIR on a file system that
nobody else uses, what its device took is printed too, the file system's journal included.
"""
import argparse
import contextlib
import json
import os
import pathlib
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[2]
POINTS, BUSES, WARM_UP = 50, 10, 5.0

CLASS = """class = "bench-meter"
title = { zh = "测量", en = "bench meter" }
%s
[[alarm]]
name     = "high"
title    = { zh = "高", en = "high" }
priority = "low"
when     = 'p1 > 60000.0 && p2 > 60000.0'
on_delay = "5s"

[[alarm]]
name     = "unlikely"
title    = { zh = "少见", en = "unlikely" }
priority = "high"
when     = 'p3 < 1.0 || (p4 > p5 * 50.0 && p6 != p7)'
on_delay = "5s"
"""


def class_text(points):
    return CLASS % "".join(f'\n[[point]]\nname = "p{i}"\nkind = "number"\n' for i in range(points))


PROFILE = """profile  = "bench-meter/walk"
revision = 1
title    = { zh = "随机游走", en = "random walk" }
products = ["none: tests/bench/modbus_field.py"]
source   = "tests/bench/modbus_field.py"

[modbus]
address_base = 0
timeout      = "500ms"
%s"""


def profile_text(points, every, more=""):
    point = '\n[[point]]\nname  = "p{i}"\nread  = {{ table = "holding", address = {i}, type = "u16" }}\nevery = "{every}"\n'
    return PROFILE % more + "".join(point.format(i=i, every=every) for i in range(points))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_site(folder, ports, devices, points=POINTS, every="1s", more=""):
    kind = folder / "profiles" / "bench-meter"
    kind.mkdir(parents=True)
    (kind / "class.toml").write_text(class_text(points))
    (kind / "walk.toml").write_text(profile_text(points, every, more))
    text = f"""[site]
id = "bench"
name = "bench"
timezone = "Asia/Shanghai"
profile_dirs = ["{folder / 'profiles'}"]

[store]
dir = "{folder / 'store'}"

[console]
listen = "127.0.0.1:{free_port()}"
"""
    for bus, port in enumerate(ports):
        text += f"""
[[bus]]
id = "bus-{bus}"
[bus.modbus_tcp]
host = "127.0.0.1"
port = {port}

[[device]]
repeat  = "1..{devices // len(ports)}"
id      = "meter-{bus}-{{n}}"
name    = "meter {bus}-{{n}}"
profile = "bench-meter/walk"
bus     = "bus-{bus}"
unit    = "{{n}}"
"""
    (folder / "gatehouse.toml").write_text(text)
    return folder / "gatehouse.toml"


def device_bytes(where):
    """What the block device under `where` has taken; None if it has none of its own."""
    device = os.stat(where).st_dev
    try:
        return 512 * int(pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()[6])
    except OSError:
        return None


class Usage:
    """What /proc says of a process, now."""

    def __init__(self, pid, where=None):
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        self.cpu = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        read = lambda name: dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/{name}").read_text().splitlines())
        status, io = read("status"), read("io")
        self.rss, self.peak = (int(status[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))
        self.written = int(io["write_bytes"])
        self.device = device_bytes(where) if where else None
        self.at = time.monotonic()


def measure(binary, devices, seconds, nature):
    with tempfile.TemporaryDirectory(prefix="gatehouse-bench-", dir=os.environ.get("BENCH_DIR")) as where:
        folder = pathlib.Path(where)
        ports = [free_port() for _ in range(BUSES)]
        config, report = write_site(folder, ports, devices), folder / "reads.jsonl"
        field = subprocess.Popen([sys.executable, ROOT / "tests/bench/modbus_field.py", *map(str, ports), "--report", str(report), "--nature", nature],
                                 stdout=subprocess.PIPE, text=True)
        gateway = None
        try:
            field.stdout.readline()
            with open(folder / "log", "w") as log:
                gateway = subprocess.Popen([str(binary), "run", "--config", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            time.sleep(WARM_UP)
            if gateway.poll() is not None:
                sys.exit(f"gatehouse run ended with {gateway.returncode}:\n{(folder / 'log').read_text()}")
            begun = Usage(gateway.pid, folder)
            time.sleep(seconds)
            if os.environ.get("BENCH_DIR"):
                os.sync()
            ended = Usage(gateway.pid, folder)
            stored = stored_readings(binary, config, devices)
            field.send_signal(signal.SIGTERM)
            field.wait(20)
            kept = kept_bytes(folder / "store")
            disk = sum(f.stat().st_size for f in (folder / "store").rglob("*") if f.is_file())
        finally:
            for process in (gateway, field):
                if process and process.poll() is None:
                    process.terminate()
                    process.wait(20)
        units = [json.loads(line) for line in open(report)]
        return begun, ended, units, stored, disk, kept


def kept_bytes(store):
    """Of what is packed: rows, and bytes with their share of the index. None before the first packing."""
    with contextlib.closing(sqlite3.connect(f"file:{store}/telemetry.db?mode=ro", uri=True)) as db:
        rows, size, blocks = db.execute("SELECT sum(rows), sum(length(bytes)), count(*) FROM block").fetchone()
    return rows and (rows, size + 40 * blocks)


def stored_readings(binary, config, devices):
    """{device: rows} of one device a bus: how many readings `readings` shows."""
    counts = {}
    for bus in range(BUSES):
        device = f"meter-{bus}-{devices // BUSES}"
        out = subprocess.run([str(binary), "readings", device, "--json", "--config", str(config)], capture_output=True, text=True, timeout=120)
        counts[device] = sum(1 for line in out.stdout.splitlines() if line.startswith("{"))
    return counts


def show(devices, seconds, nature, begun, ended, units, stored, disk, kept):
    took = ended.at - begun.at
    windows = [[t for t in unit["reads"] if begun.at <= t <= ended.at] for unit in units]
    asked = sum(map(len, windows)) * POINTS
    gaps = [b - a for reads in windows for a, b in zip(reads, reads[1:])]
    written = ended.written - begun.written
    sampled = {f"meter-{bus}-{devices // BUSES}" for bus in range(BUSES)}
    rows = [("devices that were read", f"{len(units)} of {devices}"),
            ("CPU", f"{100 * (ended.cpu - begun.cpu) / took:.1f} % of a core"),
            ("VmRSS / VmHWM", f"{ended.rss:.1f} / {ended.peak:.1f} MiB"),
            ("readings asked", f"{asked} in {took:.0f} s ({asked / took:.0f}/s)"),
            ("bytes written per reading", f"{written / max(asked, 1):.2f} (/proc/PID/io: {written / 1e6:.1f} MB)"),
            ("… its device took", "not known" if not os.environ.get("BENCH_DIR") or begun.device is None
             else f"{(ended.device - begun.device) / max(asked, 1):.2f} a reading, with the file system's journal"),
            ("bytes kept per reading", f"{kept[1] / kept[0] / POINTS:.2f} in blocks ({kept[0]} rows)" if kept else "nothing packed yet"),
            ("store on disk at the end", f"{disk / 1e6:.1f} MB"),
            ("achieved period", f"{statistics.mean(gaps):.4f} s ± {statistics.pstdev(gaps):.4f}, longest {max(gaps):.2f} s" if gaps else "none"),
            ("readings stored", f"{sum(stored.values())} of {len(sampled)} sampled devices, asked of them from start on: "
                                f"{sum(len(u['reads']) for u in units if u['unit'] == devices // BUSES) * POINTS}")]
    print(f"\n{devices} devices × {POINTS} registers each second, {seconds:.0f} s, values: {nature}")
    for name, value in rows:
        print(f"  {name:<28}{value}")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--binary", type=pathlib.Path, default=os.environ.get("GATEHOUSE_BIN", target / "release" / "gatehouse"))
    parser.add_argument("--devices", type=int, action="append", help="a multiple of 10; may be given more than once (default: 100, 1000)")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--nature", choices=["quiet", "walk", "noise"], default="walk", help="how the values behave: tests/bench/modbus_field.py")
    a = parser.parse_args()
    for count in a.devices or [100, 1000]:
        show(count, a.seconds, a.nature, *measure(a.binary, count, a.seconds, a.nature))
