"""Sets from packages of Debian: descriptions of packages, manual pages, and Python's manual.

Everything is fetched with apt-get into a folder of its own; the system's lists and packages stay as they are.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tools.kit.question_sets import QuestionSet, make_set
from tools.kit.question_sets.manual_pages import read_page
from tools.kit.question_sets.python_manual import read_sections

MANUAL_PAGES = ("manpages", "manpages-dev")
PYTHON_MANUAL = re.compile(r"python3\.\d+-doc")
RELEASE_NOTES = "whatsnew"


class DebianTexts:
    """Fetches packages and their descriptions into a folder, once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lists = folder / "lists"

    def package_descriptions(self) -> QuestionSet:
        """`deb`: the synopsis of a package asks for its description."""
        return make_set("deb", read_descriptions(self._translations().read_text(errors="replace")), shortest=120)

    def manual_pages(self) -> QuestionSet:
        """`man`: the line of a page's section NAME asks for its section DESCRIPTION."""
        files = [
            file for package in MANUAL_PAGES for file in sorted(self._unpack(package).glob("usr/share/man/man*/*"))
        ]
        pages = [page for file in files if not file.is_symlink() and (page := read_page(file))]
        return make_set("man", [(page.purpose, page.description) for page in pages], shortest=100)

    def python_manual(self) -> QuestionSet:
        """`py`: the questions in the headings of the FAQ and the HOWTOs ask for the text below them."""
        self._update()
        found = self._apt("apt-cache", "pkgnames", "python3.").split()
        package = min(name for name in found if PYTHON_MANUAL.fullmatch(name))
        sources = min(self._unpack(package).glob("usr/share/doc/*/html/_sources"))
        files = sorted(
            file for file in sources.rglob("*.rst.txt") if file.relative_to(sources).parts[0] != RELEASE_NOTES
        )
        pairs: list[tuple[str, str]] = []
        for file in files:
            asks = file.relative_to(sources).parts[0] in {"faq", "howto"}
            for heading, text in read_sections(file.read_text(errors="replace")):
                if len(text.split()) >= 30:
                    pairs.append((heading if asks and heading.endswith("?") else "", text))
        return make_set("py", pairs, shortest=1)

    def _translations(self) -> Path:
        self._update()
        found = [file for file in self._lists.glob("*_main_i18n_Translation-en") if "updates" not in file.name]
        return max((file for file in found if "security" not in file.name), key=lambda file: file.stat().st_size)

    def _update(self) -> None:
        if not any(self._lists.glob("*Translation-en")):
            (self._lists / "partial").mkdir(parents=True, exist_ok=True)
            self._apt("apt-get", "-q", "update")

    def _unpack(self, package: str) -> Path:
        place = self._folder / package
        if not place.exists():
            self._update()
            self._apt("apt-get", "-q", "download", package)
            (archive,) = self._folder.glob(f"{package}_*.deb")
            unfinished = place.with_suffix(".unfinished")
            subprocess.run(["dpkg-deb", "-x", archive, unfinished], check=True)
            unfinished.rename(place)
            archive.unlink()
        return place

    def _apt(self, command: str, *arguments: str) -> str:
        options = {
            "Acquire::Languages": "en",
            "Acquire::GzipIndexes": "false",
            "APT::Sandbox::User": "",
            "Debug::NoLocking": "true",
            "Dir::Cache": str(self._folder),
            "Dir::State::lists": str(self._lists),
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        done = subprocess.run(
            [command, *words, *arguments], cwd=self._folder, check=True, stdout=subprocess.PIPE, text=True, timeout=300
        )
        return done.stdout


def read_descriptions(translations: str) -> list[tuple[str, str]]:
    """Synopsis and description of each package of a Translation file, in the order of the packages' names."""
    found: dict[str, tuple[str, str]] = {}
    for stanza in translations.split("\n\n"):
        name = re.search(r"^Package: (\S+)$", stanza, re.MULTILINE)
        description = re.search(r"^Description-en: (.*(?:\n .*)*)", stanza, re.MULTILINE)
        if name and description:
            synopsis, _, rest = description[1].partition("\n")
            lines = [line[1:] if line.strip() != "." else "" for line in rest.split("\n")]
            found[name[1]] = (synopsis, "\n".join(lines))
    return [found[name] for name in sorted(found)]
