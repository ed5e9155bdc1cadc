"""The error of a lake that cannot be opened."""

from __future__ import annotations


class LakeError(Exception):
    """The lake cannot be opened. The message is a sentence that says why, and what to do."""
