# SPDX-License-Identifier: BSD-2-Clause
# Sourced by goodput, fairness and tests: on_paths SCRIPT [ARGUMENTS]: runs a python script in network and pid namespaces of
# its own, so that nothing that it makes outlives it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
on_paths() {
    local own=(--net --ipc --pid --fork --kill-child --mount-proc)
    [ "$(id -u)" = 0 ] || own+=(--user --map-root-user)
    PYTHONPATH=$PWD/tests/integration:$PWD/bench PYTHONDONTWRITEBYTECODE=1 exec unshare "${own[@]}" python3 "$@"
}
