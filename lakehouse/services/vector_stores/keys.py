"""The variables with the keys of servers, in the key file and in the environment."""

from __future__ import annotations

QDRANT_KEY, CHROMA_TOKEN = "QDRANT_API_KEY", "CHROMA_TOKEN"
VARIABLES = (QDRANT_KEY, CHROMA_TOKEN)
