# shellcheck shell=bash
# An OCI registry for the tests of `nocti push` and `nocti pull`: the program of Debian's docker-registry, unpacked and not installed,
# so that no service starts. It needs nothing but the C library. Debian keeps one version of it, and apt checks what it downloads.
#
# Needs from scripts/setup: $tools (the tool folder), say, fail, within.
# shellcheck disable=SC2154

registry() {
    local target=$tools/registry
    if [ -x "$target/docker-registry" ]; then
        say "registry" "found, $target/docker-registry"
        return
    fi
    command -v apt-get >/dev/null \
        || fail "registry" "this is not Debian; put a docker-registry of version 2.8 at $target/docker-registry"
    say "registry" "downloading docker-registry"
    registry_download=$tools/.registry.$$
    trap 'rm -rf "$registry_download"' EXIT
    mkdir -p "$registry_download"
    registry_fetch || { registry_lists; registry_fetch; } \
        || fail "registry" "'apt-get download docker-registry' failed, see $tools/apt.log; is Debian's archive reachable?"
    dpkg -x "$registry_download"/*.deb "$registry_download/content" \
        || fail "registry" "the package could not be unpacked, see above"
    # One rename makes it appear, so a set-up that was interrupted, or one that runs beside, leaves no half of it.
    mv -T "$registry_download/content/usr/bin" "$target" 2>/dev/null || [ -x "$target/docker-registry" ] \
        || fail "registry" "$target could not be written; is the disk full or the folder there already?"
    say "registry" "installed, $target/docker-registry"
}

registry_fetch() {
    (cd "$registry_download" && within 300 apt-get download docker-registry >"$tools/apt.log" 2>&1)
}

# The lists of packages, which a new machine does not have yet. Reading them anew takes root, or sudo that asks for no password.
registry_lists() {
    local admin=()
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null \
            || fail "registry" "apt-get cannot download docker-registry, see $tools/apt.log; run 'sudo apt-get update', then this again"
        admin=(sudo -n)
    fi
    within 300 "${admin[@]}" apt-get update >"$tools/apt.log" 2>&1 || true
}
