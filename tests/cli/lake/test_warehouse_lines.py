"""The lines of a warehouse in a configuration file: set in their table, and nothing else is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse.cli.lake.warehouse_lines import Tables, change_file, make_tables, set_values, write_lines
from lakehouse.config import ConfigError, LakeTable, parse_config

VALUES: Tables = {"lake": {"warehouse": "s3://bucket/p", "catalog": "postgresql://u@db/lake", "path_style": False}}
LINES = 'warehouse = "s3://bucket/p"\ncatalog = "postgresql://u@db/lake"\npath_style = false\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"[lake]\n{LINES}"),
        ("# mine\n[gateway]\n", f"# mine\n[gateway]\n\n[lake]\n{LINES}"),
        (
            '[gateway]\n\n [ lake ] # here\n# a comment\npath = "x" # y\ncatalog = ""\n"warehouse"=""\n\n[queryd]\n',
            f'[gateway]\n\n [ lake ] # here\n{LINES}# a comment\npath = "x" # y\n\n[queryd]\n',
        ),
        (f"[lake]\n{LINES}", f"[lake]\n{LINES}"),
        ("[lake]\r\nname = 'x'\r\n", f"[lake]\n{LINES}name = 'x'\n"),
    ],
)  # fmt: skip
def test_the_values_are_set_and_other_lines_stay(before: str, after: str) -> None:
    assert set_values(before, VALUES) == after


@pytest.mark.parametrize(
    "text",
    [
        "lake = {path = 'x'}\n",
        "[lake]\nwarehouse = '''\ns3://x'''\n",
        "[chatd]\nnote = '''\n[lake]\n'''\n",
        "lake.path = 'x'\n",
        "[lake\n",
    ],
)
def test_a_form_that_cannot_be_changed_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="in a form that cannot be changed here"):
        set_values(text, VALUES)


def test_values_that_are_there_stay_with_their_passwords() -> None:
    text = f"# mine\n[lake]\n{LINES}".replace("u@db", "u:p@ss:word@db")
    assert "p@ss:word" in text
    assert set_values(text, VALUES) == text
    other: Tables = {"lake": {**VALUES["lake"], "catalog": "postgresql://u@other/lake"}}
    assert "u@other/lake" in set_values(text, other)


def test_a_file_is_changed_and_its_former_text_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "lakehouse.toml"
    path.write_text("[lake]\n")
    path.chmod(0o640)
    copy = change_file(path, VALUES)
    assert copy is not None
    assert (path.read_text(), copy.read_text()) == (f"[lake]\n{LINES}", "[lake]\n")
    assert change_file(path, VALUES) is None, "it has them already"
    assert (path.read_text(), copy.read_text()) == (f"[lake]\n{LINES}", "[lake]\n")
    assert {file.stat().st_mode & 0o777 for file in (path, copy)} == {0o640}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["lakehouse.toml", "lakehouse.toml.before-promotion"]


def test_only_what_differs_from_the_defaults_is_written_and_no_password() -> None:
    table = {
        "warehouse": "s3://bucket/p",
        "catalog": "postgresql://u:secret@db/lake",
        "endpoint": "http://s3:9000",
        "region": "us-east-1",
    }
    lake = parse_config({"lake": table}).config.lake
    assert write_lines(make_tables(lake, "u")) == [
        "[lake]",
        'warehouse = "s3://bucket/p"',
        'catalog = "postgresql://u@db/lake"',
        'endpoint = "http://s3:9000"',
    ]
    assert make_tables(LakeTable(path_style=False), "")["lake"]["path_style"] is False
    tables = make_tables(lake, "", records="postgresql://db/records", records_user="u")
    assert make_tables(lake, "u@x:y")["lake"]["catalog"] == "postgresql://u%40x%3Ay@db/lake"
    assert write_lines(tables)[-5:] == [
        "[pathwayd]",
        'store = "postgresql://u@db/records"',
        "",
        "[observerd]",
        'store = "postgresql://u@db/records"',
    ]
    assert (
        set_values("[observerd]\n[pathwayd]\n", {"pathwayd": {"bind": ":1"}})
        == '[observerd]\n[pathwayd]\nbind = ":1"\n'
    )
