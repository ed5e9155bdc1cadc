"""Side by side with the peers, in one run on one machine: `nox -s bench`, or `python -m tools.bench --help`.

The gateway under test is pinned to one core; the load and the fake upstream share another. Figures are medians of
alternating repetitions. Absolute figures move from machine to machine; ratios hold.
"""
