"""Write docs/openapi.json: `python -m tools.openapi`."""

from __future__ import annotations

from tools.kit.doc_pages.openapi.document import main

if __name__ == "__main__":
    main()
