"""How a client connection's bytes are read and written.

Modules:

    transport         the interface of both transports
    socket_transport  a plain socket
    stream_transport  any trio stream: TLS, and memory streams in tests
"""
