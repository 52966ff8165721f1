#!/usr/bin/env bash
# The fault catalogue as scripted runs: each row breaks something, and a checker compares the ledgers of receivers and simulators with events.db.
# Printed for each: L lost, D doubled, O out of order, W wrong, R seconds until all was well again. Rows that wait for something are named so.
#   bash tests/faults/run.sh            the quick rows, several at once      bash tests/faults/run.sh T06 T08      these rows, also long ones
#   bash tests/faults/run.sh --waiting T06    also a row that waits for what is not built yet
# Longer by hand: KILLS=1000 (T01) · CRASHES=100 (T02) · CUTS=500 (T03) · SECONDS=600 (T03b) · TAILS=200 (T04) · WRITES=200 (T07) · SYNCS=50 (T08) · DAMAGES=50 (T11)
# EVENTS=60000 (T25, src/uplink/courier/tests/month.rs) · READER_SECONDS=600 (T16) · RESTARTS=50 (T19) · MINUTES=30 (T24) · BROKER_RESTARTS=180 (T38); T03b, T16b and T37 only when they are named
# GATEHOUSE_BIN must be built with the crash points for T02: cargo build --profile ci --features crash-points
set -uo pipefail
cd "$(dirname "$0")/../.."
export NO_COLOR=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
more=() rows=()
for word in "$@"; do case $word in [TN][0-9]*) rows+=("$word") ;; *) more+=("$word") ;; esac; done
chosen=$(IFS=,; printf '%s' "${rows[*]}")
python=.venv/bin/python

# Most of the time every row waits for something: so several at once.
at_once=(--numprocesses "${ROWS_AT_ONCE:-4}" --dist loadgroup)
[ ${#rows[@]} -gt 0 ] && at_once=(-s)
exec "$python" -m pytest tests/faults --rows "$chosen" "${at_once[@]}" "${more[@]}" </dev/null
