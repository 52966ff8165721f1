#!/usr/bin/env python3
"""A bundle of `gatehouse alarms export`, checked by the public key alone, sharing no code with the gateway: verify_bundle.py BUNDLE PUBLIC-KEY"""
import collections
import json
import sys
import tarfile

from suites import check_signature, digest, named, sums

need = lambda holds, what: holds or sys.exit(f"NOT VERIFIED: {what}")

def main(path, public):
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
    lines = lambda name: [json.loads(line) for line in files[name].split(b"\n") if line]
    for old in lines("handover.jsonl") if "handover.jsonl" in files else []:
        if old["public_key"] == public and json.loads(old["signed"]).get("next") == old["next"]:
            check_signature(named(json.loads(old["signed"])), public, old["signature"], old["signed"].encode())
            public = old["next"]["public_key"]
    # each row follows the one before it, by the algorithm in force; each signature is of the row before it, by the key in force; no event is left out
    first, *rows = lines("chain.jsonl")
    at, end, alg, seq, force, signed = first["n"], bytes.fromhex(first["hash"]), named(first), None, None, 0
    said = collections.defaultdict(list)
    for row in rows:
        inner = digest(alg, row["record"].encode()) if "record" in row else bytes.fromhex(row["digest"])
        need(row["n"] == at + 1 and digest(alg, end + inner).hex() == row["hash"], f"row {row['n']}")
        fact = json.loads(row.get("record", '{"kind": "hidden"}'))
        if fact["kind"] in ("head", "switch"):
            head, key = json.loads(fact["signed"]), fact["public_key"]
            check_signature(alg, key, fact["signature"], fact["signed"].encode())
            signs = head["link"], head["link_hash"], named(head), head.get("next"), force or key
            need(signs == (at, end.hex(), alg, fact.get("next"), key), f"row {row['n']} signs something else, or with another key")
            force, signed = key, row["n"] if signed or key == public else 0
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
    used = json.loads(files["configuration.json"])
    known = {"captures": {fact.get("sha256", fact.get("sm3")) for fact in said["capture"]}, "configuration": {used["site"], *used["profiles"].values()}}
    for name in (name for name in files if "/" in name):
        need(sums(files[name]) & known[name.split("/")[0]], name)
    print(f"VERIFIED: {len(events)} events, {len(rows)} rows, signed up to row {signed}")

if __name__ == "__main__":
    main(*sys.argv[1:])
