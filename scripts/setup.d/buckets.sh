# shellcheck shell=bash
# Servers that are an S3 bucket and an Azure storage account, for the tests of stores: moto, which "$tools/buckets/bin/python" has, and
# Azurite in "$tools/azure".
#
# Needs from scripts/setup: $repository, $tools (the tool folder), python_environment, node_environment.
# shellcheck disable=SC2154

buckets() {
    python_environment "buckets" "$repository/tests/e2e/stores/requirements.txt" "$tools/buckets"
    node_environment "azure" "$repository/tests/e2e/stores/azure" "$tools/azure"
}
