#!/usr/bin/env bash
# Sets up everything the tests need on a fresh Debian 12 (root, cargo, python3), then runs everything.
#   bash tests/run.sh             ROUNDS=100 bash tests/run.sh   for a long night of kills
# Without `set -e`: a failed step is counted and the next one still runs, so that one look shows all.
set -uo pipefail
cd "$(dirname "$0")/.."
export ROUNDS="${ROUNDS:-10}" NO_COLOR=1 CARGO_TERM_COLOR=never PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
export GATEHOUSE_BIN="${GATEHOUSE_BIN:-$CARGO_TARGET_DIR/ci/gatehouse}"
passed=0 failed=0
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

step() { printf '\n── %s (after %d:%02d min)\n' "$*" $((SECONDS / 60)) $((SECONDS % 60)); }
close() { printf '\n%d passed, %d failed\n' "$passed" "$failed"; exit $((failed > 0)); }
give_up() { printf 'tests/run.sh: %s\n' "$1" >&2; failed=$((failed + 1)); close; }
# count LOG WORD…: the sum of the numbers that stand before these words
count() { local log=$1; shift; printf '%s\n' "$@" | while read -r word; do grep -oE "[0-9]+ $word" "$log" | grep -oE '^[0-9]+'; done | awk '{n += $1} END {print n + 0}'; }
# tally STATUS LOG PASSED-WORD FAILED-WORD…: a runner that failed without saying a number counts as one
tally() {
    local status=$1 log=$2 good=$3 bad; shift 3
    passed=$((passed + $(count "$log" "$good")))
    bad=$(count "$log" "$@")
    [ "$status" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    failed=$((failed + bad))
}

packages=()
command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || packages+=(mosquitto)
command -v nats-server >/dev/null || [ -x /usr/sbin/nats-server ] || packages+=(nats-server)
command -v socat >/dev/null || packages+=(socat)
ldconfig -p | grep -q libmodbus.so.5 || packages+=(libmodbus5)
command -v npm >/dev/null || packages+=(nodejs npm)
command -v ip >/dev/null || packages+=(iproute2)
command -v unshare >/dev/null || packages+=(util-linux)
command -v cc >/dev/null || packages+=(gcc libc6-dev)
command -v c++ >/dev/null || packages+=(g++)
command -v strace >/dev/null || packages+=(strace)
command -v nft >/dev/null || [ -x /usr/sbin/nft ] || packages+=(nftables)
command -v mkfs.ext4 >/dev/null || [ -x /usr/sbin/mkfs.ext4 ] || packages+=(e2fsprogs)
command -v openssl >/dev/null || packages+=(openssl)
[ -e /usr/include/modbus/modbus.h ] || packages+=(libmodbus-dev)
python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
if [ ${#packages[@]} -gt 0 ]; then
    step "apt: ${packages[*]}"
    # mosquitto and nats-server are wanted as programs, not as services: their packages must start them neither now nor at boot
    policy=/usr/sbin/policy-rc.d ours=
    [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && ours=1; }
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends "${packages[@]}"; } >"$logs/apt" 2>&1 </dev/null
    installed=$?
    [ -n "$ours" ] && rm -f $policy
    for service in mosquitto nats-server; do
        case " ${packages[*]} " in *" $service "*) systemctl disable $service.service >/dev/null 2>&1 ;; esac
    done
    [ $installed -eq 0 ] || { tail -20 "$logs/apt"; give_up "apt-get failed"; }
fi

want=$(python3 --version; cat tests/requirements.txt)
if [ "$(cat .venv/installed 2>/dev/null)" != "$want" ]; then
    step "python: .venv with tests/requirements.txt"
    { python3 -m venv --clear .venv && .venv/bin/python -m pip install -q --disable-pip-version-check -r tests/requirements.txt; } </dev/null ||
        give_up "the Python packages could not be installed"
    printf '%s\n' "$want" >.venv/installed
fi

want=$(node --version; cat tests/peers/package.json)
if [ "$(cat .npm/installed 2>/dev/null)" != "$want" ]; then
    step "npm: .npm with tests/peers/package.json"
    { mkdir -p .npm && cp tests/peers/package.json .npm/ && npm --prefix .npm install --no-audit --no-fund --ignore-scripts --loglevel=error; } </dev/null ||
        give_up "the npm packages could not be installed"
    printf '%s\n' "$want" >.npm/installed
fi

# One compilation for the unit tests, the binary of the stories and (its dependencies) the fuzz targets.
if cargo nextest --version >/dev/null 2>&1; then
    step "cargo nextest run"
    cargo nextest run --cargo-profile ci --features crash-points --no-fail-fast </dev/null 2>&1 | tee "$logs/cargo"
    status=$?
    grep -E '^ *Summary' "$logs/cargo" >"$logs/cargo.end"
else
    step "cargo test"
    cargo test --profile ci --features crash-points --no-fail-fast </dev/null 2>&1 | tee "$logs/cargo"
    status=$?
    grep -E '^test result' "$logs/cargo" >"$logs/cargo.end"
fi
tally $status "$logs/cargo.end" passed failed 'timed out'
[ -x "$GATEHOUSE_BIN" ] || give_up "the binary could not be built"

# stories NAME WORDS…: those that the words choose
stories() {
    local log=$logs/$1; shift
    step "pytest tests/stories $* (ROUNDS=$ROUNDS)"
    .venv/bin/python -m pytest tests/stories --durations=8 "$@" </dev/null 2>&1 | tee "$log"
    local status=$?
    tail -1 "$log" >"$log.end"
    tally $status "$log.end" passed failed error
}
# Most stories and fault rows wait most of their time, so some run at once: as many as leave the peers the time they promise. Those that measure
# time run one by one. Nothing computes beside them, compiler or fuzz target, at whatever priority: it makes peers too late.
stories together -m 'not alone' --numprocesses "${STORIES_AT_ONCE:-3}" --dist loadgroup

step "tests/faults/run.sh"
bash tests/faults/run.sh </dev/null 2>&1 | tee "$logs/faults"
status=$?
grep -E '^[0-9]+ held, [0-9]+ broken, [0-9]+ waiting$' "$logs/faults" >"$logs/faults.end"
tally $status "$logs/faults.end" held broken

stories alone -m alone

step "fuzz/run.sh (FUZZ_SECONDS=${FUZZ_SECONDS:-60} of processor time each)"
bash fuzz/run.sh </dev/null 2>&1 | tee "$logs/fuzz"
status=$?
tail -1 "$logs/fuzz" >"$logs/fuzz.end"
tally $status "$logs/fuzz.end" held broken

close
