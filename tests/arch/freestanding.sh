#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Rule 5: the objects of protocols/, compiled plainly at -O2, import nothing but memcpy, memmove, memset and memcmp and each
# other, and have no writable data.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
status=0
while read -r source; do
    gcc -std=gnu11 -O2 -I. -c "$source" -o "$dir/$(echo "$source" | tr / _).o"
done < <(find protocols -name '*.c')
nm --defined-only -g "$dir"/*.o | awk 'NF == 3 {print $3}' | sort -u >"$dir/defined"
nm -u "$dir"/*.o | awk '$1 == "U" {print $2}' | sort -u |
    grep -vxE 'memcpy|memmove|memset|memcmp' | grep -vxFf "$dir/defined" >"$dir/foreign" || true
if [ -s "$dir/foreign" ]; then
    echo "protocols/ imports: $(tr '\n' ' ' <"$dir/foreign")"
    status=1
fi
writable=$(nm "$dir"/*.o | awk '$2 ~ /^[BbDdCGgSs]$/ {print $3}')
if [ -n "$writable" ]; then
    echo "protocols/ has writable globals: $writable"
    status=1
fi
exit $status
