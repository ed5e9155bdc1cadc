"""HTTP/1.1 messages: what requests and responses have in common.

Modules:

    fields   header fields as bytes
    framing  how the end of a body is marked
"""
