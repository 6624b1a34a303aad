"""Addresses of remote files: s3://, gs:// and az:// with a bucket and a key, https:// with a host and a path."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from sccr_node.errors import UsageProblem
from sccr_node.runtime.standins import as_shown

_REMOTE = re.compile(r"(s3|gs|az|https?)://")
BEGINS_LIKE_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)(.*)")
"""A URL of another kind, as pathlib leaves it: with one slash."""

LONGEST_NAME = 255
"""Bytes of a part of a key: what is remote has files on this machine that are called so."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_LOOPBACK = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?")
WEB = ("https", "http")
"""Can only be read."""

_OF_SIGNATURES = re.compile(
    r"x-(amz|goog|oss|ms)-.*|temp_url_.*|.*(signature|token|secret|passw|auth|credential|api[-_]?key|access_?key).*"
    r"|sig|hmac|jwt|key|pwd|rlkey|session(id)?"
)
"""Names, in lower case, of what in a query says who may read, and not what is read."""

_BESIDE_SIGNATURES = re.compile(
    r"expires?|exp|policy|key-pair-id|hash-algorithm|(aws|oss)accesskeyid|googleaccessid"
    r"|sv|ss|srt|sp|se|st|spr|sip|si|sr|sdd|skoid|sktid|skt|ske|sks|skv|saoid|suoid|scid"
)
"""Short names, which can mean anything else in a query without a signature."""

_IS_SIGNED = re.compile(r"sig|signature|hmac|.*token|.*_sig")


def is_remote(address: str) -> bool:
    """Return whether a path is a remote address."""
    return _REMOTE.match(address) is not None


def is_trusted(scheme: str, host: str) -> bool:
    """Return whether nobody on the way can read or change what a URL names."""
    return scheme == "https" or (scheme == "http" and _LOOPBACK.fullmatch(host) is not None)


@dataclass(frozen=True)
class Address:
    """The address of a remote file or folder; as text, it is without whatever could be a secret.

    Attributes
    ----------
    scheme, bucket, key
        Its parts; of a URL, the host and the path.
    query
        The query of a URL, which can be a signature.
    """

    scheme: str
    bucket: str
    key: str
    query: str = field(default="", repr=False)

    @classmethod
    def of(cls, text: str) -> Address:
        """Take an address apart.

        Raises
        ------
        UsageProblem
            It cannot be that of a file, or contains a secret.
        """
        scheme = text.partition("://")[0]
        if _UNPRINTABLE.search(text):
            raise UsageProblem(f"cannot use {scheme}:// with control characters in the address; rename the object")
        found = _of_url(text) if scheme in WEB else _of_object(text)
        if any(segment in ("", ".", "..") for segment in [found.bucket, *found.key.split("/")]):
            example = f"{scheme}://{'HOST/PATH' if scheme in WEB else 'BUCKET/KEY'}"
            raise UsageProblem(f"cannot use {as_shown(text)}: give the address of a file or folder, as in {example}")
        if any(len(segment.encode()) > LONGEST_NAME for segment in [found.bucket, *found.key.split("/")]):
            raise UsageProblem(
                f"cannot use {as_shown(text)}: a part of it is longer than {LONGEST_NAME} bytes, which no local file's "
                "name may be; rename the object"
            )
        return found

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def can_be_written(self) -> bool:
        """Whether places of this kind can be written to."""
        return self.scheme not in WEB

    def digest_of_query(self, *, lasting: bool = False) -> str:
        """Return what tells the query from others, and cannot be turned back into it.

        Parameters
        ----------
        lasting
            Of those parts alone that are no signature, which would be another one every day; empty if there are none.
        """
        query = self._lasting_query() if lasting else self.query
        return hashlib.sha256(query.encode(errors="surrogateescape")).hexdigest()[:16] if query else ""

    def _lasting_query(self) -> str:
        parts = parse_qsl(self.query, keep_blank_values=True, errors="surrogateescape")
        signed = any(_IS_SIGNED.fullmatch(name.lower()) for name, _ in parts)
        passing = [_OF_SIGNATURES, *([_BESIDE_SIGNATURES] if signed else [])]
        kept = [part for part in parts if not any(pattern.fullmatch(part[0].lower()) for pattern in passing)]
        return urlencode(sorted(kept, key=lambda part: part[0]), errors="surrogateescape")

    def __str__(self) -> str:
        """Return the address without its query."""
        return f"{self.scheme}://{self.bucket}/{self.key}"


def _of_object(text: str) -> Address:
    scheme, _, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme == "az" and "?" in text:
        raise UsageProblem(
            f"cannot use {as_shown(text)} with a token in the address: set AZURE_STORAGE_SAS_TOKEN instead"
        )
    return Address(scheme, bucket, key.removesuffix("/"))


def _of_url(text: str) -> Address:
    try:
        parts = urlsplit(text)
        is_host = parts.port is None or parts.port > 0
        is_host = is_host and bool((parts.hostname or "").encode("idna")) and not re.search(r"\s", parts.netloc)
    except ValueError:  # UnicodeError is one
        is_host = False
    if not is_host:
        raise UsageProblem(f"cannot use {as_shown(text)}: this is not the name of a host, or its port is no port")
    if "@" in parts.netloc:
        raise UsageProblem(f"cannot use {as_shown(text)} with a user name in the address")
    if not is_trusted(parts.scheme, parts.netloc):
        raise UsageProblem(f"cannot use {as_shown(text)}: anybody could read or change it on the way; use https://")
    return Address(parts.scheme, parts.netloc, parts.path[1:].removesuffix("/"), parts.query)
