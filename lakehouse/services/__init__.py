"""The embedded services: what stands behind a prefix of the gateway when no URL says otherwise.

`base` is the contract between a service and the runtime, `contracts` what services are to each other. A service
imports neither another service nor the gateway nor the chat group: what it needs is given to it as a contract, which
keeps each service replaceable by a URL. Nothing of this package is imported unless the configuration embeds a service.
"""
