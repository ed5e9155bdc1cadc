"""observerd: a witness of operations. It records and counts, and judges nothing.

Modules:

    operations    an operation, and a message to the inbox, as they are recorded
    records       where operations are kept: the protocol, and the database in a folder
    store         what is recorded, and the newest of it, counted
    system_rows   operations as rows of a system table
    app           the routes
"""
