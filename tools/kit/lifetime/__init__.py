"""The whole service between clients and upstreams in one process, so that tasks, descriptors and slots can be counted.

`testbed`    the service, the upstreams around it and the census of both
`daemon`     the upstream behind the gateway: behaves as the path says
`phases`     the phases of a request, and how to get into each
`leaving`    what follows when a client leaves, a deadline passes or the service drains
`aborts`     requests that are aborted at random instants
`limits`     deadlines, stalled readers, silent upstreams
`evidence`   when enough tries have been made to judge a promise

`python -m tools.lifetime` prints the figures; the tests run the same phases.
"""
