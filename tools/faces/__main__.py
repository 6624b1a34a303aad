"""Writes the derived files: ``python -m tools.faces`` in the checkout's folder; ``make faces`` calls it.

With ``--check`` nothing is written; the exit code is 1 if a file is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tools.faces import derived_files


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a derived file is out of date.")
def main(check: bool) -> None:
    """Write every derived file that is out of date, and list them."""
    root = Path.cwd()
    outdated = {
        path: text
        for path, text in derived_files(root).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    for path, text in outdated.items():
        if check:
            print(f"{path.relative_to(root)} is out of date: run make faces")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(root)}")
    sys.exit(1 if check and outdated else 0)


if __name__ == "__main__":
    main()
