"""Keys are found in the environment, then in a dotenv file, and are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse.chat.providers.keys import Key, Search, find_key

SECRET = "sk-or-v1-abc$HOME#def"


def look(file: Path | str, **env: str) -> Search:
    return find_key(key_env="OPENROUTER_API_KEY", key_file=str(file), env=env)


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "openrouter.env"
    file.write_text("OPENROUTER_API_KEY=from-the-file\n")
    found = look(file, OPENROUTER_API_KEY=SECRET)
    assert found == Search(key=Key(SECRET, "$OPENROUTER_API_KEY"))


def test_an_empty_variable_does_not_hide_the_file(tmp_path: Path) -> None:
    file = tmp_path / "openrouter.env"
    file.write_text("# the team's key\nexport OPENROUTER_API_KEY='sk-or-v1-abc$HOME#def'\nOTHER=1\n")
    found = look(file, OPENROUTER_API_KEY="  ")
    assert found == Search(key=Key(SECRET, f"OPENROUTER_API_KEY in {file}"))


def test_a_file_that_does_not_exist_is_no_error(tmp_path: Path) -> None:
    assert look(tmp_path / "nowhere" / "x.env") == Search()
    assert look("") == Search()


def test_a_file_without_the_name_or_with_an_empty_value_has_no_key(tmp_path: Path) -> None:
    file = tmp_path / "x.env"
    for text in ("", "OTHER=1\n", "OPENROUTER_API_KEY=\n", "OPENROUTER_API_KEY\n"):
        file.write_text(text)
        assert look(file) == Search()


def test_a_file_that_cannot_be_read_is_a_warning_that_names_it(tmp_path: Path) -> None:
    found = look(tmp_path)  # a directory: unreadable for root as well
    assert found.key is None
    assert found.warning == f"the key file {tmp_path} cannot be read: Is a directory"
    file = tmp_path / "latin.env"
    file.write_bytes(b"OPENROUTER_API_KEY=caf\xe9\n")
    assert look(file).warning == f"the key file {file} cannot be read: it is not UTF-8 text"


@pytest.mark.parametrize("value", ["sk-\u00e9", "sk 1", "sk\r\nX-Evil: 1", "sk\x00"])
def test_a_key_with_characters_that_no_header_allows_is_a_warning(value: str) -> None:
    found = look("", OPENROUTER_API_KEY=value)
    assert found.key is None
    assert "$OPENROUTER_API_KEY is ignored" in (found.warning or "")
    assert value not in (found.warning or "")


def test_a_key_shows_where_it_was_found_and_not_itself() -> None:
    key = Key(SECRET, "$OPENROUTER_API_KEY")
    for shown in (repr(key), str(key), f"{key}", repr(Search(key=key))):
        assert SECRET not in shown
        assert "$OPENROUTER_API_KEY" in shown
