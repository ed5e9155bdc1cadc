"""The contracts between services: protocols over frozen values, implemented in this process or by a client of a URL.

A failure is a `LakehouseError` (`ErrNotFound`, `ErrBadRequest`, `ErrUnavailable`, ...). Sizes are bytes, durations are
seconds, points in time are aware UTC datetimes, positions count from 0.

Every call can be cancelled at any checkpoint. A cancelled read or query ends at once; an engine that was working for it
is reset or killed. A cancelled write is either complete or without effect; only a write that returned is certain to be
complete. An iterator holds resources until it is exhausted or its block ends. It applies back-pressure: the amount that
is read ahead is bounded.

Modules:

    values          types that several contracts use
    object_store    bytes under keys
    catalog         values that describe tables and their snapshots
    tables          plans of reads, and commits of data files
    write_engine    reading of uploads, writing of data files
    documents       text of documents as passages
    rewriting       the files of a table written again, with a write engine
    query_engine    SQL over the tables of the catalog
    retrieval       indexes of vectors and texts, searched by meaning and by word
    filter_language what a filter over metadata means, and its parser
    vector_store    a server that keeps indexes for many services
    index_names     the rule for the names of indexes
    known_indexes   descriptions of indexes, remembered while they are unchanged
    embedder        vectors of texts, from any model
    row_sources     records of a service that are rows of a system table
    traces          the ends of what traces may be derived from
    embedding_model a model that computes vectors inside the process of its caller
"""
