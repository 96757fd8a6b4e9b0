# shellcheck shell=bash
# What makes components of Python and JavaScript, for the tests of components that others wrote: componentize-py from the Python
# package index, componentize-js from npm's registry, in "$tools/other-toolchains".
#
# Needs from scripts/setup: $repository, $tools (the tool folder), node_environment.
# shellcheck disable=SC2154

other_toolchains() {
    node_environment "other toolchains" "$repository/tests/fixtures/others" "$tools/other-toolchains"
}
