"""The index of objects.

Modules:

    object_index    the table in SQLite, small objects included
    readers         connections for reading it
    group_commit    changes that arrive together are durable after one sync of the disk
    listing         a page of keys, grouped by a delimiter
    recent_objects  entries, and bytes of small objects, in memory
    entries         the metadata of an object
"""
