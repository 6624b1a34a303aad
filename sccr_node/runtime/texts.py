"""Read small files that users name: bounded, because a name can also lead to a device or to somebody's data."""

import errno
import os
from pathlib import Path


def read_small(path: Path, most: int = 2**26) -> bytes:
    """Read a file whole.

    Parameters
    ----------
    path
        A regular file, or what a shell puts in its place (``<(command)``).
    most
        Bytes; more are an error.

    Raises
    ------
    OSError
        It cannot be read, or is larger (``EFBIG``).
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content
