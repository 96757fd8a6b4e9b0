# shellcheck shell=bash
# A virtual environment with the clients of other servers and schemathesis, which the tests let loose on a host, and with what builds and
# checks our own client: "$tools/clients/bin/python". It is one of its own, because they need older packages than the rest.
#
# Needs from scripts/setup: $repository, $tools (the tool folder), python_environment.
# shellcheck disable=SC2154

clients() {
    python_environment "clients" "$repository/tests/e2e/clients/requirements.txt" "$tools/clients"
}
