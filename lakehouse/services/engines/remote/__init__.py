"""SQL engines beside the embedded one: Trino, Spark, servers of Flight SQL.

Modules:

    configured        the engines of the configuration, opened
    client            what one engine needs beside the common things
    clients           the clients by the names of the configuration
    spark             Spark Connect
    flight_sql        servers of Flight SQL
    child_version     the version of a server whose client runs in a child
    engine            the contract `QueryEngine` over a pool of children that write the answers
    feed              what the parent gives a running child: nothing, or the pages of Trino
    secrets           passwords and tokens, read again when their file changes
    dialects          what the statements of each engine look like
    statement_tokens  a statement as tokens
    statement_check   one statement that reads
"""
