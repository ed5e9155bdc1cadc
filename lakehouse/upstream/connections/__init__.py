"""Connections to upstreams.

Modules:

    connector         opens connections within the connect timeout
    connect           addresses, happy eyeballs, TLS, Unix sockets
    forward_proxy     choice of a proxy from the environment, and a tunnel through it
    connection        a connection: waits for its socket within deadlines
    socket_io         reads and writes of a non-blocking socket, plain or TLS
    idle_connections  connections that wait for their next request
"""
