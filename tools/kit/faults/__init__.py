"""A provider that breaks on purpose, and the score card of the gateway in front of it.

`formats`            Ollama's, OpenAI's and Anthropic's wire formats
`faults`             the table of faults by model name
`provider`           the server; `connection`, `scripted_response` and `recorded_requests` are its parts
`case_model`         what a row of the card and a case of it are
`cases`              the table of rows
`behaviours`         what the callers of a row do
`caller`             one call of a gateway, and its outcome
`evaluation`         what is wrong with a run
`harness`            runs the cases against a gateway and renders the score card
`gateways`           configurations of gateways in front of the provider

`python -m tools.faults` is the command line.
"""
