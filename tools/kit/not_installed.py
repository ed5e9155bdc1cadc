"""What is raised for a client that is not there."""

from __future__ import annotations


class NotInstalled(Exception):
    """A client cannot be had here; the message says what is missing."""
