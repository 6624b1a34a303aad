"""Links of the repository's files, and where they lead on the site."""

import re

import pytest

from tests.support import REPOSITORY as CHECKOUT
from tools.site_links import BORROWED, ELSEWHERE, REPOSITORY, for_the_site


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[a](method.md#the-clustered-search)", "[a](../method.md#the-clustered-search)"),
        ("[a](cloud/README.md)", "[a](../cloud/README.md)"),
        ("[a](../README.md#exit-codes)", "[a](../reference/exit-codes.md)"),
        ("[a](../README.md)", "[a](../index.md)"),
        ("[a](../CONTRIBUTING.md)", "[a](../contributing.md)"),
        ("[a](../tests/golden)", f"[a]({REPOSITORY}/tree/main/tests/golden)"),
        ("[a](../schemas/tune.schema.json)", f"[a]({REPOSITORY}/blob/main/schemas/tune.schema.json)"),
        ("![a](figures/scale.svg)", "![a](../figures/scale.svg)"),
        ("[![a](figures/scale.svg)](method.md)", "[![a](../figures/scale.svg)](../method.md)"),
        ("[code]: ../LICENSE", f"[code]: {REPOSITORY}/blob/main/LICENSE"),
        ("[a](https://example.org/b.md) [c](#d) <mailto:e@example.org>",) * 2,
        ("```python\nvalues[0](method.md)\n```\n",) * 2,
    ],
)
def test_links_lead_to_pages_of_the_site_or_to_github(written, shown):
    assert for_the_site(written, "docs", "howto", CHECKOUT) == shown


def test_a_borrowed_page_has_links_relative_to_the_root():
    assert for_the_site("[map](docs/dev/map.md)", "", "", CHECKOUT) == "[map](dev/map.md)"


def test_the_pages_exist():
    for page in ELSEWHERE.values():
        assert (CHECKOUT / "docs" / page).is_file(), page
    for page, source in BORROWED.items():
        assert re.search(
            rf"\(\.\./{re.escape(source)}\)", (CHECKOUT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        )
