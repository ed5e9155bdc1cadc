"""The embedded services: applications in this process behind a prefix of the gateway, in place of an upstream URL.

`contracts` are the interfaces between services, `vector_stores` the servers behind one of them, `host` makes the
services and their parts. A service imports neither another service nor the gateway nor the chat: its dependencies are
passed to it as contracts, so that each service can be replaced by a URL. This package is imported only if the
configuration embeds a service.
"""
