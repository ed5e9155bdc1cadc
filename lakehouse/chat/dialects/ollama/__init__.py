"""Ollama's own chat."""
