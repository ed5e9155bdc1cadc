"""The client of Spark Connect, in the child of a remote engine.

It speaks the protocol with the messages of the package `pyspark` (`pyspark.sql.connect.proto`), not through the
sessions of that package: their calls have no deadline, are repeated for ten minutes when a server is gone, and need
pandas.

Modules:

    source        the interface `Source`: one statement at a time
    connection    a connection to a server
    session       a session on a server, and its calls
    execution     a running statement: its responses, as batches
    column_types  types that Arrow cannot hand over
    literals      the parameters of a statement
    errors        failures of calls
"""
