"""Documents: the text of a file, extracted in a sandboxed child and cut into passages at its structure.

Modules:

    limits       the limits of each format
    messages     the request to the child, for both sides
    extractor    the pool of children, in the services process
    child/       the program of a child
"""
