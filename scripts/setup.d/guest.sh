# shellcheck shell=bash
# The compiler for guests, target wasm32-wasip2. Two ways lead to it:
#
#   rustup   `rustup target add wasm32-wasip2`; plain cargo then builds guests and guest.env holds no settings.
#   debian   where rustup cannot download (a closed network): Debian's own rustc-web, cargo-web and wasi-libc. They build the
#            same target from the standard library's sources, which takes these settings in guest.env:
#              - cargo and rustc of one release, found through PATH_PREFIX before rustup's;
#              - build-std, because Debian packages no wasm32-wasip2 standard library (RUSTC_BOOTSTRAP admits the flag);
#              - a linker that adds Debian's wasi-libc and the start-up object that fits the artifact (guest_debian.sh).
#
# guest.env is read by scripts/guest-cargo and by `nocti build`. A line is empty, a comment (#) or KEY=VALUE, taken literally
# up to the end of the line (no quotes, no expansion). An empty VALUE removes the variable; PATH_PREFIX is put before PATH.
#
# GUEST_COMPILER=rustup|debian forces one way; without it rustup is tried first.
#
# Needs from scripts/setup: $repository, $tools (the tool folder), say, fail, within, cargo_program.
# shellcheck disable=SC2154

guest_target=wasm32-wasip2

# shellcheck source=/dev/null
source "$repository/scripts/setup.d/guest_debian.sh"

guest() {
    case ${GUEST_COMPILER:-auto} in
        rustup) guest_by_rustup || fail "guest target" "rustup cannot download $guest_target, see $tools/rustup.log" ;;
        debian) guest_by_debian ;;
        # What an earlier set-up settled on stays, without asking the network again.
        auto) { guest_by_debian_already && guest_by_debian; } || guest_by_rustup || guest_by_debian ;;
        *) fail "guest target" "GUEST_COMPILER is '$GUEST_COMPILER'; use rustup, debian or leave it unset" ;;
    esac
}

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
    within 180 rustup --quiet target add "$guest_target" >"$tools/rustup.log" 2>&1 && guest_target_is_there
}

guest_write_env() { guest_replace "$tools/guest.env"; }

# Writes standard input to a file by a rename, and only where it differs: a build that runs meanwhile sees the old file or
# the new one.
guest_replace() {
    local new="$1.$$"
    cat >"$new"
    if [ -e "$1" ] && cmp -s "$new" "$1"; then rm "$new"; else mv "$new" "$1"; fi
}
