# shellcheck shell=bash
# A virtual environment with a server that is an S3 bucket, for the tests of stores: "$tools/buckets/bin/python".
#
# Needs from scripts/setup: $repository, $tools (the tool folder), python_environment.
# shellcheck disable=SC2154

buckets() {
    python_environment "buckets" "$repository/tests/e2e/stores/requirements.txt" "$tools/buckets"
}
