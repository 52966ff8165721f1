"""Raw Modbus RTU for the slaves that misbehave on purpose: frames as bytes, no library that would repair them."""
import os
import select
import struct
import threading
import time
import tty


def crc(data):
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


def framed(data):
    return data + crc(data)


class RtuSlave:
    """Cuts 8-byte read requests out of the stream and gives them to `answer(unit, code, address, count)`, which may call `send`."""

    def __init__(self, port):
        self.fd = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)
        self._later = []  # (due, frame)
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True)

    def answer(self, unit, code, address, count):
        raise NotImplementedError

    def send(self, frame, after=0.0):
        self._later.append((time.monotonic() + after, frame))

    def start(self):
        self._thread.start()
        return self

    def stop(self):
        self._running = False
        self._thread.join(2)
        os.close(self.fd)

    def join(self):
        self._thread.join()

    def _run(self):
        buffer = b""
        while self._running:
            now = time.monotonic()
            for due, frame in [x for x in self._later if x[0] <= now]:
                self._later.remove((due, frame))
                os.write(self.fd, frame)
            wait = min([due - now for due, _ in self._later] + [0.2])
            if not select.select([self.fd], [], [], max(0, wait))[0]:
                continue
            try:
                buffer += os.read(self.fd, 256)
            except OSError:  # the other side closed its end (a killed gateway): it will be back
                time.sleep(0.05)
                continue
            while len(buffer) >= 8:
                if crc(buffer[:6]) == buffer[6:8]:
                    self.answer(*struct.unpack(">BBHH", buffer[:6]))
                    buffer = buffer[8:]
                else:
                    buffer = buffer[1:]  # noise: look for a request one byte further on
