"""Engines: DuckDB in sandboxed child processes.

Modules:

    hardened        the restrictions of every engine: the specification and the start of its process, in the parent
    database        the database of an engine, in the child
"""
