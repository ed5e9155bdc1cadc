"""What vector stores behind HTTP have in common: the client of a server, and filters in terms that each of them has."""
