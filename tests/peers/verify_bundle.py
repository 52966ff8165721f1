#!/usr/bin/env python3
"""A bundle of `gatehouse alarms export`, checked by the public key alone, sharing no code with the gateway: verify_bundle.py BUNDLE PUBLIC-KEY"""
import base64
import collections
import hashlib
import json
import sys
import tarfile

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

sha = lambda data: hashlib.sha256(data).digest()

def need(holds, what):
    if not holds:
        sys.exit(f"NOT VERIFIED: {what}")

def main(path, public):
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
    lines = lambda name: [json.loads(line) for line in files[name].split(b"\n") if line]
    key, manifest = Ed25519PublicKey.from_public_bytes(base64.b64decode(public)), json.loads(files["manifest.json"])
    # every row follows the one before it, each signature is of the row before it, no event is left out between two
    first, *rows = lines("chain.jsonl")
    at, end, seq, signed = first["n"], bytes.fromhex(first["hash"]), None, 0
    said = collections.defaultdict(list)
    for row in rows:
        digest = sha(row["record"].encode()) if "record" in row else bytes.fromhex(row["digest"])
        need(row["n"] == at + 1 and sha(end + digest).hex() == row["hash"], f"row {row['n']}")
        fact = json.loads(row.get("record", '{"kind": "hidden"}'))
        if fact["kind"] == "head":
            head = json.loads(fact["signed"])
            key.verify(base64.b64decode(fact["signature"]), fact["signed"].encode())
            need((head["link"], head["link_hash"]) == (at, end.hex()), f"what row {row['n']} signs")
            signed = row["n"]
        elif fact["kind"] == "event":
            need(seq in (None, fact["seq"] - 1), f"an event before row {row['n']} is hidden")
            seq = fact["seq"]
        elif fact["kind"] == "base" and fact["why"] != "retired":
            seq = fact["seq"]
        said[fact["kind"]].append(fact)
        at, end = row["n"], bytes.fromhex(row["hash"])
    need(signed, "nothing is signed")
    # the alarm's events are those that the chain has; so are frames, receipts and what was in force
    events = {line["seq"]: line for line in lines("events.jsonl")}
    mine = {fact["seq"]: fact["hash"] for fact in said["event"] if fact["occurrence"] == manifest["occurrence"]}
    need(mine and mine == {seq: line["hash"] for seq, line in events.items()}, "the alarm's events")
    for line in events.values():
        need(sha(bytes.fromhex(line["prev_hash"]) + line["record"].encode()).hex() == line["hash"], f"event {line['seq']}")
    receipts = {fact["row"]: fact["said_sha256"] for fact in said["receipt"]}
    for line in (line for line in lines("receipts.jsonl") if line["state"] == "delivered"):
        need(receipts.get(line["row"]) == sha((line["said"] or "").encode()).hex(), f"the receipt of letter {line['row']}")
    need(sha(files["configuration.json"]).hex() in {fact["configuration"] for fact in said["head"]}, "what was in force")
    force = json.loads(files["configuration.json"])
    known = {"captures": {fact["sha256"] for fact in said["capture"]}, "configuration": {force["site"], *force["profiles"].values()}}
    for name in (name for name in files if "/" in name):
        need(sha(files[name]).hex() in known[name.split("/")[0]], name)
    print(f"VERIFIED: {len(events)} events, {len(rows)} rows, signed up to row {signed}")
main(*sys.argv[1:])
