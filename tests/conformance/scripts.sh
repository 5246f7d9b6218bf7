# SPDX-License-Identifier: BSD-2-Clause
# Sourced by tests/integration/scripts*.test: where the packet scripts lie. Those of others are not part of the project.
differences=tests/conformance/DIFFERENCES.tsv
ours=tests/conformance/scripts
theirs=${BULKHEAD_PACKETDRILL:-../shared/packetdrill}

# Ends the test, in peace, if theirs are not there.
there() {
    [ -d "$theirs" ] || { echo "passed with ours; theirs are not there: set BULKHEAD_PACKETDRILL to a folder of packetdrill's scripts"; exit 0; }
}
