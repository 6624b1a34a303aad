"""The links of the documentation: in the repository they lead to files, on the site to its pages or to GitHub."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = "https://github.com/sccr-node/sccr-node"

BORROWED: Mapping[str, str] = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}
"""Pages whose text is a file in the root of the repository."""

ELSEWHERE: Mapping[str, str] = {
    "README.md#exit-codes": "reference/exit-codes.md",
    "README.md": "index.md",
    **{source: f"{page}.md" for page, source in BORROWED.items()},
}
"""Pages of the site that have what a file outside docs/ is linked to for."""

LINK = re.compile(r"(!\[[^\]]*\]\(|\]\(|^\[[^\]]+\]: )((?![a-z]+:|#)[^)\s]+)", re.MULTILINE)
"""An image, a link, or a reference's target, that is neither an address nor an anchor of the same page."""


def for_the_site(text: str, folder: str, page: str, root: Path) -> str:
    """Return a page of Markdown with links that lead somewhere on the site.

    Parameters
    ----------
    text
        The page as it is in the repository.
    folder
        The folder, within the repository, that its links are relative to.
    page
        The folder, within ``docs/``, of the page that it becomes.
    root
        The repository's folder.
    """

    def replaced(found: re.Match[str]) -> str:
        path, _, anchor = found[2].partition("#")
        name = os.path.normpath(os.path.join(folder, path))
        whole = f"{name}#{anchor}" if anchor else name
        if found[1].startswith("!"):  # Sphinx copies it from the repository: GitHub's page of a file is no image
            return found[1] + os.path.relpath(name, os.path.join("docs", page))
        target = ELSEWHERE.get(whole) or ELSEWHERE.get(name)
        if target is None and name.startswith("docs/") and name.endswith(".md"):
            target = whole.removeprefix("docs/")
        if target is not None:
            return found[1] + os.path.relpath(target, page or ".")
        kind = "tree" if (root / name).is_dir() else "blob"
        return f"{found[1]}{REPOSITORY}/{kind}/main/{whole}"

    # What looks like a link in code is an index and a call.
    parts = re.split(r"(^```.*?^```)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)
