"""Each kind of silence, made by a peer on a line of its own, and what is said of it in both languages: by screen and log, and by `read` and
`profile test`, first through the running gateway, then on the line itself once the gateway has stopped.

Not among them: frames that nobody asked for, which leave the link up (below), and what only a scan finds (test_tools.py)."""
import collections
import concurrent.futures
import os
import re
import socket
import subprocess
import sys
import threading

import pytest

from libmodbus_slave import LibmodbusSlave
from modbus_tcp import ModbusTcp
from rtu import RtuSlave, framed
from support.gateway import BINARY, Gateway, run_binary
from support.machine import Line, Process, free_port
from support.waiting import wait_until
from test_isolation import write_profile

TIMEOUT = 0.3  # the profile's
# one scene, not one in each worker: a minute for each of its kinds, so it begins first
pytestmark = [pytest.mark.xdist_group("one scene"), pytest.mark.long]
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
    "stray": lambda unit, reply, _: [(b"\x5a\xa5\x00\x13\x37", 0.0)],
    "other-question": lambda unit, reply, _: [(framed(reply[:2] + bytes([reply[2] + 4]) + reply[3:] + bytes(4)), 0.0)],
    "other-master": lambda unit, reply, _: [(framed(bytes([9, 3, 0, 0, 0, 1])), 0.0)],
}


# Without end, asked or not: 16 kB/s. A program of its own that goes ahead of others, and no other between it and its line: on a machine with
# much to do a pause of 50 ms would make it a line that falls silent.
BABBLE = """
import os, sys, time, tty
try:
    os.nice(-15)
except PermissionError:
    pass
master, slave = os.openpty()
tty.setraw(slave)
os.set_blocking(master, False)
os.symlink(os.ttyname(slave), sys.argv[1])
while True:
    try:
        os.write(master, b"U" * 32)
    except BlockingIOError:  # nobody reads
        pass
    time.sleep(0.002)
"""


class Socket(threading.Thread):
    """Takes connections, and does with each what `how(connection)` does."""

    def __init__(self, how):
        super().__init__(daemon=True)
        self.how, self.listener = how, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection):
        with connection:
            try:
                self.how(connection)
            except OSError:  # the other side has gone
                pass

    def stop(self):
        self.listener.close()


def silent(connection):
    while connection.recv(256):
        pass


def hangs_up(connection):
    connection.recv(256)


def babbles(connection):
    while True:
        connection.sendall(b"\x55" * 64)
        threading.Event().wait(0.02)


def two_more(connection):
    """Answers with two registers more than were asked for."""
    while request := connection.recv(256):
        count = int.from_bytes(request[10:12], "big") + 2
        connection.sendall(request[:4] + (3 + 2 * count).to_bytes(2, "big") + request[6:8] + bytes([2 * count]) + bytes(2 * count))


SOCKETS = {"tcp-silent": silent, "tcp-drops": hangs_up, "tcp-babbles": babbles, "tcp-count": two_more}


class Meters:
    """Three DL/T 645 meters: 1 has a short value, 2 one that takes several frames, 3 knows no item."""

    def __init__(self, port):
        self.fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        heard = b""
        try:
            while chunk := os.read(self.fd, 256):
                heard += chunk
                while (at := heard.find(b"\x68")) >= 0 and len(heard) >= at + 16:
                    request, heard = heard[at:at + 16], heard[at + 16:]
                    item = bytes((byte - 0x33) % 256 for byte in request[10:14])
                    control, values = {1: (0x91, item + b"\x07"), 2: (0xB1, item + bytes(200)), 3: (0xD1, b"\x02")}[request[1]]
                    frame = request[:8] + bytes([control, len(values)]) + bytes((byte + 0x33) % 256 for byte in values)
                    os.write(self.fd, frame + bytes([sum(frame) % 256, 0x16]))
        except OSError:  # the line is gone
            pass

    def stop(self):
        os.close(self.fd)


class Scene:
    """All the lines at once, and the gateway on them."""

    def __init__(self, folder):
        self.folder, self.ending = folder, []
        names = ("nothing", "denied", "rs485", "libmodbus", "meters", *ANSWERS)
        lines = {name: self.later(Line(folder, name)) for name in names}
        for name, how in ANSWERS.items():
            self.later(Peer(lines[name].b, how).start())
        self.later(Process([sys.executable, "-c", BABBLE, folder / "babble-a"], folder / "babbler.log"))
        wait_until((folder / "babble-a").exists, 10, "the babbler's port", every=0.02)
        self.later(LibmodbusSlave(lines["libmodbus"].b, 1, size=0)).start()
        self.later(Meters(lines["meters"].b))
        os.chmod(os.path.realpath(lines["denied"].a), 0o000)
        self.holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder / "busy-a")], stdout=subprocess.PIPE, text=True)
        self.holder.stdout.readline()
        ports = {name: line.a for name, line in lines.items()} | {name: folder / f"{name}-a" for name in ("missing", "busy", "babble")}
        sockets = {name: self.later(Socket(how)).port for name, how in SOCKETS.items()}
        sockets |= {"tcp-refuses": free_port(), "pymodbus": self.later(ModbusTcp(free_port(), [1]).start()).port}
        self.port = sockets["tcp-silent"]
        self.gateway = Confined(folder, write_profile(folder, every="500ms") + self.buses(ports, sockets))
        kind = folder / "profiles" / "isolation" / "class.toml"
        kind.write_text(kind.read_text().replace('name = "p0"\n', 'name = "p0"\nrequired = true\n'))
        self.gateway.start()

    @staticmethod
    def buses(ports, sockets):
        site = ""
        for name, port in ports.items():
            table, more = ("dlt645", "") if name == "meters" else ("modbus_rtu", 'baud = 9600\nframing = "8N1"\n' + ("rs485 = {}\n" if name == "rs485" else ""))
            site += f'\n[[bus]]\nid = "{name}"\n[bus.{table}]\nport = "{port}"\n{more}'
        for name, port in sockets.items():
            site += f'\n[[bus]]\nid = "{name}"\n[bus.modbus_tcp]\nhost = "127.0.0.1"\nport = {port}\n'
        for name in [*ports, *sockets]:
            for unit in {"refusing": REFUSING, "meters": (1, 2, 3), "pymodbus": (2,)}.get(name, (1,)):
                profile, at = ("power-line/dlt645-2007-single-phase", "address") if name == "meters" else ("isolation/block", "unit")
                site += f'\n[[device]]\nid = "{name}-{unit}"\nname = "{name} {unit}"\nprofile = "{profile}"\nbus = "{name}"\n{at} = "{unit}"\n'
        return site

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


# root may open what nobody may; not without this capability
CONFINED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


class Confined(Gateway):
    def command(self):
        return [*CONFINED, *super().command()]


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
    ("missing-1", "port_missing", "串口 .*missing-a 不存在；插好适配器", "missing-a does not exist; plug it in", "missing-a does not exist"),
    ("busy-1", "port_busy", r"串口 .*busy-a 被 pid \d+ python\S* 占用；结束那个程序", r"busy-a is held by pid \d+ python", r"busy-a is held by pid \d+"),
    ("denied-1", "port_denied", "无权限打开串口 .*denied-a；把运行用户加入 dialout 组", "no permission to open the port .*denied-a", "no permission to open the port"),
    ("stray-1", "undecodable", r"有信号但解不开（5 字节）；波特率/校验", r"5 bytes that are not its answer; baud rate", "5 bytes that are not its answer"),
    ("other-question-1", "other_question", "应答的是别的问题；超时加长 → 另有主站", "the answer to another question; a longer timeout → another master?", "the answer to another question"),
    ("other-master-1", "other_master", "线上有别的主站；断开别的主站：一条线只能有一个", "another master is on the line; disconnect it", "another master is on the line"),
    ("babble-1", "babble", r"有设备不停地发（\d+ 秒 \d+ 字节）；逐台断开，找出是哪一台 → 干扰", r"somebody talks without end \(\d+ bytes in \d+ s\); disconnect one", r"carries \d+ bytes in .* that nobody asked for"),
    ("rs485-1", "no_direction", r"rs485-a 的驱动不提供 RS-485 方向控制.*；适配器自己换向就去掉 rs485 → 否则换驱动支持的串口", r"; leave rs485 out if the adapter switches by itself", "Bus is down"),
    ("libmodbus-1", "refused", "设备在线：没有该地址（异常 02）；0 基或 1 基", "exception 02: no such address; counted from 0 or from 1?", "exception 02: no such address"),
    ("pymodbus-2", "refused", "设备在线：内部故障（异常 04）；看设备面板 → 放慢周期", "exception 04: the device failed; look at the device's panel", "exception 04: the device failed"),
    ("tcp-silent-1", "silent", "没有任何应答；供电 → 网络 → 站号", "nothing answers; power → the network → unit id", "silent for"),
    ("tcp-drops-1", "hung_up", "设备断开了连接（.*）；别的主站占用了它的连接 → 供电", r"the connection was closed by the device \(.*\); does another master hold", "the connection was closed by the device"),
    ("tcp-babbles-1", "foreign", "应答的协议不对；端口和协议选错", "not Modbus; the right port and protocol?", "not Modbus"),
    ("tcp-count-1", "count", r"应答了 \d+ 个值，问的是 \d+ 个；拆小读取块", r"\d+ values instead of \d+; fewer registers at once", r"\d+ values instead of \d+"),
    ("tcp-refuses-1", "line_down", r"线路不通（127.0.0.1:\d+：连接被拒绝，.*）；供电 → 网线或适配器", r"the line is down \(127.0.0.1:\d+: .*refused.*\); power → cable", "Bus is down"),
    ("meters-1", "length", r"应答 1 字节，模板读 \d 字节；型号和总线不配", r"1 bytes, where the profile reads \d; does the profile fit the bus", "where the profile reads"),
    ("meters-2", "in_parts", "应答分成几帧，读不了；改读单项数据标识", "the answer comes in several frames, which are not read; read single items", "comes in several frames"),
    ("meters-3", "refused", "设备在线：拒绝（错误 02 .*）；查设备手册的错误码", "error 02: .*; the error in the device's manual", "error 02"),
]


def pattern(words):
    return re.compile(words if "\\" in words or ".*" in words else re.escape(words))


@pytest.mark.parametrize("device, kind, zh, en, log", ROWS, ids=[row[0] for row in ROWS])
def test_a_silence_is_named(scene, device, kind, zh, en, log):
    told = wait_until(lambda: (scene.diagnosis(device) or {}).get("kind") == kind and scene.diagnosis(device), 30, f"{device} is {kind}", every=0.3)
    bus = device.rsplit("-", 1)[0]
    for lang, words, line_of in (("zh", zh, f"总线 {bus}"), ("en", en, f"bus {bus}")):
        text = scene.says(lang)
        assert any(pattern(words).search(line) for line in text.splitlines() if device in line or line_of in line), f"{words}\nnot said of {device} in\n{text}"
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


class Tool:
    """`read` or `profile test` of a device, and what it said."""

    def __init__(self, scene, verb, device, lang):
        words = ["read", device, "hr:0..9"] if verb == "read" else ["profile", "test", device]
        self.command = [str(word) for word in (*CONFINED, BINARY, *words, "--lang", lang, "--config", scene.gateway.config)]

    def run(self):
        done = subprocess.run(self.command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env={**os.environ, "NO_COLOR": "1"})
        self.said, self.code = done.stdout + done.stderr, done.returncode

    def says(self, words, code):
        """On a machine with much to do a peer may miss its time; so it is asked again before that is believed."""
        for tries in (1, 2, 3):
            if pattern(words).search(self.said) and self.code == code:
                return
            if tries < 3:
                self.run()
        raise AssertionError(f"{words}\nnot said, or not {code} but {self.code}:\n{self.said}")


def tools(scene, languages, but=()):
    """Both tools for every device, in the language that each has; many lines at once, on each one after the other."""
    made = {(verb, device): Tool(scene, verb, device, lang) for device, *_ in ROWS for verb, lang in languages.items() if (verb, device) not in but}
    lines = collections.defaultdict(list)
    for (_, device), tool in made.items():
        lines[device.rsplit("-", 1)[0]].append(tool)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda line: [tool.run() for tool in line], lines.values()))
    return made


@pytest.fixture(scope="module")
def through(scene):
    """What the tools say beside the running gateway, which asks for them."""
    return tools(scene, {"read": "en", "test": "zh"})


@pytest.fixture(scope="module")
def alone(scene, through):
    """What they say when they have the lines to themselves."""
    scene.gateway.stop()
    # a babbler is listened to for five seconds each time, and `profile test` asks three times: `read` is enough
    return tools(scene, {"read": "zh", "test": "en"}, but=[("test", "babble-1")])


def code(verb, kind, own_line):
    """5, the device did not answer; but one that said no was found, and a port that this user may not open is another matter."""
    if kind == "port_denied" and own_line:
        return 8
    return 4 if verb == "read" and kind == "refused" else 5


@pytest.mark.parametrize("device, kind, zh, en, _log", ROWS, ids=[row[0] for row in ROWS])
def test_a_silence_is_named_by_the_tools_through_the_gateway(through, device, kind, zh, en, _log):
    through["test", device].says(zh, 5)
    if device.startswith("meters"):
        through["read", device].says("is no Modbus device", 2)
    else:
        through["read", device].says(en, code("read", kind, own_line=False))


@pytest.mark.parametrize("device, kind, zh, en, _log", ROWS, ids=[row[0] for row in ROWS])
def test_a_silence_is_named_by_the_tools_on_the_line_itself(alone, device, kind, zh, en, _log):
    if device.startswith("meters"):
        return alone["test", device].says("start gatehouse run first", 5)
    alone["read", device].says(zh, code("read", kind, own_line=True))
    if ("test", device) in alone:
        alone["test", device].says(en, code("test", kind, own_line=True))


def test_a_product_that_its_line_cannot_ask_is_named(scene):
    for lang, words in (("zh", "这条线上不能这样问；型号和总线不配"), ("en", "this line has no such question; does the profile fit the bus?")):
        done = run_binary("profile", "test", "elevator/monarch-nice3000", f"127.0.0.1:{scene.port}:1", "--lang", lang)
        assert words in done.stdout and done.returncode == 5, done
