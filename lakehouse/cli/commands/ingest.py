"""`lakehouse ingest`."""

from __future__ import annotations

import argparse

from lakehouse.cli.lake_options import add_lake_options
from lakehouse.cli.registry import Command, import_late

FORMATS = ("csv", "tsv", "json", "ndjson", "parquet", "arrow", "text", "markdown", "html", "pdf", "docx")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the files, the table, and how the files are read."""
    add_lake_options(parser)
    parser.add_argument("--name", help="the table or the corpus; by default the file's or the folder's name")
    parser.add_argument("--mode", choices=("replace", "append", "upsert"), default="replace", help="default: replace")
    parser.add_argument("--key", metavar="COLUMN,…", help="the key of --mode upsert")
    parser.add_argument("--evolve", action="store_true", help="let new columns in, and widen types")
    parser.add_argument("--format", choices=FORMATS, help="by default found out from the name and the first bytes")
    parser.add_argument("--encoding", help="of a text file, by its name in Python, such as latin-1; default: UTF-8")
    parser.add_argument("--delimiter", metavar="CHARACTER", help="by default the one of the header line")
    parser.add_argument("--quote", metavar="CHARACTER", help='default: "')
    parser.add_argument("--null", metavar="TEXT", help="a text that means NULL, beside the empty field")
    parser.add_argument("--no-header", action="store_true", help="the first line is data")
    parser.add_argument("--skip", type=int, metavar="N", help="leave out the first N lines")
    parser.add_argument(
        "--type", action="append", default=[], dest="types", metavar="COLUMN=TYPE", help="force the type of a column"
    )
    parser.add_argument("--model", help="the embedding model of a new corpus")
    parser.add_argument("--json", action="store_true", help="print the JSON of the answers, one a line")
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a folder is one corpus of the documents in it; `-` reads standard input, and needs --name",
    )


COMMAND = Command(
    name="ingest",
    help="put files into the lake: tables (CSV, JSON, Parquet, Arrow), documents (Markdown, HTML, PDF, DOCX, text)",
    add_options=add_options,
    run=import_late("lakehouse.cli.lake.ingest"),
)
