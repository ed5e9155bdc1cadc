"""storaged: objects, which are bytes under keys, over HTTP and for the other services of this process.

Bytes of small objects lie in the index, those of larger ones in a file each. A file has a name of its own that is never
used again, and the index is the only place that names it: an object appears, changes and vanishes with one transaction
of the index, and an upload that was cut, by its client or by the end of the process, was never in it.

Modules:

    app            routes and status codes
    store          the object store: implements `services.contracts.object_store.ObjectStore`
    object_reads   look-ups, open objects, pages of keys
    object_writes  puts and deletions
    receiving      the bytes of an upload: hashed, and written to a file if they are many
    keys           which keys are valid, and which can be written
    api/           headers, query parameters, documents, the queue of uploads, gauges
    index/         the index in SQLite: changes, look-ups, pages, and entries in memory
    files/         the files of larger objects, and of tables
"""
