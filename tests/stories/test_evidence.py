"""Evidence that stands later: what a receiver holds, a bundle that a program of others checks on another machine, and whoever has the disk in hand.
The gateway is killed in between, and asked beside its running."""
import base64
import gzip
import hashlib
import io
import json
import sqlite3
import subprocess
import sys
import tarfile

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from suites import check_signature
from support.car import NOTHING, TRAPPED, Car, site
from support.gateway import ROOT, inspector_table, run_binary
from support.waiting import wait_until

PEER = ROOT / "tests" / "peers" / "verify_bundle.py"


def verify(*arguments):
    return run_binary("events", "verify", *arguments, "--lang", "en")


def peer(bundle, key):
    return subprocess.run([sys.executable, PEER, bundle, key], capture_output=True, text=True)


def test_evidence(tmp_path, modbus, inspector, gateway):
    tcp = modbus([1])
    car = Car(tcp)
    gatehouse = gateway(site(tmp_path, tcp.port, [inspector_table(inspector.port)])).start()
    store = tmp_path / "store"
    wait_until(lambda: gatehouse.good("lift-1", "mode"), 10, "the first readings")
    key = gatehouse.cli("events", "key").stdout.strip()
    assert (store / "evidence.key").stat().st_mode & 0o777 == 0o600
    assert json.loads(gatehouse.cli("status", "--json").stdout)["evidence_key"]["public"] == key

    bodies = a_case(gatehouse, car, inspector, 1)
    what_the_receiver_holds(bodies, key)
    done = verify("--config", gatehouse.config, "--key", key)
    assert done.returncode == 0, f"beside the running gateway: {done.stdout}{done.stderr}"

    gatehouse.kill()
    gatehouse.start()
    bodies = a_case(gatehouse, car, inspector, 2)
    gatehouse.stop()
    assert verify("--store", store, "--key", key).returncode == 0, "after a kill and a stop"

    occurrence = bodies[0]["data"]["alarm"]["occurrence"]
    bundle = tmp_path / "elsewhere.tar"
    exported = gatehouse.cli("alarms", "export", occurrence, "-o", bundle, "--lang", "en")
    assert "a signature" not in exported.stderr, exported.stderr
    what_is_in_it(bundle, occurrence)
    assert (done := verify(bundle, "--key", key)).returncode == 0, done.stdout + done.stderr
    assert (done := peer(bundle, key)).returncode == 0, done.stdout + done.stderr
    other = base64.b64encode(bytes([9]) + bytes(31)).decode()
    assert verify(bundle, "--key", other).returncode == 9 and peer(bundle, other).returncode != 0, "another box's key"
    whoever_changes_the_bundle(tmp_path, bundle, key)
    whoever_has_the_disk(store, key)


def a_case(gatehouse, car, inspector, nth):
    """Raised, acknowledged, over; each step delivered."""
    def told():
        return [r.json for r in inspector.accepted() if r.json["data"]["alarm"]["name"] == "passenger_trapped"]
    before = len({body["id"] for body in told()})
    car.is_so(TRAPPED)
    wait_until(lambda: gatehouse.state("lift-1", "passenger_trapped") == "active_unacknowledged", 10, f"raised, time {nth}")
    gatehouse.acknowledge("lift-1", "passenger_trapped", who="张伟")
    car.is_so(NOTHING)
    wait_until(lambda: len({body["id"] for body in told()}) >= before + 3, 10, "all steps delivered")
    bodies = {body["id"]: body for body in told()}
    return list(bodies.values())[before:]


def what_the_receiver_holds(bodies, key):
    """Each event says how far the chain was signed before it: an anchor that the box cannot take back."""
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))
    raised, *later = bodies
    hashes = {body["data"]["evidence"]["seq"]: body["data"]["evidence"]["hash"] for body in bodies}
    for body in bodies:
        head = body["data"]["evidence"]["head"]
        public.verify(base64.b64decode(head["signature"]), head["signed"].encode())
        signed = json.loads(head["signed"])
        assert (signed["seq"], signed["hash"]) == (head["seq"], head["hash"]) and signed["at"].endswith("+08:00")
        try:
            public.verify(base64.b64decode(head["signature"]), head["signed"].replace("synced", "sunken").encode() + b" ")
            raise SystemExit("a signature over other bytes is no signature")
        except InvalidSignature:
            pass
    first = later[0]["data"]["evidence"]["head"]
    assert first["hash"] == hashes[first["seq"]] and first["seq"] >= raised["data"]["evidence"]["seq"], "the raise was signed at once"


def unpack(bundle):
    with tarfile.open(bundle) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}


def pack(path, files):
    with tarfile.open(path, "w") as tar:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return path


def what_is_in_it(bundle, occurrence):

    files = unpack(bundle)
    kinds = [json.loads(json.loads(line)["record"])["kind"] for line in files["events.jsonl"].decode().splitlines()]
    assert kinds[0] == "raised" and "acknowledged" in kinds, kinds
    frames = [json.loads(line) for name in files if name.startswith("captures/") for line in gzip.decompress(files[name]).decode().splitlines()]
    assert sum("hex" in frame for frame in frames) > 4 and sum("point" in frame for frame in frames) > 4, frames[:3]
    assert any(gap["why"]["en"] == "the gateway was stopped" for frame in frames for gap in frame.get("lacks", [])), "it says what lacks"
    assert b"elevator/story-service" in files["configuration/gatehouse.toml"]
    assert files["configuration/elevator_story-service@1.toml"].startswith(b"profile")
    page = files["index.html"].decode()
    assert all(word in page for word in (occurrence, "张伟", "链校验：通过", "the whole chain holds", "safety-inspection")), page
    receipts = [json.loads(line) for line in files["receipts.jsonl"].decode().splitlines()]
    assert {line["state"] for line in receipts} == {"delivered"} and {line["status"] for line in receipts} == {200}


def whoever_changes_the_bundle(folder, bundle, key):
    """One byte of any file; a line taken out; two exchanged; a row hidden; the end cut off and everything hashed anew."""
    files = unpack(bundle)
    evidence = [name for name in files if name not in ("manifest.json", "index.html", "public-key.txt", "configuration/gatehouse.toml")]
    told = lambda changed: (verify(pack(folder / "changed.tar", changed), "--key", key), peer(folder / "changed.tar", key))
    spots = [(name, len(files[name]) // 2) for name in evidence]
    spots += [("events.jsonl", files["events.jsonl"].index(b"\n"))]  # a line's end becomes a vertical tab: no end of a line in JSON lines
    for name, spot in spots:
        body = bytearray(files[name])
        body[spot] ^= 1
        ours, theirs = told({**files, name: bytes(body)})
        assert ours.returncode == 9, f"{name}: {ours.stdout}{ours.stderr}"
        assert theirs.returncode != 0, f"{name}: {theirs.stdout}"
    chain = files["chain.jsonl"].splitlines(keepends=True)
    events = files["events.jsonl"].splitlines(keepends=True)
    middle = len(chain) // 2
    for fact, changed in (
        ("a row taken out", {"chain.jsonl": b"".join(chain[:middle] + chain[middle + 1:])}),
        ("two rows exchanged", {"chain.jsonl": b"".join(chain[:middle] + [chain[middle + 1], chain[middle]] + chain[middle + 2:])}),
        ("an event taken out", {"events.jsonl": b"".join(events[:1] + events[2:])}),
        ("an event taken out, its row hidden", {"events.jsonl": b"".join(events[:1] + events[2:]), "chain.jsonl": hidden(chain, events[1])}),
    ):
        whole = {**files, **changed}
        ours, theirs = told({**whole, "manifest.json": renamed(whole)})
        assert ours.returncode == 9 and theirs.returncode != 0, f"{fact}: {ours.stdout} {theirs.stdout}"


def hidden(chain, event):

    seq = json.loads(event)["seq"]
    rows = []
    for line in map(json.loads, chain):
        record = json.loads(line.get("record", "{}"))
        if record.get("kind") == "event" and record["seq"] == seq:
            line["digest"] = hashlib.sha256(line.pop("record").encode()).hexdigest()
        rows.append(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return b"".join(rows)


def renamed(files):
    """The manifest, as if nothing had happened."""

    manifest = json.loads(files["manifest.json"])
    by = "sm3" if manifest.get("alg") == "sm2-sm3" else "sha256"
    manifest["files"] = {name: hashlib.new(by, body).hexdigest() for name, body in files.items() if name != "manifest.json"}
    return json.dumps(manifest).encode()


def whoever_has_the_disk(store, key):
    conn = sqlite3.connect(store / "events.db")
    for fact, sql in (
        ("who acknowledged", "UPDATE audit SET who = '李四' WHERE number = 1"),
        ("a receipt", "UPDATE outbox SET receipt_status = 500 WHERE row = 1"),
        ("an event", "DELETE FROM event WHERE seq = 2"),
        ("the last rows of the chain", "DELETE FROM link WHERE n > (SELECT max(n) - 3 FROM link)"),
    ):
        copy = store.parent / "copy"
        copy.mkdir(exist_ok=True)
        (copy / "events.db").unlink(missing_ok=True)
        conn.execute("VACUUM INTO ?", (str(copy / "events.db"),))
        other = sqlite3.connect(copy / "events.db")
        other.execute(sql)
        other.commit()
        other.close()
        done = verify("--store", copy, "--key", key)
        assert done.returncode == 9 and "does not hold" in done.stdout, f"{fact}: {done.stdout}{done.stderr}"
    conn.close()


def test_a_site_goes_over_to_guomi(tmp_path, modbus, inspector, gateway):
    """国密: one key of the site file, and from then on SM3 and SM2. What was proved before is proved as before; OpenSSL is the judge of the rest."""
    tcp = modbus([1])
    car = Car(tcp)
    written = site(tmp_path, tcp.port, [inspector_table(inspector.port)])
    gatehouse = gateway(written).start()
    store = tmp_path / "store"
    before = a_case(gatehouse, car, inspector, 1)
    old = gatehouse.cli("events", "key").stdout.strip()
    gatehouse.stop()
    occurrence, early = before[0]["data"]["alarm"]["occurrence"], tmp_path / "early.tar"
    gatehouse.cli("alarms", "export", occurrence, "-o", early)

    gatehouse.config.write_text(written + '[evidence]\nalgorithms = "guommi"\n')
    refused = run_binary("check", "--config", gatehouse.config, "--lang", "en")
    assert refused.returncode == 3 and 'did you mean "guomi"' in refused.stdout + refused.stderr, refused
    gatehouse.config.write_text(written + '[evidence]\nalgorithms = "guomi"\n')
    gatehouse.start()
    gatehouse.acknowledge("lift-1", "passenger_trapped", who="张伟")  # its end
    after = a_case(gatehouse, car, inspector, 2)
    new = json.loads(gatehouse.cli("status", "--json").stdout)["evidence_key"]
    assert new["algorithm"] == "sm2" and new["public"] == gatehouse.cli("events", "key").stdout.strip() != old
    gatehouse.stop()

    by_openssl(before, after, new["public"])
    secret = (store / "evidence-sm2.key").read_text().strip()
    assert (store / "evidence-sm2.key").stat().st_mode & 0o777 == 0o600 and secret not in gatehouse.log.read_text()
    other = base64.b64encode(bytes([9]) + bytes(31)).decode()
    for key in (old, new["public"]):
        done = verify("--store", store, "--key", key)
        assert done.returncode == 0 and "SHA-256 and SM3" in done.stdout, done.stdout + done.stderr
    assert verify("--store", store, "--key", other).returncode == 9
    over, late = tmp_path / "over.tar", tmp_path / "late.tar"
    gatehouse.cli("alarms", "export", occurrence, "-o", over)
    gatehouse.cli("alarms", "export", after[0]["data"]["alarm"]["occurrence"], "-o", late)
    # one began before and ended after; of the one after that the old key vouches in that it handed over
    for bundle, right, wrong in ((early, [old], [new["public"]]), (over, [old], []), (late, [old, new["public"]], [other])):
        assert (told := verify(bundle)).returncode == 0, told
        for key in right:
            for told in (verify(bundle, "--key", key), peer(bundle, key)):
                assert told.returncode == 0, f"{bundle} {key}: {told.stdout}{told.stderr}"
        for key in wrong:
            assert verify(bundle, "--key", key).returncode == 9 and peer(bundle, key).returncode != 0, f"{bundle} {key}"
    *_, last, first = (json.loads(line) for line in unpack(over)["events.jsonl"].splitlines())
    assert [json.loads(event["record"]).get("alg") for event in (last, first)] == [None, "sm2-sm3"] and first["prev_hash"] == last["hash"]
    files = unpack(late)
    assert "handover.jsonl" in files and b"sha256" not in files["chain.jsonl"] + files["events.jsonl"]
    assert "SHA-256 · Ed25519；SM3 · SM2（国密" in files["index.html"].decode()
    for name in ("chain.jsonl", "handover.jsonl"):
        body = bytearray(files[name])
        body[len(body) // 2] ^= 1
        changed = {**files, name: bytes(body)}
        path = pack(tmp_path / "changed.tar", {**changed, "manifest.json": renamed(changed)})
        assert verify(path, "--key", old).returncode == 9 and peer(path, old).returncode != 0, name


def by_openssl(before, after, key):
    """What was delivered names what it was made with."""
    assert not any("alg" in body["data"]["evidence"] for body in before)
    for body in after:
        evidence = body["data"]["evidence"]
        assert evidence["alg"] == evidence["head"]["alg"] == "sm2-sm3"
        check_signature("sm2-sm3", key, evidence["head"]["signature"], evidence["head"]["signed"].encode())
