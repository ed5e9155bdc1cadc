"""Asks an unknown endpoint what it speaks, and writes the lines of the configuration that declare it.

endpoint_client   requests to the endpoint, each of which is told to the operator
wires             which wires it answers
listed_models     its models, and what it says about them
provider_lines    the TOML
"""
