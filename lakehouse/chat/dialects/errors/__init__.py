"""Errors of upstreams: what they mean, how long to wait, and excerpts without secrets."""
