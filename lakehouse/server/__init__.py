"""The HTTP/1.1 server: listening sockets, connections, disconnects of clients, drain.

Modules:

    server           accepts connections and serves them until the drain has ended
    listening        sockets: bind, listen, accept; TLS contexts
    drain            graceful shutdown
    disconnects      detects that a client has left
    connection       one connection: requests in sequence
    connection_io    reads and writes of a connection, each within its timeout
    request_cycle    one request and its response: ASGI's `receive` and `send`
    request_control  what the server offers an application beyond ASGI
    scope_template   ASGI scopes of a connection
    server_state     what the connections of a listener share
    limits           sizes and timeouts, each with its reason
    http1/           parser of requests, writer of responses, without I/O
    transports/      reading and writing of plain sockets and of TLS streams
    websocket/       handshake and messages
"""
