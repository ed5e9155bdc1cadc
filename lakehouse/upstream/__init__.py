"""The HTTP/1.1 client: upstreams, their pools of connections, requests and responses.

Modules:

    pool             an upstream: sends requests, one pool of connections for each
    limiter          how many requests may use an upstream at once, and their order
    endpoint         settings of an upstream, and its errors
    address          a base URL and its parts
    httpx_transport  upstreams as an httpx transport
    connections/     connect, forward proxies, sockets, idle connections
    http1/           requests, responses, uploads, content codings
"""
