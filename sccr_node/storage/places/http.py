"""Files on a web server, to read: with ETags an interrupted download is resumed, and a change is noticed."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from sccr_node.storage.places.address import is_trusted
from sccr_node.storage.places.bucket import (
    ANSWER_SECONDS_OF_A_STORE,
    BLOCK_READ,
    Bucket,
    Changed,
    Facts,
    Passing,
    Refused,
    Sending,
    Whole,
    byte_range,
    cause_of,
    trouble_of,
)

_NUMBER = re.compile(r"[0-9]{1,18}")
_PART = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
"""A Content-Range: where the part begins, and the size of the whole, which may be unknown."""

_SAFE = "/?&=%:+,;~@!$'()*"
"""Characters that URLs are given with: what is quoted already stays so."""


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow no redirect to where anybody could listen."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        parts = urlsplit(newurl)
        if not is_trusted(parts.scheme, parts.netloc):
            raise Refused("it redirects to an address without encryption")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class WebHost(Bucket):
    """A host whose files can be read; the key of a file is its path with the query."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._open = urllib.request.build_opener(_SafeRedirects()).open

    def facts(self, key: str) -> Facts:
        """Return the facts of a file: of those that servers name, what changes with its content."""
        # Signed addresses are often good for GET alone: the answer is not read.
        with _explained(), self._open(self._request(key), timeout=ANSWER_SECONDS_OF_A_STORE) as answer:
            return _facts_of(answer)

    @contextmanager
    def read(self, key: str, facts: Facts, start: int, end: int | None = None) -> Iterator[Iterator[bytes]]:
        """Read a file from a byte on."""
        request = self._request(key)
        if start or end is not None:
            request.add_header("Range", byte_range(start, end))
        with _explained():
            answer = self._open(request, timeout=ANSWER_SECONDS_OF_A_STORE)
        try:
            if (_size_of(answer, facts.size, start), _tag_of(answer)) != (facts.size, facts.tag):
                raise Changed("it changed while it was read")
            whole = answer.status != http.HTTPStatus.PARTIAL_CONTENT  # a server without ranges begins again
            if whole and end is not None and start:
                raise Whole("the server sends whole files only")
            yield _blocks(answer, skipped=start if whole else 0)
        finally:
            answer.close()

    def listing(self, prefix: str) -> Iterator[tuple[str, Facts]]:
        """Yield nothing: a web server has no folders."""
        return iter(())

    def begin(self, key: str, *, replace: bool) -> Sending:
        """Refuse."""
        raise Refused("it can only be read")

    def delete(self, key: str) -> None:
        """Refuse."""
        raise Refused("it can only be read")

    def abort(self, prefix: str) -> None:
        """Refuse."""
        raise Refused("it can only be read")

    def prepare(self, key: str) -> None:
        """Refuse."""
        raise Refused("it can only be read")

    def _request(self, key: str) -> urllib.request.Request:
        # Compressed on the way, a file would have another size and another tag.
        return urllib.request.Request(f"{self._root}/{quote(key, safe=_SAFE)}", headers={"Accept-Encoding": "identity"})


def _facts_of(answer: Any) -> Facts:
    return Facts(_size_of(answer), _tag_of(answer))


def _size_of(answer: Any, known: int | None = None, start: int = 0) -> int:
    """Return the size of the whole file; an answer with a part need not say it, but must be the part from that byte."""
    length = answer.headers.get("Content-Length")
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
        part = _PART.fullmatch(answer.headers.get("Content-Range", ""))
        if part is None or int(part[1]) != start:
            raise Whole("the server does not send the parts that it is asked for")
        length = str(known) if part[2] == "*" else part[2]
    if length is None or _NUMBER.fullmatch(length) is None:
        raise Refused("the server does not say how large it is")
    return int(length)


def _tag_of(answer: Any) -> str:
    return answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""


def _blocks(answer: Any, skipped: int) -> Iterator[bytes]:
    while True:
        with _explained():
            block = answer.read(min(BLOCK_READ, skipped) if skipped else BLOCK_READ)
        if not block:
            return
        if skipped:
            skipped -= len(block)
        else:
            yield block


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the errors of the standard library into ours."""
    try:
        yield
    except urllib.error.HTTPError as failure:
        failure.close()
        raise trouble_of(failure.code, _said(failure.code)) from None
    except (ValueError, http.client.InvalidURL):
        raise Refused("what it redirects to, or the proxy that is set, is no address") from None
    except (http.client.HTTPException, OSError) as failure:  # URLError is one
        raise Passing(cause_of(failure)) from None


def _said(status: int) -> str:
    """Return a status in words; urllib's, of a redirection, are the address, with what signs it."""
    words = f"{status} {http.client.responses.get(status, '')}".rstrip()
    return f"{words}: it redirects, and not to a file" if 300 <= status < 400 else words
