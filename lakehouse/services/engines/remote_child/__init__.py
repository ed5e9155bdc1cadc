"""The child of a remote engine: it takes the rows of one statement as Arrow batches and writes the answer.

The rows go through a DuckDB in memory, so that each form of an answer is made by the code that makes those of the
embedded engine, with the same rules for values.

Modules:

    run          the target of the child
    version      the target of a child that asks a server for its version
    spark        the client of Spark Connect
    flight_sql   the client of Flight SQL
    engine       one request after another
    source       the interface of a client of a server: Spark, Flight SQL, or the pages of Trino
    batch_writer an answer, batch by batch as they come
    row_stream   the batches of a source as a table of DuckDB
    arrow_types  types of Arrow that DuckDB does not take
"""
