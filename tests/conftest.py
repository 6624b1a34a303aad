"""Where tests find the real data sets and the golden numbers."""

import os
from pathlib import Path

import pytest

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
