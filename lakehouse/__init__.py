"""Lakehouse: a language-model gateway and reverse proxy in which everything a request starts ends with it."""

__version__ = "0.1.0"
