"""The retrieval engine: indexes of vectors and texts in one child process a lake.

Modules:

    messages    calls, replies and frames
"""
