"""Questions answered by a chat model from passages that a search has found, with citations that this service checks.

    endpoint       POST /v1/ask: the request's body, the answer whole or as a stream of events
    asker          the parts of one ask in order: passages, then a model's answer from them
    retrieval      passages from corpora (matrixd) and rows of tables (queryd), in one numbering
    table_search   the statement that finds the rows of a table by words
    prompt         the messages to the model: the passages are quoted, the question follows
    citation_marks the marks `[n]` of a text that arrives in pieces, checked against the passages
    claims         the sentences of an answer, each with the passages that it cites
    request        the request; `answer`: the answer, whole and as the last event of a stream

Nothing is imported here.
"""
