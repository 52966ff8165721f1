"""Servers with something wrong in their TLS, by `openssl` alone: what comes through one is what a stranger would have read."""
import pathlib
import subprocess

from support.machine import free_port
from support.waiting import wait_until

CA_CONFIG = """
[ca]
default_ca = ours
[ours]
database = {dir}/index.txt
new_certs_dir = {dir}
serial = {dir}/serial
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30)
    assert done.returncode == 0, f"openssl {arguments}: {done.stderr}"
    return done.stdout


class Authority:
    """`pem` vouches for what `certificate` makes."""

    def __init__(self, folder):
        self.dir = pathlib.Path(folder) / "ca"
        self.dir.mkdir()
        (self.dir / "index.txt").write_text("")
        (self.dir / "serial").write_text("01")
        (self.dir / "ca.cnf").write_text(CA_CONFIG.format(dir=self.dir))
        self.pem, self._key = self.dir / "ca.pem", self.dir / "ca.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=story CA", "-days", 30,
                "-keyout", self._key, "-out", self.pem)

    def certificate(self, name, host="localhost", start="20200101000000Z", end="20500101000000Z"):
        """(certificate, key) files for `host`."""
        key, request, made = (self.dir / f"{name}.{ending}" for ending in ("key", "csr", "pem"))
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-addext", f"subjectAltName=DNS:{host}", "-keyout", key, "-out", request)
        openssl("ca", "-batch", "-config", self.dir / "ca.cnf", "-cert", self.pem, "-keyfile", self._key, "-in", request, "-out", made,
                "-startdate", start, "-enddate", end, "-notext")
        return made, key

    def self_signed(self, name, host="localhost"):
        key, made, bare = (self.dir / f"{name}.{ending}" for ending in ("key", "pem", "cnf"))
        bare.write_text("[req]\ndistinguished_name = any\n[any]\n")
        openssl("req", "-x509", "-config", bare, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-days", 30, "-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", made)
        return made, key


class TlsServer:
    """`openssl s_server`; `.read()` is every decrypted byte that it got."""

    def __init__(self, folder, name, pair, *more):
        self.port, self._log = free_port(), pathlib.Path(folder) / f"{name}.read"
        with open(self._log, "wb") as out:
            self._process = subprocess.Popen(
                ["openssl", "s_server", "-accept", str(self.port), "-cert", str(pair[0]), "-key", str(pair[1]), "-quiet", *more],
                stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL)
        wait_until(self._listens, 10, f"openssl s_server {name} listens", every=0.05)

    def _listens(self):
        assert self._process.poll() is None, "openssl s_server ended"
        wanted = f":{self.port:04X} 00000000:0000 0A"
        return any(wanted in line for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()) or any(
            f":{self.port:04X} " in line and " 0A " in line for line in pathlib.Path("/proc/net/tcp6").read_text().splitlines())

    def read(self):
        return self._log.read_bytes()

    def stop(self):
        self._process.kill()
        self._process.wait()
