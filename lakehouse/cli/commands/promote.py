"""`lakehouse promote`."""

from __future__ import annotations

import argparse

from lakehouse.cli.lake_options import add_lake_options
from lakehouse.cli.registry import Command, import_late


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the target, and what is done with the configuration."""
    add_lake_options(parser)
    parser.add_argument("--to", metavar="URL", required=True, help='the warehouse, such as "s3://bucket/prefix"')
    parser.add_argument(
        "--catalog", metavar="URL", required=True, help='"postgresql://user@host/database", or that of a REST catalog'
    )
    parser.add_argument(
        "--records", metavar="URL", help="a database in PostgreSQL for traces and operations; without, they stay"
    )
    parser.add_argument("--name", help="the name of the catalog; by default [lake] name")
    parser.add_argument(
        "--endpoint", metavar="URL", help="of the object storage; by default [lake] endpoint, or Amazon"
    )
    parser.add_argument("--region", help="by default [lake] region")
    parser.add_argument(
        "--key-file", metavar="FILE", help="with the keys of the bucket and the catalog; by default [lake] key_file"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be copied, and write nothing")
    parser.add_argument(
        "--switch", action="store_true", help="at the end, set the warehouse and the catalog in the configuration file"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


COMMAND = Command(
    name="promote",
    help="copy the lake of a folder, with its history, to S3 and a shared catalog",
    add_options=add_options,
    run=import_late("lakehouse.cli.lake.promote"),
)
