"""vectord: indexes of vectors and texts over HTTP.

Modules:

    app         the routes below `/vectors`
    requests    the bodies of requests
    items       the items of an upload, decoded one by one, with errors that name the position
    responses   the documents of answers
    searching   searches of one index
    models      which model an index has, and who computes its vectors
    sync        an index kept to a table of the lake
    table_rows  the rows of a table that a sync reads, as SQL
    spool       rows that wait for their vectors, in a temporary file
"""
