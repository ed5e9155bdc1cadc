"""Indexes in PostgreSQL with pgvector: the tables are the truth, and every search reads one state of them.

Modules:

    store        the contract of a vector store
    tables       the tables of an index, and how they are made
    records      the table of all indexes
    filter_sql   filters as conditions of SQL
    staging      a batch of items as binary COPY
    writing      items into tables, with the statistics of their words and tokens
    merging      items from one index into another
    searching    raw lists: by vector, by word, and what belongs to the candidates
    approximate  when an index of a graph serves, and its measured recall
"""
