"""The paths of Ollama's API, for the tables of routes and of metrics, without the form itself."""

from __future__ import annotations

ROOT = "/"
"""With which clients find out whether an Ollama is there. Not on a listener that has the console page."""
CHAT = "/api/chat"
GENERATE = "/api/generate"
EMBED = "/api/embed"
EMBEDDINGS = "/api/embeddings"
TAGS = "/api/tags"
SHOW = "/api/show"
PS = "/api/ps"
VERSION = "/api/version"
MANAGEMENT = ("/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete")
"""What changes the models of an Ollama. Answered with 501."""

PATHS = (CHAT, GENERATE, EMBED, EMBEDDINGS, TAGS, SHOW, PS, VERSION, *MANAGEMENT)
