#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs the models, which must hold, and their mutants, each of which must fail. tests/model/run.sh [--full]
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
command -v spin >/dev/null || { echo "spin is missing: apt-get install spin"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# check WANTED MODEL DEFINITIONS...: WANTED is "holds" or "fails".
check() {
    local wanted=$1 model=$2 result out
    shift 2
    rm -rf "$work/m" && mkdir "$work/m" && cd "$work/m" || exit 1
    spin "$@" -a "$here/$model.pml" >spin.log 2>&1 && cc -O2 -w -DSAFETY -DCOLLAPSE -DMEMLIM=1500 -o pan pan.c ||
        { cat spin.log; echo "$model $*: does not translate"; exit 1; }
    out=$(./pan -m2000000 -n 2>&1)
    if grep -q 'max search depth too small\|out of memory\|aborted' <<<"$out"; then
        result="was not searched to the end"
    elif grep -q 'errors: 0' <<<"$out"; then
        result=holds
    else
        result=fails
    fi
    printf '%-9s %-34s %s, %s states\n' "$model" "${*:-as it is}" "$result" "$(sed -n 's/ *\([0-9.e+]*\) states, stored.*/\1/p' <<<"$out")"
    if [ "$result" != "$wanted" ]; then
        echo "$model $*: should be '$wanted'"
        grep -E 'pan:|errors' <<<"$out"
        failed=1
    fi
}

check holds channel -DDEATHS=0
check holds channel -DDEATHS=1 -DMESSAGES=2
[ "${1:-}" = --full ] && check holds channel -DDEATHS=1 -DMESSAGES=3 && check holds channel -DDEATHS=2 -DMESSAGES=1
check holds liar -DRECEIVER
check holds liar -DSENDER
# What orders the index and the word that says who sleeps.
for mutant in NO_FENCE_RINGER NO_FENCE_SLEEPER NO_SECOND_LOOK NO_RELEASE RING_ONCE WORD_BOOLEAN RELEASE_EARLY; do
    check fails channel -DDEATHS=0 -D$mutant
done
# What a death must not leave behind.
for mutant in WORD_RESET OLD_CHANNEL; do
    check fails channel -DDEATHS=1 -DMESSAGES=2 -D$mutant
done
for mutant in NO_CHECK_PRODUCER READ_AGAIN NO_CHECK_COUNT; do
    check fails liar -DRECEIVER -D$mutant
done
check fails liar -DSENDER -DNO_CHECK_CONSUMER
exit $failed
