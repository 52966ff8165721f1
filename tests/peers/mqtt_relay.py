"""Between an MQTT client and its broker: it passes everything on but PUBACKs, which it withholds (until the next connection),
reorders, or makes up, as `mode` says."""
import socket
import threading
import time

PUBACK = 0x40


def packet(connection):
    """One whole MQTT packet, b"" at the end."""
    head = b""
    while len(head) < 2 or head[-1] & 0x80:
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    length = sum((byte & 0x7F) << 7 * n for n, byte in enumerate(head[1:]))
    body = b""
    while len(body) < length:
        piece = connection.recv(length - len(body))
        if not piece:
            return b""
        body += piece
    return head + body


class MqttRelay:
    MODES = ["pass", "withhold", "reorder", "unknown"]

    def __init__(self, port, target):
        self.port, self.target, self.mode = port, target, "pass"
        self.connections, self.touched = [], 0
        self._socket = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self.connections.append(time.monotonic())
            if self.mode == "withhold":  # that was the connection before
                self.mode = "pass"
            threading.Thread(target=self._requests, args=(client, broker), daemon=True).start()
            threading.Thread(target=self._replies, args=(broker, client), daemon=True).start()

    def _requests(self, client, broker):
        try:
            while piece := client.recv(65536):
                broker.sendall(piece)
        except OSError:
            pass
        for one in (client, broker):
            shut(one)

    def _replies(self, broker, client):
        kept = b""
        try:
            while one := packet(broker):
                if one[0] == PUBACK and self.mode != "pass":
                    self.touched += 1
                    if self.mode == "withhold":
                        continue
                    if self.mode == "reorder" and not kept:
                        kept = one
                        continue
                    if self.mode == "unknown":
                        one = bytes([PUBACK, 2]) + (int.from_bytes(one[2:4], "big") ^ 0x4000).to_bytes(2, "big") + one
                client.sendall(one + kept)
                kept = b""
        except OSError:
            pass
        for one in (client, broker):
            shut(one)

    def stop(self):
        self._socket.close()


def shut(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()
