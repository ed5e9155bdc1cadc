"""The index of objects.

Modules:

    object_index    the table in SQLite, small objects included
    listing         a page of keys, grouped by a delimiter
    recent_objects  entries, and bytes of small objects, in memory
    entries         the metadata of an object
"""
