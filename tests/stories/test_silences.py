"""Each kind of silence, made by a peer on a line of its own, and what screen and log say of it in both languages."""
import os
import re
import subprocess
import sys

import pytest

from rtu import RtuSlave, framed
from support.gateway import Gateway, run_binary
from support.machine import Line
from support.waiting import wait_until
from test_isolation import write_profile

TIMEOUT = 0.3  # the profile's
pytestmark = pytest.mark.xdist_group("one scene")  # not one in each worker
REFUSING = {1: 0x01, 2: 0x02, 3: 0x03, 4: 0x04, 6: 0x06}  # unit: exception


class Peer(RtuSlave):
    """Answers as `how(unit, reply)` says: [(bytes, after how long)]."""

    def __init__(self, port, how):
        super().__init__(port)
        self.how = how

    def answer(self, unit, code, address, count):
        reply = bytes([unit, code, 2 * count]) + bytes(2 * count)
        for frame, after in self.how(unit, reply, bytes([unit, code]) + address.to_bytes(2, "big") + count.to_bytes(2, "big")):
            self.send(frame, after)


def broken(frame):
    return frame[:-1] + bytes([frame[-1] ^ 0x55])


ANSWERS = {
    "garbage": lambda unit, reply, _: [(broken(framed(reply)), 0.0)],
    "refusing": lambda unit, reply, _: [(framed(bytes([unit, reply[1] | 0x80, REFUSING[unit]])), 0.0)],
    "other-unit": lambda unit, reply, _: [(framed(bytes([unit + 1]) + reply[1:]), 0.0)],
    "late": lambda unit, reply, _: [(framed(reply), TIMEOUT + 0.18)],
    "echo": lambda unit, reply, request: [(framed(request), 0.0)],
    "unasked": lambda unit, reply, _: [(framed(reply), 0.0), (framed(bytes([77, 3, 2, 0, 9])), 0.15)],
}


class Scene:
    """All the lines at once, and the gateway on them."""

    def __init__(self, folder):
        self.folder, self.ending = folder, []
        lines = {name: self.later(Line(folder, name)) for name in ("nothing", "denied", *ANSWERS)}
        for name, how in ANSWERS.items():
            self.later(Peer(lines[name].b, how).start())
        os.chmod(os.path.realpath(lines["denied"].a), 0o000)
        self.holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder / "busy-a")], stdout=subprocess.PIPE, text=True)
        self.holder.stdout.readline()
        ports = {name: line.a for name, line in lines.items()} | {"missing": folder / "no-such-port", "busy": folder / "busy-a"}
        site = write_profile(folder, every="500ms")
        for name, port in ports.items():
            site += f'\n[[bus]]\nid = "{name}"\n[bus.modbus_rtu]\nport = "{port}"\nbaud = 9600\nframing = "8N1"\n'
            for unit in REFUSING if name == "refusing" else (1,):
                site += f'\n[[device]]\nid = "{name}-{unit}"\nname = "{name} {unit}"\nprofile = "isolation/block"\nbus = "{name}"\nunit = "{unit}"\n'
        self.gateway = Confined(folder, site)
        self.gateway.start()

    def later(self, thing):
        self.ending.append(thing)
        return thing

    def stop(self):
        self.gateway.end()
        self.holder.kill()
        self.holder.wait()
        for thing in reversed(self.ending):
            thing.stop()

    def says(self, lang):
        return run_binary("status", "--lang", lang, "--config", self.gateway.config).stdout

    def diagnosis(self, device):
        devices = {one["id"]: one for one in self.gateway.lines("status")[0]["devices"]}
        return devices[device]["diagnosis"]


HOLD = """
import fcntl, os, sys, time
master, slave = os.openpty()
os.symlink(os.ttyname(slave), sys.argv[1])
fcntl.flock(slave, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


class Confined(Gateway):
    """Root may open what nobody may; not without this capability."""

    def command(self):
        confined = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        return [*confined, *super().command()]


@pytest.fixture(scope="module")
def scene(binary, tmp_path_factory):
    made = Scene(tmp_path_factory.mktemp("silences"))
    yield made
    made.stop()


ROWS = [
    ("nothing-1", "silent", "线上没有任何应答；供电 → A/B 对调 → 选错串口 → 收发方向（RTS） → 站号", "nothing answers; power → swap A and B", "silent for"),
    ("garbage-1", "undecodable", "有信号但解不开；波特率/校验 → 终端电阻 → 另有主站 → 干扰", "no checksum is right; baud rate and parity", "no checksum is right"),
    ("refusing-1", "refused", "设备在线：不支持该功能（异常 01）；功能码", "exception 01: no such function", "exception 01: no such function"),
    ("refusing-2", "refused", "设备在线：没有该地址（异常 02）；0 基或 1 基", "exception 02: no such address; counted from 0 or from 1?", "exception 02: no such address"),
    ("refusing-3", "refused", "设备在线：数量超限（异常 03）；拆小读取块", "exception 03: no such quantity", "exception 03: no such quantity"),
    ("refusing-4", "refused", "设备在线：内部故障（异常 04）；看设备面板 → 放慢周期", "exception 04: the device failed", "exception 04: the device failed"),
    ("refusing-6", "refused", "设备在线：忙（异常 06）；看设备面板 → 放慢周期", "exception 06: the device is busy", "exception 06: the device is busy"),
    ("other-unit-1", "other_unit", "应答站号不符（2）；站号重复 → 超时加长", "the answer of another unit (2)", r"the answer of another unit \(2\)"),
    ("late-1", "late", r"应答迟到 \d+ ms；站号重复 → 超时加长", r"its answer came \d+ ms late", r"its answer came \d+ ms late"),
    ("echo-1", "echo", "收到自己的回波；关闭适配器回显", "it hears its own bytes; switch the adapter's echo off", "it hears its own bytes"),
    ("missing-1", "port_missing", "串口 .*no-such-port 不存在；插好适配器", "no-such-port does not exist; plug it in", "no-such-port does not exist"),
    ("busy-1", "port_busy", r"串口 .*busy-a 被 pid \d+ python\S* 占用；结束那个程序", r"busy-a is held by pid \d+ python", r"busy-a is held by pid \d+"),
    ("denied-1", "port_denied", "无权限打开串口 .*denied-a；把运行用户加入 dialout 组", "no permission to open the port .*denied-a", "no permission to open the port"),
]


@pytest.mark.parametrize("device, kind, zh, en, log", ROWS, ids=[row[0] for row in ROWS])
def test_a_silence_is_named(scene, device, kind, zh, en, log):
    told = wait_until(lambda: (scene.diagnosis(device) or {}).get("kind") == kind and scene.diagnosis(device), 30, f"{device} is {kind}", every=0.3)
    pattern = re.compile(zh.replace("（", r"\（").replace("）", r"\）") if "\\" not in zh and ".*" not in zh else zh)
    bus, text = device.rsplit("-", 1)[0], scene.says("zh")
    line = next((line for line in text.splitlines() if (device in line or f"总线 {bus}" in line) and pattern.search(line)), None)
    assert line, f"{zh}\nnot said of {device} in\n{text}"
    english = scene.says("en")
    assert any(re.search(en.replace("(2)", r"\(2\)").replace("?", r"\?"), line) for line in english.splitlines() if device in line or f"bus {bus}" in line), english
    assert told["checks"] and all(check["zh"] and check["en"] for check in told["checks"])
    words = scene.gateway.log.read_text(errors="replace")
    assert any(re.search(log, line) for line in words.splitlines() if f"bus={bus}" in line), f"{log}\nnot in the log of {bus}:\n{words}"


def test_frames_that_nobody_asked_for_are_named_and_the_link_stays_up(scene):
    gateway = scene.gateway
    status = lambda: next(bus for bus in gateway.lines("status")[0]["buses"] if bus["id"] == "unasked")
    wait_until(lambda: status()["strangers"] >= 2, 20, "frames of a stranger were heard", every=0.3)
    assert "收到非请求帧，已忽略；另有主站 → 主动上报的设备" in scene.says("zh")
    assert "frames that nobody asked for came and were ignored" in scene.says("en")
    assert "Frames come that nobody asked for" in gateway.log.read_text()
    wait_until(lambda: gateway.good("unasked-1", "p0"), 20, "its unit is read all the same", every=0.3)
    assert scene.diagnosis("unasked-1") is None
