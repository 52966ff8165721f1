"""The runner of the fault rows: which rows there are, which of them wait for something, and the table at the end.

A row that waits is written against the promise and not run until what it waits for is there; it is printed as waiting and counted apart.
`--waiting` runs it all the same; who builds what it waits for takes its line out of this table. Letters after a number are further
promises of the same row.
"""
import sys

import pytest

from support.compound import Panels, http_endpoint, inspectors, site_text
from support.judge import Score
from support.service import Service

WAITS = {}  # row: what it waits for
ELSEWHERE = {  # row: where it is broken
    "T25": "on a virtual clock: EVENTS=60000 cargo test --lib a_month_without_the_endpoint",
    "T40": "tests/stories/test_mqtt.py, test_what_must_not_be_believed",
    "T41": "tests/stories/test_mqtt.py, test_what_must_not_be_believed; frames in fuzz/",
}


def pytest_addoption(parser):
    parser.addoption("--rows", default="", help="only these rows: T06,T08")
    parser.addoption("--waiting", action="store_true", help="run also rows that wait for something")


def pytest_configure(config):
    config.addinivalue_line("markers", "row(number, what): a row of the fault catalogue")
    config.addinivalue_line("markers", "slow: by hand only, when its row is named")


def pytest_collection_modifyitems(config, items):
    rows = [item for item in items if item.get_closest_marker("row")]
    instruments = set(items) - set(rows)
    wanted, found = set(filter(None, config.getoption("--rows").split(","))), set()
    left = instruments if wanted else set()
    for item in rows:
        number, what = item.get_closest_marker("row").args
        item.user_properties.append(("row", [number, what]))
        names = {number, number.rstrip("abcdef")}
        if not names & wanted if wanted else item.get_closest_marker("slow"):
            left.add(item)
            continue
        found |= names & wanted
        if number in WAITS and not config.getoption("--waiting"):
            item.user_properties.append(("waits", WAITS[number]))
            item.add_marker(pytest.mark.skip(reason=f"{number} waits for {WAITS[number]}"))
    if wanted - found:
        raise pytest.UsageError(f"no such row: {', '.join(sorted(wanted - found))}")
    config.hook.pytest_deselected(items=list(left))
    items[:] = [item for item in items if item not in left]


@pytest.fixture
def scene(request, tmp_path, ending):
    """scene(panels, endpoints, more): (panels, {endpoint: inspector}, the gateway, not started)."""

    services = []

    def make(count, names=("safety",), sizes="", more="", store=None):
        panels, offices = ending(Panels(count).start()), inspectors(*names)
        for office in offices.values():
            ending(office)
        site = site_text(tmp_path, store, sizes) + panels.site() + "".join(http_endpoint(name, office.port) for name, office in offices.items()) + more
        services.append(Service(tmp_path, site))
        return panels, offices, services[-1]

    yield make
    for service in services:
        service.end()
        if getattr(request.node, "failed", False) and service.log.exists():
            print(f"── last words of the gateway ({service.config})\n{service.talk()}", file=sys.stderr)


@pytest.fixture
def score():
    return Score()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    if call.when == "call" and "score" in item.funcargs:
        item.user_properties.append(("score", str(item.funcargs["score"])))
    yield


def pytest_terminal_summary(terminalreporter):
    ends = {"passed": "held", "skipped": "waits", "failed": "BROKEN", "error": "BROKEN"}
    lines, counts = [], dict.fromkeys(ends.values(), 0)
    for outcome, end in ends.items():
        for report in terminalreporter.stats.get(outcome, []):
            told = dict(report.user_properties)
            if "row" in told:
                counts[end] += 1
                lines.append((told["row"][0], f"{end:<7} {told['row'][0]:<5} {told['row'][1]:<58} "
                              + (f"waits for {told['waits']}" if "waits" in told else f"{told.get('score', '')}  ({report.duration:.0f} s)")))
    terminalreporter.section("fault rows")
    for _, line in sorted(lines):
        terminalreporter.write_line(line)
    for number, where in ELSEWHERE.items():
        terminalreporter.write_line(f"        {number:<5} {where}")
    terminalreporter.write_line(f"{counts['held']} held, {counts['BROKEN']} broken, {counts['waits']} waiting")
