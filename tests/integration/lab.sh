# SPDX-License-Identifier: BSD-2-Clause
# Sourced by the .test files: in_lab [lab options] -- SCRIPT: runs a python script of this folder inside `bulkhead lab`.
# What counts sockets, slots or packets exactly says --probe 0: the stack's own prober (servers/prober) has some, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PYTHONPATH=$PWD/tests/integration PYTHONDONTWRITEBYTECODE=1
build=${BULKHEAD_BUILD:-build}
FACTORED='nic|ip|tcp|udp|socket'
MONOLITHIC='nic+ip+tcp+udp+socket'
MIXED='nic+ip|tcp|udp+socket'
in_lab() {
    "$build/bulkhead" lab "$@"
}
