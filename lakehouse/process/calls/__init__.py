"""Calls to child processes, over their pipes.

Modules:

    frames          the wire format, for both sides
    rpc             calls in the parent
    rpc_child       calls in the child
    pool            several children that answer calls
    pool_policy     the sizes and timeouts of a pool
    pooled_child    one child of a pool
"""
