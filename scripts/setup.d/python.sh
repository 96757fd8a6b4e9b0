# shellcheck shell=bash
# A virtual environment with the packages that make the sentences model: "$tools/python/bin/python". Nothing else needs it.
#
# Needs from scripts/setup: $repository, $tools (the tool folder), python_environment.
# shellcheck disable=SC2154

python() {
    python_environment "Python packages" "$repository/examples/wasm-models/requirements.txt" "$tools/python"
}
