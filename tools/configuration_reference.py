"""Write docs/configuration.md: `python -m tools.configuration_reference`."""

from __future__ import annotations

from tools.kit.doc_pages.configuration_reference import main

if __name__ == "__main__":
    main()
