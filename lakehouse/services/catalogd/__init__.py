"""catalogd: the tables of the lake over HTTP, below `/catalog` and `/v1/catalog`.

Modules:

    app             the routes
    requests        the bodies of requests
    responses       the documents of responses
    registration    objects of the storage that become a table
    upkeep          deletion of rows, compaction of small files
"""
