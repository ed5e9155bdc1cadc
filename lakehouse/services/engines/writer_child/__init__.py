"""The child of the write engine: reads uploads, writes Parquet files. Imports neither trio nor anything of the parent.

Modules:

    main            the target of the process: dispatches the calls
    messages        requests and results on the pipe, for both sides
    call_errors     the errors of a call
    source          what the inspection of a file yields
"""
