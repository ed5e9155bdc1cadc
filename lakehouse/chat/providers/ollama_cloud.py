"""Ollama Cloud, called directly: Ollama's native API with a key. Model names have no cloud suffix here.

Source: docs.ollama.com/cloud; ollama/ollama, internal/modelref.
"""

from __future__ import annotations

from dataclasses import replace

from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.providers.ollama import Ollama


class OllamaCloud(Ollama):
    """Like local Ollama, but with a Bearer key, and `format` is accepted and ignored (ollama#12362)."""

    name = "ollama_cloud"
    probe_path = "/api/tags"
    loaded_path = ""

    def make_quirks(self, think: bool) -> Quirks:
        """The quirks. A schema is sent as a tool, because `format` is not enforced."""
        return replace(super().make_quirks(think), json_mode="tool")
