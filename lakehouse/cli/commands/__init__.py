"""The commands: each module has a `COMMAND`, see `lakehouse.cli.registry`."""
