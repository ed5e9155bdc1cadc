"""The lake: its folder, the share-out of memory, and the composition of object store, tables and engines."""
