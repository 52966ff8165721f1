"""Power cuts, replayed from the log of tests/peers/write_log.c: what had been synced stays, of what had not each sector stays by chance."""
import collections
import pathlib
import re
import struct
import subprocess

from support.machine import PEERS

SECTOR = 512
Record = collections.namedtuple("Record", "kind name at bytes")


def logger(folder):
    """The library to preload."""
    library = folder / "write_log.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, PEERS / "write_log.c", "-ldl", "-lpthread"], check=True)
    return library


def records(path):
    found, log, at = [], pathlib.Path(path).read_bytes(), 0
    while at + 15 <= len(log):
        kind = chr(log[at])
        length, offset, n = struct.unpack_from("<HQI", log, at + 1)
        at += 15
        found.append(Record(kind, log[at:at + length].decode(), offset, log[at + length:at + length + n]))
        at += length + n
    return found  # the last one may be cut off itself: the process was killed


def changed(content, record):
    """`content` after a W or T."""
    if record.kind == "T":
        del content[record.at:]
        content.extend(bytes(record.at - len(content)))
    else:
        content.extend(bytes(max(0, record.at + len(record.bytes) - len(content))))
        content[record.at:record.at + len(record.bytes)] = record.bytes


class Cut:
    """What is left when the power goes after `log`: `files`, `said` (ids that had been sent), `heard` (ids whose receipt had come)."""

    def __init__(self, log, chance):
        self.files, self.said, self.heard = collections.defaultdict(bytearray), set(), set()
        unsynced, under_way = collections.defaultdict(list), {}
        for record in log:
            if record.kind in "WT":
                unsynced[record.name].append(record)
            elif record.kind == "S":
                content = self.files[record.name]
                for write in unsynced.pop(record.name, []):
                    changed(content, write)
            elif record.kind == "U":
                self.files.pop(record.name, None), unsynced.pop(record.name, None)
            elif record.kind == "M":
                to = record.bytes.decode()
                self.files[to], unsynced[to] = self.files.pop(record.name, bytearray()), unsynced.pop(record.name, [])
            elif record.kind == "N" and (sent := re.search(rb"webhook-id: ([0-9a-f-]+)", record.bytes)):
                under_way[record.at] = sent[1].decode()
                self.said.add(sent[1].decode())
            elif record.kind == "R" and record.bytes.startswith(b"HTTP/1.1 200") and record.at in under_way:
                self.heard.add(under_way[record.at])
        for name, writes in unsynced.items():
            for write in writes:
                self._perhaps(self.files[name], write, chance)

    @staticmethod
    def _perhaps(content, write, chance):
        if write.kind == "T":
            if chance.random() < 0.5:
                changed(content, write)
            return
        for start in range(0, len(write.bytes), SECTOR):
            if chance.random() < 0.5:
                changed(content, Record("W", write.name, write.at + start, write.bytes[start:start + SECTOR]))

    def lay_out(self, store, into):
        """The files of `store`, as they are found after the cut, in the folder `into`."""
        into.mkdir(parents=True)
        for name, content in self.files.items():
            path = pathlib.Path(name)
            if path.parent == store and not name.endswith(("-shm", ".lock", ".sock")):
                (into / path.name).write_bytes(content)
        return into


class Uncut(Cut):
    """What there would have been without the cut: all that was written, synced or not."""

    @staticmethod
    def _perhaps(content, write, chance):
        changed(content, write)
