#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The attacks on the walls, by one server: takeover.sh SERVER
. "$(dirname "$0")/lab.sh"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
server=$1
cp "$build"/bulkhead "$build"/bulkhead-supervisor "$build"/bulkhead-manage "$place"
cp "$build/tests/hostile/hostile-$server" "$place/bulkhead-domain"
"$place/bulkhead" lab --partition "$FACTORED" -- python3 tests/integration/takeover.py "$server"
