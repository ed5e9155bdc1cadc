"""Relay of requests and answers between a client and a provider of the same form: the bytes stay as they are."""
