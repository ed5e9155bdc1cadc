"""Indexes in Chroma, by its REST API, version 2.

store.py      the store: creates, describes and deletes indexes, each of which is a collection
catalog.py    the collection with the descriptions of all indexes
writing.py    upserts and deletions
searching.py  the nearest vectors
keywords.py   the best texts by word: Chroma finds the texts that have a word, and they are ranked here
records.py    items as records
conditions.py filters as Chroma has them
api.py        the requests
"""
