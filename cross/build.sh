#!/usr/bin/env bash
# Builds gatehouse for 64-bit ARM (glibc 2.31 and newer: Debian 11, Ubuntu 20.04 and all after them) on a Debian 12 amd64 machine.
#   bash cross/build.sh            -> target/cross/gatehouse-aarch64
#   bash cross/build.sh --prove    also runs the binary under qemu: help, check, a demo story told to its end
# Nothing is installed system-wide: the compiler with an ARM standard library comes from Debian's packages, unpacked into a
# folder; zig (from PyPI) is the C compiler and the linker. apt-get, dpkg-deb, python3 and cargo must be there.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
tools=${CROSS_TOOLS:-$here/target/cross/tools}
target=aarch64-unknown-linux-gnu
libc=2.31
mkdir -p "$tools"

step() { printf '── %s\n' "$*"; }

if [ ! -x "$tools/rustc.sh" ]; then
    step "rustc with an arm64 standard library (Debian's rustc-web, unpacked, not installed)"
    apt=$tools/apt
    mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,debs}   # the machine's sources, a state of our own
    cp /var/lib/dpkg/status "$apt/state/"
    cat >"$apt/apt.conf" <<CONF
Dir::State "$apt/state";
Dir::State::status "$apt/state/status";
Dir::Cache "$apt/cache";
APT::Architectures { "amd64"; "arm64"; };
CONF
    export APT_CONFIG=$apt/apt.conf
    apt-get -q update
    # rustc-web follows Firefox ESR: take whatever version of its library it depends on
    std=$(apt-cache depends libstd-rust-web-dev:amd64 | grep -oE 'libstd-rust-web-[0-9.]+' | head -1 || true)
    llvm=$(apt-cache depends "$std:amd64" | grep -oE 'libllvm[0-9]+' | head -1 || true)
    (cd "$apt/debs" && apt-get -q download rustc-web:amd64 libstd-rust-web-dev:amd64 "$std:amd64" "$llvm:amd64" libstd-rust-web-dev:arm64)
    for deb in "$apt"/debs/*.deb; do dpkg-deb -x "$deb" "$tools/root"; done
    unset APT_CONFIG
    cat >"$tools/rustc.sh" <<RUSTC
#!/bin/sh
LD_LIBRARY_PATH=$tools/root/usr/lib/x86_64-linux-gnu exec $tools/root/usr/bin/rustc "\$@"
RUSTC
    chmod +x "$tools/rustc.sh"
fi
if [ ! -x "$tools/venv/bin/cargo-zigbuild" ]; then
    step "zig and cargo-zigbuild (PyPI)"
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install -q --disable-pip-version-check ziglang==0.15.2 cargo-zigbuild==0.21.2
fi

step "cargo zigbuild --release --target $target.$libc"
export RUSTC=$tools/rustc.sh PATH=$tools/venv/bin:$PATH ZIG_GLOBAL_CACHE_DIR=$tools/zig-cache XDG_CACHE_HOME=$tools/cache
export CARGO_TARGET_DIR=$here/target/cross/build
# what no clock may stand before: the commit's day, so that the same commit gives the same binary
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct)}
"$RUSTC" --version
cargo-zigbuild zigbuild --release --locked --bin gatehouse --target "$target.$libc"
binary=$here/target/cross/gatehouse-aarch64
cp "$CARGO_TARGET_DIR/$target/release/gatehouse" "$binary"
ls -l "$binary"

[ "${1:-}" = --prove ] || exit 0

step "which glibc it needs (2.31 at most)"
needs=$(grep -a -oE 'GLIBC_2\.[0-9]+' "$binary" | sort -uV | tail -1)
echo "$needs"
[ "$(printf '%s\nGLIBC_2.31\n' "$needs" | sort -V | tail -1)" = GLIBC_2.31 ] || { echo "too new"; exit 1; }

step "an ARM root to run it in (libc of Debian 12, unpacked) and the emulator"
if [ ! -e "$tools/arm-root/lib/aarch64-linux-gnu/libc.so.6" ]; then
    export APT_CONFIG=$tools/apt/apt.conf
    mkdir -p "$tools/arm-debs"
    (cd "$tools/arm-debs" && apt-get -q download libc6:arm64 libgcc-s1:arm64 qemu-user-static:amd64)
    for deb in "$tools"/arm-debs/*_arm64.deb; do dpkg-deb -x "$deb" "$tools/arm-root"; done
    dpkg-deb -x "$tools"/arm-debs/qemu-user-static_*.deb "$tools/qemu"
    unset APT_CONFIG
fi
shim=$tools/qemu_serial_shim.so
"$tools/venv/bin/python" -m ziglang cc -target aarch64-linux-gnu.$libc -shared -fPIC -O1 -o "$shim" cross/qemu_serial_shim.c -ldl
arm() { "$tools/qemu/usr/bin/qemu-aarch64-static" -L "$tools/arm-root" -E LD_PRELOAD="$shim" "$binary" "$@"; }

step "it says who it is, knows its profiles, and passes their cases"
arm --version
arm profile test | tail -1
step "the demo's story, told by the ARM binary: sockets, pty, broker, SQLite, HTTP"
arm demo --once --lang en
