"""Fixtures of the stories. Everything started here ends with the story; a failed story shows the gateway's last words."""
import signal
import sys

import pytest

from inspector import Inspector
from modbus_tcp import ModbusTcp
from support.gateway import BINARY, SECRET, Gateway
from support.machine import Broker, Line, free_port

DEADLINE = 240  # seconds for one story; none comes near when all is well


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    for item in items:
        if not item.get_closest_marker("needs_no_gateway"):
            item.fixturenames.insert(0, "binary")


@pytest.fixture(scope="module")
def binary():
    assert BINARY.exists(), f"{BINARY} is not built: cargo build --profile ci (or set GATEHOUSE_BIN)"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.failed = outcome.get_result().failed


@pytest.fixture(autouse=True)
def deadline(request):
    marker = request.node.get_closest_marker("deadline")

    def out_of_time(*_):
        raise AssertionError("the story did not end in time")

    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(marker.args[0] if marker else DEADLINE)
    yield
    signal.alarm(0)


@pytest.fixture
def ending(request):
    """ending(x): x.stop() when the story ends, last first. Returns x."""
    things = []

    def later(thing):
        things.append(thing)
        return thing

    yield later
    for thing in reversed(things):
        thing.stop()


@pytest.fixture
def gateway(request, tmp_path):
    """gateway(site text): the real binary on that site, not started yet."""
    made = []

    def make(site):
        made.append(Gateway(tmp_path, site))
        return made[-1]

    yield make
    for one in made:
        one.end()
        if getattr(request.node, "failed", False) and one.log.exists():
            print(f"── last words of the gateway ({one.config})\n{one.talk()}", file=sys.stderr)


@pytest.fixture
def modbus(ending):
    """modbus(units): a pymodbus TCP server; `.port` is where."""
    return lambda units: ending(ModbusTcp(free_port(), units).start())


@pytest.fixture
def line(ending, tmp_path):
    """line(name, baud=None): two joined ptys."""
    return lambda name, baud=None: ending(Line(tmp_path, name, baud))


@pytest.fixture
def broker(ending, tmp_path):
    return ending(Broker(tmp_path))


@pytest.fixture
def inspector(ending):
    return ending(Inspector(free_port(), SECRET).set("up"))
