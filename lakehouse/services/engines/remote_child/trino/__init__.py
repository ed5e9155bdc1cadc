"""The rows of Trino in the child: pages that the parent has fetched, as Arrow batches.

Modules:

    pages   the source: columns and pages from the parent
    types   Trino's types: what their values are in Arrow, and their types in DuckDB
"""
