"""The server's side of HTTP/1.1 as pure code.

Modules:

    request_parser   bytes in, request events out
    request_head     a request's head and the rules for its contents
    size_guard       bounds of the head and of a chunked body's framing
    response_writer  ASGI's response messages in, bytes out
"""
