"""Objects of a lake beyond one machine: each is an object of the bucket, under the same key.

Modules:

    object_rows  metadata in the form of the other stores, and which keys are shown
    reads        find, open, list
    writes       put and delete, under the conditions of the request
"""
