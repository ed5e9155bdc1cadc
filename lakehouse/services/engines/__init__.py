"""Engines: DuckDB in sandboxed child processes, and SQL engines on servers.

Modules:

    hardened        the restrictions of every engine: the specification and the start of its process, in the parent
    database        the database of an engine, in the child
    syntax_nodes    the syntax tree of a statement, for the checks of both engines
    table_files     the columns and data files of a snapshot, and the SELECT of their rows
    query           the query engine: SQL in a pool of children (contract `query_engine`)
    table_resolver  from the names in a statement to the snapshots of tables that it reads
    query_messages  the messages between the query engine and its children
    query_child     the child of the query engine
    replies         the reply of a child as the result of a query, and its failures as errors
    remote          engines on servers, in the parent
    remote_messages the messages between them and their children
    remote_child    the child that takes the rows of a server and writes the answer
    writer          the write engine, in the parent
    writer_child    the child of the write engine
"""
