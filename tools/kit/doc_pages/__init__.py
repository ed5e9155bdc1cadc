"""The generators of documentation pages: each page is made from the types and tables of the code."""
