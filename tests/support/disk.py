"""What the fault runs do to a disk: a small one of its own, filled and emptied, made read-only; and system calls that fail or take long."""
import os
import signal
import subprocess
import time

from support.machine import Process
from support.waiting import wait_until


class SmallDisk:
    """An ext4 of `mib` MiB on a loop device, mounted at `folder`/disk."""

    def __init__(self, folder, mib=64):
        self.image, self.path, self.loop = folder / "disk.img", folder / "disk", None
        self.path.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", self.image], check=True)
        subprocess.run(["mount", "-o", "loop", self.image, self.path], check=True)

    def fill(self, leave=0):
        """By another process, to the last block; `leave` bytes are given back."""
        with open(self.path / "filler", "ab", buffering=0) as filler:
            for piece in (1 << 20, 4096, 1):
                try:
                    while True:
                        filler.write(bytes(piece))
                except OSError:
                    continue
            os.fsync(filler.fileno())
            filler.truncate(max(0, filler.tell() - leave))
        return self

    def free(self):
        (self.path / "filler").unlink(missing_ok=True)

    def turn_read_only(self):
        """As ext4 does itself when its medium fails: for open files as well (an orderly remount is refused while there are any)."""
        subprocess.run(["mount", "-o", "remount,abort", self.path], check=True)

    def mend(self):
        """The medium, whose file system is made sound, is mounted anew in the same place. Whoever still has files open there has the old ones."""
        subprocess.run(["umount", "-l", self.path], check=True)
        self.loop = subprocess.run(["losetup", "-f", "--show", self.image], check=True, capture_output=True, text=True).stdout.strip()
        subprocess.run(["mount", self.loop, self.path], check=True)

    def stop(self):
        deadline = time.monotonic() + 5
        while subprocess.run(["umount", self.path], capture_output=True).returncode != 0:
            if time.monotonic() > deadline:
                subprocess.run(["umount", "-l", self.path], check=True)
                break
            time.sleep(0.2)
        if self.loop:
            subprocess.run(["losetup", "-d", self.loop], check=True)


class Injected(Process):
    """strace on a process that runs: `what` is an -e inject expression. Ends by `stop`, which lets go of the process."""

    def __init__(self, pid, what, log):
        super().__init__(["strace", "-f", "-o", str(log) + ".calls", "-e", f"trace={what.split(':')[0]}", "-e", f"inject={what}", "-p", str(pid)], log)
        self.calls = str(log) + ".calls"
        wait_until(lambda: "attached" in self.log.read_text() or self.popen.poll() is not None, 10, "strace is attached", every=0.02)

    def injected(self):
        """How many calls were made to fail or to wait."""
        with open(self.calls, errors="replace") as calls:
            return sum("INJECTED" in line or "DELAYED" in line for line in calls)

    def stop(self, how=signal.SIGINT):
        super().stop(how)
