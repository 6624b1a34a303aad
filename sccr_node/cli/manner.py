"""The words of the command line, and how a failure is reported: read from them, which may themselves be wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from sccr_node.contract.environment import environment_name


@dataclass
class Manner:
    """How a failure is reported: as plain text or JSON, with or without a traceback.

    Read from the arguments and the environment first, since they may be what is wrong; then from the settings.
    """

    as_json: bool
    debug: bool
    arguments: tuple[str, ...] = ()
    """Those after the command's name: not always the process's, whose program may have called the command."""
    begin: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self.begin

    @classmethod
    def of(cls, arguments: list[str]) -> Manner:
        """Guess from the arguments and the environment, before anything is parsed."""
        formats = [value for name, value in pairwise(arguments) if name == "--log-format"]
        formats += [word.removeprefix("--log-format=") for word in arguments if word.startswith("--log-format=")]
        log_format = formats[-1] if formats else os.environ.get(environment_name("log_format"))
        debug = os.environ.get(environment_name("debug")) if "--debug" not in arguments else "yes"
        return cls(log_format == "json", _is_yes(debug), tuple(arguments))

    def take(self, values: Mapping[str, Any]) -> None:
        """Take over the settings, which may be invalid."""
        self.as_json = values.get("log_format", "text") == "json"
        self.debug = _is_yes(values.get("debug"))


def _is_yes(value: object) -> bool:
    return value is True or str(value).lower() in ("1", "true", "yes", "on")
