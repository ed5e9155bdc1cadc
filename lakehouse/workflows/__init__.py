"""Workflows: small graphs of calls to models and data services, run within the request that sends them.

Modules:

    graph         nodes and their order, checked before anything runs
    references    values of earlier nodes in prompts and inputs
    modes         what a node can do
    runner        the nodes of one run, each as soon as those before it have ended
    endpoint      the routes
"""
