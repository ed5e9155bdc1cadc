"""Wire formats of chat providers as pure code: requests to bytes, bytes to answers.

    base, quirks, changes   the interface of a dialect, differences within one, what a body leaves out
    call_codec              one call: encodes the request, decodes the answer in either mode, validates JSON
    chat_completions/       OpenAI's chat completions
    messages/               Anthropic's messages
    responses/              OpenAI's responses
    ollama/                 Ollama's chat
    generate_content        Google's generateContent, unsupported
    encoding/, decoding/    what the dialects share to write requests and to read answers
    framing/                events out of the bytes of a stream
    errors/                 classification of upstream errors, without secrets
    schema/                 JSON Schema: how JSON is requested, subsets, cost, validation

A dialect's folder holds `dialect` (its facts), `encode` with `conversation` and `parameters`, and `decode`, with a
`*_fast_path` for the answers that are most frequent.
"""
