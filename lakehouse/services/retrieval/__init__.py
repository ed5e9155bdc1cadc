"""The retrieval engine: indexes of vectors and texts in one child process a lake.

Modules:

    client          the contract of the engine, by calls to the child
    connection      calls over one socket
    engine_process  the child, its start and its restarts
    messages        calls, replies and frames
    store_engine    the contract over a vector store, with the child for all that needs no data of it
    store_search    searches in a vector store: raw lists from it, scores and order as for the folder
    hit_encoding    results of a vector store as JSON
    gauges          what `/metrics` shows of the engine
    child/          the process itself, the only place that imports numpy
"""
