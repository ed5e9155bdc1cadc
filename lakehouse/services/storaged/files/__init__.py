"""The files of objects.

Modules:

    blob_files     the files of objects that are too large for the index
    dataset_files  the files of the tables, under keys below `datasets/`
"""
