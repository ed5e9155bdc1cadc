"""The grid of real clients: each has the same conversation with a model behind each wire protocol of providers."""
