"""A DTU: a modem with a serial line that dials in to us, registers, says its heartbeat, and carries bytes both ways as they are."""
import os
import select
import socket
import threading
import tty


class Modem:
    def __init__(self, server, port, registration, heartbeat=b"", every=0.3):
        self.server, self.registration, self.heartbeat, self.every = server, registration, heartbeat, every
        self.fd = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)
        self.beats, self.calls, self._kept = 0, 0, []
        self._running, self._redial = True, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def redial(self):
        """Dials again without hanging up, as modems do that lost their network."""
        self._redial.set()

    def stop(self):
        self._running = False
        self._thread.join(5)
        for connection in self._kept:
            connection.close()
        os.close(self.fd)

    def _run(self):
        while self._running:
            try:
                connection = socket.create_connection(self.server, 2)
            except OSError:  # nobody listens yet
                self._redial.wait(0.1)
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._kept.append(connection)
            self.calls += 1
            connection.sendall(self.registration)
            self._redial.clear()
            self._carry(connection)

    def _carry(self, connection):
        while self._running and not self._redial.is_set():
            ready, _, _ = select.select([connection, self.fd], [], [], self.every)
            try:
                if connection in ready:
                    heard = connection.recv(512)
                    if not heard:
                        return
                    os.write(self.fd, heard)
                if self.fd in ready:
                    connection.sendall(os.read(self.fd, 512))
                if self.heartbeat:  # between, before and behind what the line says
                    connection.sendall(self.heartbeat)
                    self.beats += 1
            except OSError:
                return
