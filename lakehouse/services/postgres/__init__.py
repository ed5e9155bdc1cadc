"""PostgreSQL for services that share what they keep: transactions in threads, from a bounded pool of connections.

Modules:

    address          where a database is, and how this process connects to it
    session          the statements of one transaction, in its thread
    connections      idle connections, and the checks before one is used again
    database         transactions for tasks: ended with them, repeated where a connection was lost before
    postgres_errors  what PostgreSQL refused, as errors of the service
    migrations       tables and their versions, made once by whichever service comes first

No psycopg2 is imported before a connection is opened.
"""
