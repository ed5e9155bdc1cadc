"""Events out of the bytes of a stream: server-sent events and newline-delimited JSON."""
