#!/usr/bin/env python3
"""A bundle of `gatehouse alarms export`, checked by the public key alone, sharing no code with the gateway: verify_bundle.py BUNDLE PUBLIC-KEY"""
import base64
import collections
import hashlib
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HASHES = {"ed25519-sha256": "sha256", "sm2-sm3": "sm3"}
SM2_KEY = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")  # what stands before the point in a SubjectPublicKeyInfo
named = lambda of, name="alg": of.get(name, "ed25519-sha256")
digest = lambda alg, data: hashlib.new(HASHES[alg], data).digest()
sums = lambda data: {hashlib.new(name, data).hexdigest() for name in HASHES.values()}

def need(holds, what):
    if not holds:
        sys.exit(f"NOT VERIFIED: {what}")

def check_signature(alg, public, signature, text):
    public, signature = base64.b64decode(public), base64.b64decode(signature)
    if alg == "ed25519-sha256":
        return Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    command = "openssl pkeyutl -verify -pubin -keyform DER -rawin -digest sm3 -pkeyopt distid:1234567812345678".split()  # GM/T 0009: who signs
    with tempfile.TemporaryDirectory() as folder:
        for option, body in (("-inkey", SM2_KEY + public), ("-sigfile", signature), ("-in", text)):
            command += [option, path := pathlib.Path(folder, option)]
            path.write_bytes(body)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

def main(path, public):
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
    lines = lambda name: [json.loads(line) for line in files[name].split(b"\n") if line]
    for old in lines("handover.jsonl") if "handover.jsonl" in files else []:
        if old["public_key"] == public and json.loads(old["signed"]).get("next") == old["next"]:
            check_signature(named(json.loads(old["signed"])), public, old["signature"], old["signed"].encode())
            public = old["next"]["public_key"]
    # every row follows the one before it, by the algorithm in force; each signature is of the row before it, by the key in force, which
    # alone hands over to others; no event is left out between two
    first, *rows = lines("chain.jsonl")
    at, end, alg, seq, force, trusted, signed = first["n"], bytes.fromhex(first["hash"]), named(first), None, None, False, 0
    said = collections.defaultdict(list)
    for row in rows:
        inner = digest(alg, row["record"].encode()) if "record" in row else bytes.fromhex(row["digest"])
        need(row["n"] == at + 1 and digest(alg, end + inner).hex() == row["hash"], f"row {row['n']}")
        fact = json.loads(row.get("record", '{"kind": "hidden"}'))
        if fact["kind"] in ("head", "switch"):
            head, key = json.loads(fact["signed"]), fact["public_key"]
            check_signature(alg, key, fact["signature"], fact["signed"].encode())
            need((head["link"], head["link_hash"], named(head), head.get("next")) == (at, end.hex(), alg, fact.get("next")), f"what row {row['n']} signs")
            need(force in (None, key), f"the key of row {row['n']}")
            force, trusted = key, trusted or key == public
            signed = row["n"] if trusted else 0
        if fact["kind"] == "switch":
            force, alg = fact["next"]["public_key"], fact["next"]["alg"]
        elif fact["kind"] == "event":
            need(seq in (None, fact["seq"] - 1), f"an event before row {row['n']} is hidden")
            seq = fact["seq"]
        elif fact["kind"] == "base" and fact["why"] != "retired":
            seq = fact["seq"]
        said[fact["kind"]].append(fact)
        at, end = row["n"], bytes.fromhex(row["hash"])
    need(signed, "nothing is signed with this key, nor with one that it handed over to")
    # the alarm's events are those that the chain has; so are frames, receipts and what was in force
    occurrence = json.loads(files["manifest.json"])["occurrence"]
    events = {line["seq"]: line for line in lines("events.jsonl")}
    mine = {fact["seq"]: (fact["hash"], named(fact, "event_alg")) for fact in said["event"] if fact["occurrence"] == occurrence}
    need(mine and mine == {seq: (line["hash"], named(json.loads(line["record"]))) for seq, line in events.items()}, "the alarm's events")
    for seq, line in events.items():
        need(digest(mine[seq][1], bytes.fromhex(line["prev_hash"]) + line["record"].encode()).hex() == line["hash"], f"event {seq}")
    receipts = {fact["row"]: fact.get("said_sha256", fact.get("said_sm3")) for fact in said["receipt"]}
    for line in (line for line in lines("receipts.jsonl") if line["state"] == "delivered"):
        need(receipts.get(line["row"]) in sums((line["said"] or "").encode()), f"the receipt of letter {line['row']}")
    need(sums(files["configuration.json"]) & {fact["configuration"] for fact in said["head"]}, "what was in force")
    force = json.loads(files["configuration.json"])
    known = {"captures": {fact.get("sha256", fact.get("sm3")) for fact in said["capture"]}, "configuration": {force["site"], *force["profiles"].values()}}
    for name in (name for name in files if "/" in name):
        need(sums(files[name]) & known[name.split("/")[0]], name)
    print(f"VERIFIED: {len(events)} events, {len(rows)} rows, signed up to row {signed}")

if __name__ == "__main__":
    main(*sys.argv[1:])
