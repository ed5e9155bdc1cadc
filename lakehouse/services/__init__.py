"""The embedded services: applications in this process behind a prefix of the gateway, in place of an upstream URL.

`base` is the interface between a service and the runtime, `contracts` are the interfaces between services. A service
imports neither another service nor the gateway nor the chat: its dependencies are passed to it as contracts, so that
each service can be replaced by a URL. This package is imported only if the configuration embeds a service.
"""
