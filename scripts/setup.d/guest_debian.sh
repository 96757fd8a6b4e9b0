# shellcheck shell=bash
# The part of guest.sh that installs Debian's compiler for guests and makes it usable by plain cargo.
#
# Needs from scripts/setup: $repository, $tools (the tool folder), say, fail, within, cargo_program, debian_install.
# shellcheck disable=SC2154

guest_packages=(rustc-web cargo-web rust-web-src lld-22 wasi-libc)
guest_linker_version=0.5.31

# Whether an earlier set-up chose Debian's compiler and nobody has added rustup's target since.
guest_by_debian_already() {
    grep -qs '^PATH_PREFIX=' "$tools/guest.env" && guest_debian_is_there && ! (cd "$repository" && guest_target_is_there)
}

guest_by_debian() {
    local state=found
    guest_debian_is_there || { state=installed && guest_debian_install; }
    cargo_program "guest target" wasm-component-ld "$guest_linker_version"
    guest_write_links
    guest_write_libc
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
    command -v apt-get >/dev/null \
        || fail "guest target" "rustup cannot download $guest_target and this is not Debian; add the target by hand"
    debian_install "guest target" "${guest_packages[@]}"
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
exec '$tools/bin/wasm-component-ld' "\$@" --wasm-ld-path=/usr/bin/wasm-ld-22 \\
    '$folder/libc.o' "/usr/lib/wasm32-wasi/\$start"
EOF
    chmod +x "$folder/wasm-component-ld"
}

# Compiled anew when the source or the compiler changed.
guest_write_libc() {
    local folder=$tools/guest-rust source=$repository/scripts/setup.d/guest_libc stamp work
    stamp="$(/usr/bin/rustc --version) $(cksum <"$source/lib.rs")"
    [ -e "$folder/libc.o" ] && [ "$(cat "$folder/libc.stamp" 2>/dev/null)" = "$stamp" ] && return
    say "guest target" "compiling what Debian's wasi-libc lacks"
    work=$(mktemp -d "$folder/libc.XXXXXX")
    cp "$source/Cargo.toml" "$source/lib.rs" "$work"
    env -u RUSTUP_TOOLCHAIN -u RUSTFLAGS RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 /usr/bin/cargo rustc --quiet \
        --manifest-path "$work/Cargo.toml" --target-dir "$work/target" -Zbuild-std=core --target "$guest_target" -- \
        "--emit=obj=$work/libc.o" -Ccodegen-units=1 || fail "guest target" "Debian's compiler does not work, see above"
    mv "$work/libc.o" "$folder/libc.o"
    rm -rf "$work"
    guest_replace "$folder/libc.stamp" <<<"$stamp"
}
