"""ingestd: uploads of files into the tables and corpora of the lake.

Modules, in the order in which a request passes through them:

    app             the route, and the answers
    parameters      the query string
    receiving       the body, streamed into the staging folder
    form            multipart forms, as they arrive
    idempotency     what was answered to an `Idempotency-Key`, for 24 hours
    ingestion       inspect, prepare, convert or upsert, commit
    answer          the JSON document of a finished ingest

Files that are documents:

    document_requests  which uploads are documents, and their answers
    corpora            the passages of a file in the index of a corpus
"""
