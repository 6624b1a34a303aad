"""What all tests share: where the real data sets and golden numbers are, and how random examples are drawn."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run: a near-tie that only a rare example meets must not fail somebody else's change.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("repeatable")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SCCR_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, too large for the repository: $SCCR_SHARED/data, or ../shared/data beside it."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data sets: {folder} does not exist (set SCCR_SHARED to the folder that has data/)")
    return folder


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """The folder of golden numbers, which are in the repository."""
    return Path(__file__).parent / "golden"
