"""Draw the floors of the package into docs/architecture.md: `python -m tools.floors`."""

from __future__ import annotations

from tools.kit.doc_pages.floors import main

if __name__ == "__main__":
    main()
