"""Kill the processes of a lake again and again while clients write to it: `python -m tools.lake_crashes`."""
