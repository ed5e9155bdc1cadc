"""`lakehouse promote`: what is refused before a server is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse.cli import main
from lakehouse.services.lake.directory import open_directory
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.lake.promoted import Promoted, read_mark, refuse_promoted, write_mark

TARGET = ("--to", "s3://bucket/p", "--catalog", "postgresql://u@db/lake")


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "lakehouse.toml"
    path.write_text(f'[lake]\npath = "{tmp_path / "lake"}"\n')
    return path


def test_every_wrong_option_is_named(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--to", "file:///x", "--catalog", "", "--name", "a b", "--endpoint", "nowhere", "--region", "/")
    assert main(["promote", "-c", str(configuration), *TARGET, "--records", "postgresql://db"]) == 2
    assert "--records must name a host and a database" in capsys.readouterr().err
    assert main(["promote", "-c", str(configuration), *options]) == 2
    errors = capsys.readouterr().err
    for option in ("--to", "--catalog", "--name", "--endpoint", "--region"):
        assert f"{option} must" in errors
    assert main(["promote", "-c", str(configuration), *TARGET[:2], "--catalog", "postgresql://u:secret@db"]) == 2
    assert "secret" not in capsys.readouterr().err


def test_a_lake_that_is_not_in_a_folder_is_refused(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("psycopg2")  # a catalog in PostgreSQL is refused without it
    assert main(["promote", "-c", str(configuration), *TARGET]) == 1
    assert "there is no lake in the folder" in capsys.readouterr().err
    configuration.write_text('[lake]\nwarehouse = "s3://bucket/p"\ncatalog = "postgresql://u@db/lake"\n')
    assert main(["promote", "-c", str(configuration), *TARGET]) == 2
    assert "lake.warehouse is s3://bucket/p: this lake is not in a folder" in capsys.readouterr().err


def test_switch_needs_a_file_that_can_be_changed(
    configuration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration.write_text(f'lake.path = "{tmp_path / "lake"}"\n')
    assert main(["promote", "-c", str(configuration), *TARGET, "--switch"]) == 2
    assert "in a form that cannot be changed" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path / "..")
    monkeypatch.delenv("LAKEHOUSE_CONFIG", raising=False)
    assert main(["promote", "--lake", str(tmp_path / "lake"), *TARGET, "--switch"]) == 2
    assert "--switch: there is no configuration file to change: name it with -c" in capsys.readouterr().err


def test_switch_needs_a_password_that_a_service_finds(
    configuration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg2")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    records = ("--records", "postgresql://u:w0rd@db/records")
    catalog = ("--to", "s3://bucket/p", "--catalog", "postgresql://u:w0rd@db/lake")
    for options, named in ((catalog, "--catalog"), ((*TARGET, *records), "--records"), ((*catalog, *records), "and")):
        assert main(["promote", "-c", str(configuration), *options, "--switch"]) == 2
        errors = capsys.readouterr().err
        assert f"{named} " in errors
        assert "is not written into" in errors
        assert "w0rd" not in errors
    keys = tmp_path / "keys.env"
    keys.write_text("PGPASSWORD=w0rd\n")
    assert main(["promote", "-c", str(configuration), *catalog, "--switch", "--key-file", str(keys)]) == 1
    assert "there is no lake in the folder" in capsys.readouterr().err
    assert main(["promote", "-c", str(configuration), *catalog, "--switch", "--key-file", str(tmp_path / "none")]) == 2
    assert "lake.key_file" in capsys.readouterr().err


async def test_the_mark_of_a_folder_says_what_to_do(tmp_path: Path) -> None:
    async with open_directory(tmp_path / "lake") as directory:
        folder = directory.path
    refuse_promoted(folder)
    mark = Promoted(
        state="switching",
        promotion="1",
        warehouse="s3://bucket/p",
        catalog="postgresql://db/lake",
        name="lake",
        time="2026-01-01T00:00:00Z",
    )
    write_mark(folder, mark)
    assert read_mark(folder) == mark
    with pytest.raises(
        LakeError, match=r"was interrupted while it switched: run `lakehouse promote --to s3://bucket/p"
    ):
        refuse_promoted(folder)
    (folder / "promoted.json").write_bytes(b"{")
    with pytest.raises(LakeError, match=r"promoted\.json is damaged: delete it if the lake was not promoted"):
        refuse_promoted(folder)
