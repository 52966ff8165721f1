#!/bin/sh
# Cargo's compiler wrapper for fuzz/run.sh: the gateway and the targets tell libFuzzer where they have been, what they depend on does not.
case " $* " in
*"--crate-name build_script_build "*) exec "$@" ;;
*"--crate-name gatehouse "* | *"fuzz_targets/"*)
    exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code ;;
*) exec "$@" ;;
esac
