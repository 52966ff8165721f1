"""The gateway as its service runs it: started again whenever it ends by itself, until the run is over."""
import threading
import time

from support.gateway import Gateway


class Service(Gateway):
    """`lives` has one (began, ended, exit code) for each life that ended; `alive_since` is when the present one was READY."""

    RESTART_SEC = 2  # of systemd/gatehouse.service

    def __init__(self, folder, site, around=()):
        """`around`: words in front of the command (a namespace, a preloaded library)."""
        super().__init__(folder, site)
        self.around, self.lives = list(map(str, around)), []
        self.alive_since, self.began = None, None
        self._watched, self._over = None, threading.Event()

    def command(self):
        return [*self.around, *super().command()]

    def start(self, ready_within=60):
        self.began = time.monotonic()
        super().start(ready_within)
        self.alive_since = time.monotonic()
        return self

    def kill(self):
        self.alive_since = None
        super().kill()

    def stop(self):
        self._over.set()
        self.alive_since = None
        return super().stop()

    def end(self):
        self._over.set()
        super().end()
        if self._watched:
            self._watched.join(30)
            super().end()

    def keep(self):
        """From now on it is started again whenever it ends by itself."""
        self._watched = threading.Thread(target=self._keep, daemon=True)
        self._watched.start()
        return self

    def _keep(self):
        while not self._over.is_set():
            if self.process.poll() is None:
                self._over.wait(0.05)
                continue
            self.alive_since = None
            self.lives.append((self.began, time.monotonic(), self.process.returncode))
            if self._over.wait(self.RESTART_SEC):
                return
            try:
                self.start()
            except AssertionError:
                continue  # it ended before it was ready: that is a life too
