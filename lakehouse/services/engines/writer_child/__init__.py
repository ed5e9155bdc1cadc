"""The child of the write engine: reads uploads, writes Parquet files. Imports neither trio nor anything of the parent.

Modules:

    main                the target of the process
    dispatch            the calls, and their errors
    messages            requests and replies on the pipe, for both sides
    call_errors         the errors of a call
    uploads             inspection of uploads of any format, conversion to Parquet files
    changes             upserts and rewrites of a table's files
    conditions          the check of a condition of a user
    data_files          writes Parquet files
    wide_files          writes Parquet files of very many columns
    source              what the inspection of a file yields
    type_candidates     the types of a column of text, and the exact test of each
    type_samples        candidates from the first rows
    type_verdict        the verdict over all rows
    forced              the parameter `types`
    column_names        names of columns
    unpack              compression, wrong kinds, the format
    csv/                CSV and TSV
    formats             JSON, NDJSON, Parquet, Arrow
"""
