"""Story 4: a site file with twelve different mistakes. `check` names all twelve with file:line:col and ends with 3; `run` refuses it
the same way. The file is written here with each mistake marked, so that where it stands is known."""
import re

import pytest

from support.gateway import PROFILES, run_binary

# `#! name` marks the line that is wrong; it is cut off before the file is written.
SITE = f"""
[site]
id       = "story"
name     = "故事小区"
timezone = "Asia/Shanghai"
profile_dirs = ["{PROFILES}"]

[store]
dir            = "STORE"
telemetry_keap = "90d"                     #! misspelt key

[console]
listen = 8480                              #! wrong type

[[bus]]
id = "lan"
[bus.modbus_tcp]
host = "127.0.0.1"
port = 5020

[[bus]]
id = "lifts"
[bus.modbus_rtu]
port = "/dev/ttyS9"
baud = 0                                   #! impossible baud
framing = "8N1"

[[device]]
id      = "lift-1"
name    = "1号电梯"
profile = "elevator/story-tcp"
bus     = "lan"
unit    = 1

[[device]]
id      = "lift-1"                         #! duplicate id
name    = "又一台"
profile = "elevator/story-tcp"
bus     = "lan"
unit    = 2

[[device]]
id      = "lift-3"
name    = "3号电梯"
profile = "elevator/story-tcp"
bus     = "lanes"                          #! unknown bus
unit    = 3

[[device]]
id      = "lift-4"
name    = "4号电梯"
profile = "elevator/story-tpc"             #! unknown profile
bus     = "lan"
unit    = 4

[[device]]
id      = "lift-5"
name    = "5号电梯"
profile = "elevator/story-tcp"
bus     = "lan"
unit    = 300                              #! unit out of range

[[device]]                                 #! missing profile
id      = "lift-6"
name    = "6号电梯"
bus     = "lan"
unit    = 6

[[endpoint]]
id      = "safety-inspection"
purpose = "safety-inspection"
[endpoint.http]
url     = "not a url"                      #! bad url
secret  = {{ file = "inspection-secret" }}
accept  = {{ status = [200] }}
timeout = "10 parsecs"                     #! bad duration
[endpoint.wants]
classes    = ["elevater"]                  #! unknown class
priorities = ["critical"]
data       = ["operational"]

[[alarm]]
class    = "elevator"
name     = "passenger_traped_suspected"    #! unknown alarm
on_delay = "45s"
"""

NEAREST = {"misspelt key": "telemetry_keep", "unknown bus": "lan", "unknown profile": "elevator/story-tcp", "unknown class": "elevator",
           "unknown alarm": "passenger_trapped_suspected"}


@pytest.fixture
def mistakes(tmp_path):
    """{what is wrong: its line number}, and the file beside it."""
    lines, found = [], {}
    for number, line in enumerate(SITE.splitlines(), 1):
        line, _, what = line.partition("#!")
        lines.append(line.rstrip().replace("STORE", str(tmp_path / "store")))
        if what:
            found[what.strip()] = number
    assert len(found) == 12
    (tmp_path / "inspection-secret").write_text("whsec_" + "QUJD" * 8)
    (tmp_path / "gatehouse.toml").write_text("\n".join(lines) + "\n")
    return found


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_twelve_mistakes(tmp_path, mistakes, verb, lang):
    done = run_binary(verb, "--config", tmp_path / "gatehouse.toml", "--lang", lang)
    said = done.stdout + done.stderr
    assert done.returncode == 3, f"exit {done.returncode}\n{said}"
    text = (tmp_path / "gatehouse.toml").read_text().splitlines()
    places = [(int(line), int(col)) for line, col in re.findall(r"gatehouse\.toml:(\d+):(\d+)", said)]
    missed = {}
    for what, number in mistakes.items():
        # a missing key may be shown anywhere in its table
        lines = range(number, number + 5) if what.startswith("missing") else [number]
        if not any(line in lines and 1 <= col <= len(text[line - 1]) + 1 for line, col in places):
            missed[what] = number
    assert not missed, f"not named: {missed}\nnamed: {places}\n{said}"
    assert 12 <= len({line for line, _ in places}) <= 18, f"what is right was called wrong: {places}\n{said}"
    assert not [line for line, _ in places if line <= 6], f"nothing is wrong with [site]\n{said}"
    absent = {what: word for what, word in NEAREST.items() if not re.search(rf"(?<![\w/-]){word}(?![\w/-])", said)}
    assert not absent, f"nearest legal values not offered: {absent}\n{said}"
    assert not (tmp_path / "store").exists(), "a refused site leaves nothing behind"


@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_broken_file_is_one_clear_mistake(tmp_path, verb):
    (tmp_path / "gatehouse.toml").write_text('[site]\nid = "story\n')
    done = run_binary(verb, "--config", tmp_path / "gatehouse.toml")
    assert done.returncode == 3 and re.search(r"gatehouse\.toml:2:\d+", done.stdout + done.stderr), done


def test_the_same_file_without_mistakes_passes(tmp_path):
    good = (SITE.replace("telemetry_keap", "telemetry_keep").replace("listen = 8480", 'listen = "127.0.0.1:8480"').replace("baud = 0   ", "baud = 9600")
            .replace('"lift-1"                         #!', '"lift-2" #!').replace('"lanes"', '"lan"').replace("story-tpc", "story-tcp")
            .replace("unit    = 300", "unit    = 5").replace("[[device]]                                 #!", '[[device]]\nprofile = "elevator/story-tcp" #!')
            .replace('"not a url"', '"https://inspection.example/api"').replace("10 parsecs", "10s").replace("elevater", "elevator")
            .replace("traped", "trapped").replace("STORE", str(tmp_path / "store")))
    (tmp_path / "inspection-secret").write_text("whsec_" + "QUJD" * 8)
    (tmp_path / "gatehouse.toml").write_text(good)
    done = run_binary("check", "--config", tmp_path / "gatehouse.toml")
    assert done.returncode == 0, done
