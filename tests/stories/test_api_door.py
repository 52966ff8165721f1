"""The API's door: a crowd in it, and TLS."""
import re
import socket
import ssl
import time

import httpx

from inspector import Inspector
from support.api import Api, words
from support.car import TRAPPED, Car, site, two_offices
from support.gateway import SECRET, run_binary
from support.machine import free_port
from support.tls import Authority
from support.waiting import wait_until


def test_a_crowd_at_the_door_disturbs_no_alarm(tmp_path, modbus, inspector, ending, gateway):
    """A hundred idle connections, a dozen that speak a letter a second, and bodies that never end: the alarm is at its endpoint in time."""
    tcp, other = modbus([1]), ending(Inspector(free_port(), SECRET).set("up"))
    car = Car(tcp)
    gatehouse = gateway(site(tmp_path, tcp.port, two_offices(inspector, other))).start()
    wait_until(lambda: gatehouse.good("lift-1", "mode"), 10, "the first readings")
    api = Api(gatehouse)
    before = gatehouse.rss_mib()
    crowd = [socket.create_connection(("127.0.0.1", api.port)) for _ in range(100)]
    for idle in crowd[:12]:
        idle.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nX-")
    for half in crowd[12:24]:
        half.sendall(b"POST /api/v1/alarms/x/acknowledge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer "
                     + api.tokens["inspector"].encode() + b"\r\nContent-Length: 1000\r\n\r\n{")
    car.is_so(TRAPPED)
    began = time.monotonic()
    while not words(inspector, "passenger_trapped"):
        assert time.monotonic() - began < 5, "the alarm is late"
        for slow in crowd[:12]:
            try:
                slow.sendall(b"a")
            except OSError:
                pass
        time.sleep(0.2)
    gatehouse.acknowledge("lift-1", "passenger_trapped")
    wait_until(lambda: words(inspector, "passenger_trapped") == ["raised", "acknowledged"], 5, "the unix door is its own")
    wait_until(lambda: closed(crowd) == len(crowd), 20, "each of them is shown out", every=0.5)
    assert api("viewer", "GET", "/status").status_code == 200, "and there is room again"
    assert gatehouse.rss_mib() - before < 16
    assert "panicked" not in gatehouse.log.read_text()


def closed(crowd):
    count = 0
    for one in crowd:
        one.setblocking(False)
        try:
            while one.recv(65536):
                pass
            count += 1
        except BlockingIOError:
            pass
        except OSError:
            count += 1
    return count


def test_encrypted_and_behind_a_name(tmp_path, modbus, inspector, ending, gateway):
    """TLS by a certificate that may be renewed under it; a name that the site gave it; nothing in the clear."""
    tcp, other, authority = modbus([1]), ending(Inspector(free_port(), SECRET).set("up")), Authority(tmp_path, "town")
    certificate, key = authority.signs("console")
    text = site(tmp_path, tcp.port, two_offices(inspector, other)).replace('[console]', f'[console]\nhosts = ["gatehouse.example.cn"]\ncert_file = "{certificate}"\nkey_file = "{key}"')
    Car(tcp)
    key.chmod(0o600)
    gatehouse = gateway(text).start()
    token = gatehouse.cli("token", "add", "duty-room", "--role", "viewer")
    assert "https://" in token.stderr
    port = int(re.search(r'listen = "127\.0\.0\.1:(\d+)"', text).group(1))
    trust = ssl.create_default_context(cafile=str(authority.pem))

    def ask(host=None):
        headers = {"authorization": f"Bearer {token.stdout.strip()}", **({"host": host} if host else {})}
        try:
            return httpx.get(f"https://localhost:{port}/api/v1/site", headers=headers, verify=trust, timeout=5).status_code
        except httpx.TransportError:
            return None

    wait_until(lambda: ask() == 200, 5, "answered, and its certificate believed")
    assert (ask("gatehouse.example.cn"), ask("evil.example")) == (200, 421)
    for clear in (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
            plain.sendall(clear)
            assert b"HTTP/1.1" not in plain.recv(1000)

    def serial():
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, trust.wrap_socket(plain, server_hostname="localhost") as secure:
            return secure.getpeercert()["serialNumber"]

    first = serial()
    renewed, new_key = authority.signs("renewed")
    key.write_bytes(new_key.read_bytes())
    certificate.write_bytes(renewed.read_bytes())
    wait_until(lambda: serial() != first, 15, "the new certificate is shown without a restart", every=0.5)
    assert gatehouse.stop()[0] == 0
    broken = run_binary("check", "--config", gatehouse.config)
    assert broken.returncode == 0, broken.stderr
    key.write_bytes((tmp_path / "town" / "ca.key").read_bytes())
    broken = run_binary("check", "--config", gatehouse.config)
    assert broken.returncode == 3 and "cert_file" in broken.stdout + broken.stderr or "certificate" in broken.stdout + broken.stderr
