"""Engines: DuckDB in sandboxed child processes.

Modules:

    hardened        the restrictions of every engine: the specification and the start of its process, in the parent
    database        the database of an engine, in the child
    syntax_nodes    the syntax tree of a statement, for the checks of both engines
    table_files     the columns and data files of a snapshot, and the SELECT of their rows
    query           the query engine: SQL in a pool of children (contract `query_engine`)
    table_resolver  from the names in a statement to the snapshots of tables that it reads
    query_messages  the messages between the query engine and its children
    query_child     the child of the query engine
    writer          the write engine, in the parent
    writer_child    the child of the write engine
"""
