# SPDX-License-Identifier: BSD-2-Clause
"""Two stacks on a wire that loses, reorders and duplicates frames both ways (of one segment each: there are no super-segments on it),
over both families, factored and monolithic, in frames of several sizes: files of MEGABYTES from each to the other come whole."""
import sys

from wire import run_all, server, stacks, transfer

MEGABYTES = int(sys.argv[1])
CASES = (("loss=1%", 1500, "tcp_retransmits"), ("loss=5%", 1500, "tcp_retransmits"),
         ("delay=1ms,reorder=5%", 1500, "tcp_out_of_order"), ("duplicate=5%", 1500, "tcp_duplicates"),
         ("loss=1%,delay=1ms,reorder=2%,duplicate=2%", 1280, "tcp_retransmits"), ("loss=1%,reorder=1%", 2030, "tcp_retransmits"))


def test_impaired():
    for partition in "factored", "monolithic":
        for impairments, mtu, counter in CASES:
            with stacks(impairments, partition, mtu) as (a, b), server(a), server(b):
                file = "part" if "5%" in impairments and "loss" in impairments else "file"
                rates = [transfer(a, b, file, address=f"[{a.address6}]", seconds=900), transfer(b, a, file, seconds=900)]
                moved = [s.counters("tcp").get(counter, 0) for s in (a, b)]
                print(f"  {partition} {impairments} {mtu}: {rates[0]:.0f} and {rates[1]:.0f} Mbit/s, {counter} {moved}", flush=True)
                assert sum(moved) > 0, "nothing went wrong: the test tested nothing"


if __name__ == "__main__":
    run_all([test_impaired], (("file", MEGABYTES << 20), ("part", max(MEGABYTES << 20 >> 2, 1 << 20))))
