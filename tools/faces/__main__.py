"""Writes the derived files: ``python -m tools.faces`` in the checkout's folder, which ``make faces`` calls."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.faces import derived_files


def main() -> int:
    """Write every derived file that is not as it should be, and say which."""
    for path, text in derived_files(Path.cwd()).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(Path.cwd())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
