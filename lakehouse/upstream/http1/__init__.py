"""Requests to upstreams and their responses, in HTTP/1.1.

Modules:

    request          a request and its bytes
    upload           sends a request's body in a task of its own
    response         a response as it arrives
    response_parser  bytes in, head and body out, without I/O
    response_state   the states of a response as it is parsed
    content_codings  decoding of gzip and deflate within a bound
    upgraded_stream  a connection after a 101
"""
