"""The commands of the lake: `ingest`, `sql` and `tables`, and the data of `serve --demo`.

The commands are clients of the lake's HTTP routes: of the process that has the folder open, or of this one.
"""
