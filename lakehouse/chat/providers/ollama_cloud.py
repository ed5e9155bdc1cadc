"""Ollama Cloud, called directly: Ollama's native chat with a key. Names have no cloud suffix here.

Source: docs.ollama.com/cloud; ollama/ollama, internal/modelref.
"""

from __future__ import annotations

from dataclasses import replace

from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.providers.ollama import Ollama


class OllamaCloud(Ollama):
    """As local Ollama, but with a Bearer key and with a `format` that is accepted and ignored (ollama#12362)."""

    name = "ollama_cloud"
    probe = "/api/tags"

    def make_quirks(self, think: bool) -> Quirks:
        """A schema goes into a tool, for nothing enforces it."""
        return replace(super().make_quirks(think), schema="tool")
