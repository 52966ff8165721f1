"""An operator's shell: the site's secret is the gateway's own (0600). Whoever is in the store's group looks and acknowledges all the
same, beside the running gateway and after it; whoever is not is told so (8), and never that all is well."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest

from support.gateway import BINARY
from support.machine import free_port
from support.waiting import wait_until

SERVICE, OPERATOR, STRANGER = 64000, 64001, 64002  # users that need no account

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")

SITE = """
[site]
id = "story"
[store]
dir = "STORE"
[[bus]]
id = "lan"
modbus_tcp = { host = "127.0.0.1", port = PORT }
[[device]]
id      = "light-1"
profile = "street-light/epever-tracer"
bus     = "lan"
unit    = 1
[[endpoint]]
id      = "property"
purpose = "property"
http    = { url = "https://127.0.0.1:1/alarms", secret = { file = "property-secret" } }
wants   = { classes = ["street-light"], priorities = ["critical", "high", "medium", "low"] }
"""


class Compound:
    """A folder that everybody may enter, with a store that only the service's user and group may."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-shells-"))  # pytest's own folders let nobody else in
        self.folder.chmod(0o755)
        self.binary, self.config, self.store = self.folder / "gatehouse", self.folder / "gatehouse.toml", self.folder / "store"
        shutil.copy(BINARY, self.binary)
        self.binary.chmod(0o755)
        self.config.write_text(SITE.replace("STORE", str(self.store)).replace("PORT", str(free_port())))
        self.store.mkdir(mode=0o750)
        secret = self.folder / "property-secret"
        secret.write_text("a secret of twenty-four bytes at least")
        secret.chmod(0o600)
        for mine in [self.store, secret]:
            os.chown(mine, SERVICE, SERVICE)
        self.process = None

    def start(self):
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen([self.binary, "run", "--config", self.config], user=SERVICE, group=SERVICE, extra_groups=[], umask=0o027,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: (self.store / "gatehouse.sock").exists(), 20, "the gateway's door")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(15)

    def asked_by(self, user, groups, words):
        return subprocess.run([self.binary, *words, "--config", self.config], user=user, group=user, extra_groups=groups, capture_output=True, text=True,
                              timeout=30, stdin=subprocess.DEVNULL, env={"NO_COLOR": "1", "LANG": "C"})

    def member(self, *words):
        return self.asked_by(OPERATOR, [SERVICE], words)

    def stranger(self, *words):
        return self.asked_by(STRANGER, [], words)


@pytest.fixture
def compound():
    made = Compound()
    yield made
    made.stop()
    shutil.rmtree(made.folder)


LOOKS = [["status"], ["status", "--json"], ["alarms", "list"], ["alarms", "list", "--json"], ["alarms", "list", "--all"], ["delivery", "list"]]
ACK = ["alarms", "ack", "no-such-alarm", "--as", "张伟"]


def look_around(compound, running):
    for words in LOOKS:
        done = compound.member(*words)
        assert done.returncode == 0 and not done.stderr, (words, done)
        done = compound.stranger(*words)
        assert done.returncode == 8 and "run as a member of group gatehouse" in done.stderr and not done.stdout, (words, done)
    assert ("is not running" not in compound.member("status").stdout) == running
    assert compound.member("readings", "light-1").returncode == 0
    assert compound.stranger("readings", "light-1").returncode == 8
    check = compound.member("check")
    assert check.returncode == 3 and "this user may not read" in check.stdout, check
    assert compound.stranger(*ACK).returncode == 8


def test_who_may_look_looks_and_who_may_not_is_told_so(compound):
    for words in LOOKS:
        done = compound.member(*words)
        assert done.returncode == 0 and f"nothing was ever stored in {compound.store}" in done.stderr, (words, done)
    assert compound.member("alarms", "list", "--json").stdout == ""

    compound.start()
    wait_until(lambda: compound.member("readings", "light-1").returncode == 0, 10, "a first reading")
    look_around(compound, running=True)
    done = compound.member(*ACK)
    assert done.returncode == 4 and "no-such-alarm" in done.stderr, done

    compound.stop()
    assert not list(compound.store.glob("*-wal")), "at rest there is no log beside the files, and a member may not make one"
    look_around(compound, running=False)
    done = compound.member(*ACK)
    assert done.returncode == 8 and "run as user gatehouse" in done.stderr, done
    done = compound.asked_by(SERVICE, [], ACK)
    assert done.returncode == 4, done
