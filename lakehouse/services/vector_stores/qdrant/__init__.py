"""Indexes in Qdrant, by its REST API (1.10 or later).

store.py      the store: creates, describes and deletes indexes, each of which is a collection
writing.py    upserts and deletions, in as few requests as there can be
searching.py  the nearest vectors and the best texts by word, as one batch of queries
points.py     items as points, and the points that describe an index
conditions.py filters as Qdrant has them
api.py        the requests
"""
