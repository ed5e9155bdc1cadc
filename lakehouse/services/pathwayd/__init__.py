"""pathwayd: traces of what was tried and what worked, in versions, until their sources end.

Modules:

    traces        a trace, its sources and its retirement, as they are answered
    database      the schema, and the changes of one transaction
    queries       reads: one trace, the chain of its versions, search, statistics
    store         the open store: changes that are durable at return, reads in threads
    meaning       search by words and meaning, over an index of the retrieval engine that follows the store
    markdown      the export that a person can read and edit, and its import
    requests      the bodies of requests
    app           the routes
    service       the open service, and what other services tell it
"""
