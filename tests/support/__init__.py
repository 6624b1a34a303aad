"""What tests in several folders share: where the checkout is, makers of inputs, comparisons of stores."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
