"""Children that run for as long as the service, and are replaced when they end.

Modules:

    slot          one child and its successors
    supervisor    the slots of one service: started together, drained together
    backoff       delays before restarts
"""
