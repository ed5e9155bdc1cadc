"""A provider that breaks on purpose, and a score card for whatever stands before it.

    python -m tools.faults serve --port 9999          the provider alone
    python -m tools.faults config --port 9999         how Lakehouse (or LiteLLM) is put before it
    python -m tools.faults score                      provider, service and score card in one go
    python -m tools.faults score --url http://127.0.0.1:3110/v1 --provider http://127.0.0.1:9999

The name of a model says how it breaks: `429-once`, `cut`, `silent`; what follows a dot in it is free, and counts for
itself. `faults` has the table, `rows` what is asked of a gateway, row by row.
"""
