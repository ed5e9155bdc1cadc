"""Whether anything outlives its request, in figures: the whole service in one process with all that is around it.

    python -m tools.lifetime leaving [TRIES]     from a client's leaving to the end of what was done for it
    python -m tools.lifetime aborts [NUMBER]     what is left of requests that were aborted at random instants
    python -m tools.lifetime limits              stalled readers, silent upstreams, healthy streams
    python -m tools.lifetime hostile             what the service says to the table of hostile inputs

Each exits with 1 when a promise is not kept. The tests play the same scenes.
"""
