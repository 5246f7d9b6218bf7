# SPDX-License-Identifier: BSD-2-Clause
# Sourced after lab.sh by the tests that run packet scripts.
runner="tests/conformance/runner.py --listed tests/conformance/DIFFERENCES.tsv"
export BULKHEAD_ARENA=16,65536,65536 # an agent needs one or two sockets: attaching costs the pages of all

# on_linux OPTIONS...: the runner, with Linux on the other side.
on_linux() {
    local own=(--net --pid --fork --kill-child --mount-proc)
    [ "$(id -u)" = 0 ] || own+=(--user --map-root-user)
    unshare "${own[@]}" python3 $runner --side linux "$@"
}
