"""An OSDP v2 reader in plain text whose switches can be set, from the frames captured of libosdp (which itself answers LSTAT always with
all well): ACK to a poll, LSTATR to LSTAT, NAK to what it has not."""
import os
import select
import threading
import tty

ACK, NAK, LSTATR, LSTAT, POLL = 0x40, 0x41, 0x48, 0x64, 0x60


def crc(frame):
    """CRC-16, polynomial 0x1021, from 0x1D0F; low byte first."""
    value = 0x1D0F
    for byte in frame:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x1021 if value & 0x8000 else value << 1) & 0xFFFF
    return value.to_bytes(2, "little")


class OsdpReader:
    def __init__(self, port, address=0x65):
        self.address, self.tamper, self.power = address, 0, 0
        self._fd, self._leave = os.open(port, os.O_RDWR | os.O_NOCTTY), threading.Event()
        tty.setraw(self._fd)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def stop(self):
        self._leave.set()
        self._thread.join(2)
        os.close(self._fd)

    def status(self, tamper, power):
        self.tamper, self.power = tamper, power

    def _serve(self):
        heard = b""
        while not self._leave.is_set():
            if not select.select([self._fd], [], [], 0.1)[0]:
                continue
            heard += os.read(self._fd, 256)
            while (at := heard.find(b"\x53")) >= 0 and len(heard) - at >= 8:
                frame, heard = heard[at:at + 8], heard[at + 8:]
                if frame[1] == self.address and crc(frame[:-2]) == frame[-2:]:
                    os.write(self._fd, self._reply(frame[5]))

    def _reply(self, code):
        said = {POLL: bytes([ACK]), LSTAT: bytes([LSTATR, self.tamper, self.power])}.get(code, bytes([NAK, 3]))
        frame = bytes([0x53, 0x80 | self.address, 7 + len(said), 0, 4]) + said
        return frame + crc(frame)
