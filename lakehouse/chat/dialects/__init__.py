"""Wire formats of chat providers as pure code: requests to bytes, bytes to answers."""
