#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Checks ring.pml in full, and that each mutant of it is caught. `run.sh -v` shows SPIN's own words.
set -euo pipefail
cd "$(dirname "$0")"
command -v spin >/dev/null || { echo "no spin here: apt-get install spin"; exit 77; }
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
model=$PWD/ring.pml
bad=0

# check NAME EXPECTED(0: holds, 1: is caught) DEFINES...
check() {
    local name=$1 expected=$2 found=0 states
    shift 2
    (cd "$place" && rm -f pan* && spin -a "$@" "$model" >/dev/null && gcc -O1 -w -DSAFETY -DVECTORSZ=2048 -DCOLLAPSE -o pan pan.c &&
        timeout 240 ./pan -E -m2000000 >out 2>&1) || { echo "$name: cannot be run"; tail -3 "$place/out"; bad=1; return; }
    [ "${VERBOSE:-}" = 1 ] && cat "$place/out"
    grep -q "errors: 0" "$place/out" || found=1
    grep -q "max search depth too small\|out of memory" "$place/out" && { echo "$name: not searched in full"; bad=1; return; }
    states=$(grep -o "[0-9.e+]* states, stored" "$place/out" | head -1)
    if [ "$found" = "$expected" ]; then
        echo "ok    $name: $([ "$found" = 0 ] && echo holds || echo "is caught: $(grep -m1 -o 'assertion violated.*\|invalid end state.*' "$place/out")") ($states)"
    else
        echo "FAIL  $name: $([ "$found" = 0 ] && echo "is not caught" || echo "$(grep -m1 'pan:' "$place/out")") ($states)"; bad=1
    fi
}
[ "${1:-}" = -v ] && VERBOSE=1

check "ring and doorbell, a death of either side" 0
check "no death" 0 -DDEATHS=0
check "a producer that lies" 0 -DLIAR
for mutant in NO_FENCE_RINGER NO_FENCE_SLEEPER NO_SECOND_LOOK RING_ONCE WORD_RESET OLD_HALVES; do
    check "without it: $mutant" 1 "-D$mutant"
done
check "without it: NO_BOUND" 1 -DLIAR -DNO_BOUND
exit $bad
