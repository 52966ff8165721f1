#!/usr/bin/env bash
# Fuzzes every codec and every reader of files, each for FUZZ_SECONDS of processor time (60 if not said), and says how many held.
#   bash fuzz/run.sh              all        FUZZ_SECONDS=3600 bash fuzz/run.sh rtu mbap        bash fuzz/run.sh --build    compiles only
# `RUSTC_BOOTSTRAP=1 cargo fuzz run rtu fuzz/seeds/rtu` works as well, but compiles everything anew. Here only the gateway itself is watched
# (fuzz/watched.sh), so that what it depends on is shared with `cargo build --profile ci`.
set -uo pipefail
cd "$(dirname "$0")/.."
seconds="${FUZZ_SECONDS:-60}"
target="${CARGO_TARGET_DIR:-$PWD/target}"
only_build=
[ "${1:-}" = --build ] && only_build=1 && shift
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\([a-z0-9]*\)"$/\1/p' fuzz/Cargo.toml)
unset RUSTC_WORKSPACE_WRAPPER # a linter's driver watches nothing
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

RUSTC_WRAPPER="$PWD/fuzz/watched.sh" cargo build -q --profile ci --manifest-path fuzz/Cargo.toml --target-dir "$target" $(printf -- '--bin %s ' "$@") </dev/null ||
    { echo "fuzz: the targets could not be built"; echo "0 held, 1 broken"; exit 1; }
[ -z "$only_build" ] || exit 0

# What became of one target is said in "$work/NAME.held" or "$work/NAME.broke". (Not by its exit code: the shell forgets a child whose number another got.)
fuzz() {
    local name=$1 corpus="$work/$1" log="$work/$1.log"
    mkdir -p "$corpus" "fuzz/artifacts/$name"
    cp fuzz/seeds/"$name"/* "$corpus"/ 2>/dev/null
    case $name in # the shipped files are the best seeds for the readers of files
        profile) for file in device-profiles/*/*.toml; do cp "$file" "$corpus/${file//\//-}"; done ;;
        site) cp config/*.toml "$corpus"/ ;;
        cases) for file in device-profiles/*/*.cases.toml; do { printf '\0'; cat "$file"; } >"$corpus/${file//\//-}"; done ;;
    esac
    # a minute without an end is a loop, more than 1 GiB no bounded memory
    "$target/ci/$name" -timeout=60 -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$name/" "$corpus" >"$log" 2>&1 </dev/null &
    local fuzzer=$!
    until [ "$(processor_seconds $fuzzer)" -ge "$seconds" ]; do sleep 0.5; done
    kill -USR1 $fuzzer 2>/dev/null # libFuzzer ends in good order; one that broke has ended already
    if wait $fuzzer && grep -q '^stat::number_of_executed_units' "$log"; then
        printf '%-9s held: %s inputs, %s edges, %s MiB\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
            "$(grep -oE 'cov: [0-9]+' "$log" | tail -1 | cut -c6-)" "$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")" >"$work/$name.held"
    else
        { printf '%-9s BROKE; its input lies in fuzz/artifacts/%s/\n' "$name" "$name"; tail -25 "$log"; } >"$work/$name.broke"
    fi
}

# processor_seconds PID: how long it computed; for ever, once it has ended
processor_seconds() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || { echo 999999999; return; }
    set -- ${stat##*) }
    [ "$1" != Z ] && echo $(((${12} + ${13}) / $(getconf CLK_TCK))) || echo 999999999
}

# As many at once as there are processors.
for name in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do sleep 0.2; done
    fuzz "$name" &
done
wait
for name in "$@"; do
    if [ -s "$work/$name.held" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    cat "$work/$name".held "$work/$name".broke 2>/dev/null
done
echo "$passed held, $failed broken"
exit $((failed > 0))
