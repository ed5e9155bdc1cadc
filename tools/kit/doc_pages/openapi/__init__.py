"""The OpenAPI document of the HTTP API, made from the types and tables of the code."""
