"""Write docs/openapi.json: `python -m tools.openapi`."""

from __future__ import annotations

from tools.openapi.document import PAGE, ROOT, render

PAGE.write_text(render(), encoding="utf-8")
print(f"wrote {PAGE.relative_to(ROOT)}")
