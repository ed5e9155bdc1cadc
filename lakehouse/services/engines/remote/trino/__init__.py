"""The client of Trino: its protocol over HTTP, https://trino.io/docs/current/develop/client-protocol.html.

A statement is posted, and its pages are fetched one after another, each from the `nextUri` of the one before. A child
writes the rows in the form of the answer.

Modules:

    messages    the documents of the protocol, and their errors as errors for clients
    coordinator one server: requests to it, with the retries of the protocol
    statements  the text of a statement with its parameters, and where an error of the server is in it
    feed        the pages of one statement, for a child; it cancels the statement on the server
    version     the version of the server
"""
