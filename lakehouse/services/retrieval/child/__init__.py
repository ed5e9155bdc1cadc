"""The child of the retrieval engine. Only this package imports numpy, numkong and tantivy."""
