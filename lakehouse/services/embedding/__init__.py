"""Embedding models: the packaged ones, those of providers, and the embedder that chooses one by its name."""
