"""Another wall clock for the gateway alone, which a story sets while it runs."""
import datetime
import mmap
import pathlib
import struct
import subprocess
import time

PEERS = pathlib.Path(__file__).parents[1] / "peers"


class WallClock:
    """`environment` is what the gateway is started with; until somebody sets it, it is the machine's clock."""

    def __init__(self, folder):
        library, path = folder / "wall_clock.so", folder / "wall_clock"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, PEERS / "wall_clock.c"], check=True)
        path.write_bytes(bytes(8))
        with open(path, "r+b") as file:
            self._page = mmap.mmap(file.fileno(), 8)
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(path)}

    def move(self, seconds):
        """So far from the machine's clock, from now on."""
        self._page[:] = struct.pack("=q", int(seconds * 1e9))

    def set(self, text):
        """To this moment (RFC 3339), from where it goes on."""
        self.move(datetime.datetime.fromisoformat(text).timestamp() - time.time())

    def right(self):
        self.move(0)
