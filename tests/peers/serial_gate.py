#!/usr/bin/env python3
"""An access gate's reader on a serial line: OSDP v2 in plain text, spoken by libosdp (as the PD).

Cards and changes of status are reported in the reply to the next POLL, as libosdp does; the ledger holds every frame that was sent.
LSTAT is answered by libosdp 3.2.9 itself, always with 00 00; ISTAT with a NAK, for this reader has no inputs.
"""
import argparse
import os
import sys
import tty

from osdp import CardFormat, Capability, Channel, Event, LogLevel, PDCapabilities, PDInfo, PeripheralDevice, StatusReportType

from ledger import Ledger


class _Line(Channel):
    def __init__(self, port, ledger):
        self.id, self.ledger = 1, ledger
        self.fd = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)

    def read(self, max_bytes):
        try:
            return os.read(self.fd, max_bytes)
        except OSError:  # nothing there, or the other end is closed
            return b""

    def write(self, buf):
        self.ledger.write(frame=bytes(buf).hex(" "))
        return os.write(self.fd, buf)

    def flush(self):
        pass


class SerialGate:
    def __init__(self, port, address=0x65, ledger=None):
        self.ledger = ledger or Ledger()
        self._line = _Line(port, self.ledger)
        abilities = PDCapabilities([(Capability.OutputControl, 1, 1), (Capability.CardDataFormat, 1, 1), (Capability.Readers, 1, 1)])
        self._pd = PeripheralDevice(PDInfo(address, self._line), abilities, log_level=LogLevel.Emergency)

    def start(self):
        self._pd.start()
        return self

    def stop(self):
        self._pd.stop()
        os.close(self._line.fd)

    def card(self, data, bits):
        """Someone holds a card to the reader."""
        self.ledger.write(card=data.hex().upper())
        assert self._pd.submit_event(
            {"event": Event.CardRead, "reader_no": 0, "direction": 0, "format": CardFormat.Wiegand, "length": bits, "data": data})

    def status(self, tamper, power):
        self.ledger.write(tamper=tamper, power=power)
        assert self._pd.submit_event({"event": Event.Status, "type": StatusReportType.Local, "report": bytes([tamper, power])})

    def sent(self, code):
        """(ns, data bytes) of each frame with this reply code that went out."""
        frames = [(f["ns"], bytes.fromhex(f["frame"])) for f in self.ledger.facts if "frame" in f]
        return [(ns, frame[6:-2]) for ns, frame in frames if frame[5] == code]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", help="serial port or pty")
    parser.add_argument("--address", type=lambda text: int(text, 0), default=0x65)
    parser.add_argument("--ledger", help="JSONL file of every frame sent")
    a = parser.parse_args()
    gate = SerialGate(a.port, a.address, Ledger(a.ledger)).start()
    print('on stdin: "card 02468AC0 26" or "status 1 0" (tamper, power)', flush=True)
    try:
        for line in sys.stdin:
            verb, *words = line.split()
            gate.card(bytes.fromhex(words[0]), int(words[1])) if verb == "card" else gate.status(*map(int, words))
    finally:
        gate.stop()
