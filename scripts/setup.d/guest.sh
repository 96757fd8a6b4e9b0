# shellcheck shell=bash
# The compiler for guests, target wasm32-wasip2. Two ways lead to it:
#
#   rustup   `rustup target add wasm32-wasip2`; plain cargo then builds guests and guest.env holds no settings.
#   debian   where rustup cannot download (a closed network): Debian's own rustc-web, cargo-web and wasi-libc. They build the
#            same target from the standard library's sources, which takes these settings in guest.env:
#              - cargo and rustc of one release, found through PATH_PREFIX before rustup's;
#              - build-std, because Debian packages no wasm32-wasip2 standard library (RUSTC_BOOTSTRAP admits the flag);
#              - a linker that adds Debian's wasi-libc and the start-up object that fits the artifact.
#
# guest.env is read by scripts/guest-cargo and by `nocti build`. A line is empty, a comment (#) or KEY=VALUE, taken literally
# up to the end of the line (no quotes, no expansion). An empty VALUE removes the variable; PATH_PREFIX is put before PATH.
#
# NOCTI_GUEST_COMPILER=rustup|debian forces one way; without it rustup is tried first.
#
# Needs from scripts/setup: $repository, $tools (the tool folder), say, fail, within, cargo_program.
# shellcheck disable=SC2154

guest_target=wasm32-wasip2
guest_packages=(rustc-web cargo-web rust-web-src lld-22 wasi-libc)
guest_linker_version=0.5.31

guest() {
    case ${NOCTI_GUEST_COMPILER:-auto} in
        rustup) guest_by_rustup || fail "guest target" "run 'rustup target add $guest_target' and see why it fails" ;;
        debian) guest_by_debian ;;
        auto) guest_by_rustup || guest_by_debian ;;
        *) fail "guest target" "NOCTI_GUEST_COMPILER is '$NOCTI_GUEST_COMPILER'; use rustup, debian or leave it unset" ;;
    esac
}

# --- rustup ---

guest_by_rustup() {
    local state=found folder
    command -v rustc >/dev/null || fail "guest target" "there is no rustc; install Rust with rustup first"
    # This repository's toolchain and, for functions in folders elsewhere, the user's default one, which is no failure.
    for folder in "$repository" "$tools"; do
        (cd "$folder" && guest_target_is_there) && continue
        if (cd "$folder" && guest_target_add); then
            state=added
        elif [ "$folder" = "$repository" ]; then
            return 1
        else
            say "guest target" "the default toolchain lacks $guest_target: functions outside this repository need it"
        fi
    done
    guest_write_env <<<"# Plain cargo builds $guest_target on this machine; nothing to set."
    say "guest target" "$state, $guest_target of $(rustc --version)"
}

guest_target_is_there() {
    local sysroot
    sysroot=$(rustc --print sysroot) || return 1
    compgen -G "$sysroot/lib/rustlib/$guest_target/lib/libstd-*.rlib" >/dev/null
}

guest_target_add() {
    command -v rustup >/dev/null || return 1
    say "guest target" "rustup target add $guest_target"
    within 180 rustup --quiet target add "$guest_target"
}

# --- debian ---

guest_by_debian() {
    local state=found
    guest_debian_is_there || { state=installed && guest_debian_install; }
    cargo_program "guest target" wasm-component-ld "$guest_linker_version"
    guest_write_links
    guest_write_env <<EOF
# Debian's compiler builds $guest_target on this machine. An empty value removes the variable.
PATH_PREFIX=$tools/guest-rust
RUSTC=/usr/bin/rustc
RUSTC_BOOTSTRAP=1
RUSTC_WRAPPER=
RUSTC_WORKSPACE_WRAPPER=
RUSTFLAGS=
RUSTUP_TOOLCHAIN=
CARGO_ENCODED_RUSTFLAGS=
CARGO_UNSTABLE_BUILD_STD=std,panic_abort
CARGO_TARGET_WASM32_WASIP2_LINKER=$tools/guest-rust/wasm-component-ld
CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS=-Clink-self-contained=no -L/usr/lib/wasm32-wasi
EOF
    say "guest target" "$state, $guest_target by Debian's $(/usr/bin/rustc --version)"
}

guest_debian_is_there() {
    [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && [ -x /usr/bin/wasm-ld-22 ] \
        && [ -e /usr/lib/wasm32-wasi/crt1-reactor.o ] \
        && [ -e "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml" ]
}

guest_debian_install() {
    local install="apt-get install ${guest_packages[*]}" log="$tools/apt.log" admin=()
    command -v apt-get >/dev/null \
        || fail "guest target" "rustup cannot download $guest_target and this is not Debian; add the target by hand"
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || fail "guest target" "rustup cannot download $guest_target; run 'sudo $install'"
        admin=(sudo -n)
    fi
    say "guest target" "$install"
    "${admin[@]}" apt-get update >"$log" 2>&1 || true
    "${admin[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${guest_packages[@]}" \
        >>"$log" 2>&1 || fail "guest target" "'$install' failed, see $log"
    guest_debian_is_there || fail "guest target" "Debian's packages lack a part of the compiler; rustc 1.96 is needed"
}

# rustc hands the linker a flavor as its very first arguments, so the linker's own options come last.
guest_write_links() {
    local folder=$tools/guest-rust
    mkdir -p "$folder"
    ln -sfn /usr/bin/cargo "$folder/cargo"
    ln -sfn /usr/bin/rustc "$folder/rustc"
    guest_replace "$folder/wasm-component-ld" <<EOF
#!/bin/sh
# Written by scripts/setup: wasm-component-ld with Debian's linker, and the start-up object of a library or of a program.
start=crt1-command.o
for argument; do
    case \$argument in --no-entry | _initialize) start=crt1-reactor.o ;; esac
done
exec '$tools/bin/wasm-component-ld' "\$@" --wasm-ld-path=/usr/bin/wasm-ld-22 "/usr/lib/wasm32-wasi/\$start"
EOF
    chmod +x "$folder/wasm-component-ld"
}

guest_write_env() { guest_replace "$tools/guest.env"; }

# Writes standard input to a file by a rename, and only where it differs: a build that runs meanwhile sees the old file or
# the new one.
guest_replace() {
    local new="$1.$$"
    cat >"$new"
    if [ -e "$1" ] && cmp -s "$new" "$1"; then rm "$new"; else mv "$new" "$1"; fi
}
