"""The retrieval engine: indexes of vectors and texts in one child process a lake.

Modules:

    client          the contract of the engine, by calls to the child
    connection      calls over one socket
    engine_process  the child, its start and its restarts
    messages        calls, replies and frames
    gauges          what `/metrics` shows of the engine
    child/          the process itself, the only place that imports numpy
"""
