"""pathwayd: traces of what was tried and what worked, in versions, until their sources end.

Modules:

    traces           a trace, its sources and its retirement, as they are answered
    trace_rows       their rows, and what a database of them can read and change
    changes          what a change does within a transaction
    scans            which rows a search reads
    sqlite_reads     the queries in SQLite
    sqlite_database  the schema in SQLite, and its transactions
    records          where the traces are kept: the protocol, and the database in a folder
    store            the traces of a lake, and the check of their sources
    meaning          search by words and meaning, over an index of the retrieval engine that follows the store
    markdown         the export that a person can read and edit, and its import
    requests         the bodies of requests
    app              the routes
    service          the open service, and what other services tell it
"""
