"""observerd: a witness of operations. It records and counts, and judges nothing.

Modules:

    operations    an operation, and a message to the inbox, as they are recorded
    store         the durable records, and the newest of them in memory
    app           the routes
"""
