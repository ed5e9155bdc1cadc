"""The child of the query engine. Nothing of it is imported in the parent, and it does not import trio.

Modules:

    run                the target: one call after another
    statements         the check of a statement: what it is, which tables it reads
    syntax_tree        what a statement may contain
    rewriting          changes of a statement's text, with the positions of errors
    table_definitions  the tables of a statement, as views of the database
    text               SQL expressions that write values as JSON and CSV
    result_writer      the bytes of a result in its format
    parquet            results that are Parquet files
    output             the bytes on their way to the parent
    call_errors        the errors of the engine as errors of the call
    profile            how much data a query has read
"""
