"""Google Cloud Storage, by google-cloud-storage: credentials are those of every Google tool."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sccr_node.storage.places.bucket import (
    ANSWER_SECONDS_OF_A_STORE,
    CONNECT_SECONDS,
    Absent,
    Bucket,
    Facts,
    Lost,
    Passing,
    Refused,
    Sending,
    Taken,
    Trouble,
    cause_of,
    client_library,
    taken,
    trouble_of,
)

_TOKEN = "sccr-upload"
_TIMES: dict[str, Any] = {"timeout": (CONNECT_SECONDS, ANSWER_SECONDS_OF_A_STORE), "retry": None}
"""The library would try again for two minutes, without answering signals: we do it ourselves."""

_REQUEST = re.compile(r"^[A-Z]+ https?://\S+: ")
"""What Google's messages begin with."""

_BYTES_AT_A_TIME = 8 * 2**20


class GoogleBucket(Bucket):
    """A bucket of Google Cloud Storage."""

    def __init__(self, name: str) -> None:
        storage = client_library("google.cloud.storage", "gs", "gcs")
        with _explained():
            credentials = _credentials()
            # The library sends the parts of an upload only together; this session sends one at a time.
            self._web = client_library("google.auth.transport.requests", "gs", "gcs").AuthorizedSession(credentials)
            # No call of ours is about a project.
            self._client = storage.Client(project="none", credentials=credentials)
            self._bucket = self._client.bucket(name)

    def facts(self, key: str) -> Facts:
        """Return the facts of an object."""
        blob = self._bucket.blob(key)
        with _explained():
            blob.reload(**_TIMES)
        return _facts_of(blob)

    @contextmanager
    def read(self, key: str, facts: Facts, start: int, end: int | None = None) -> Iterator[Iterator[bytes]]:
        """Read an object from a byte on."""
        yield self._blocks(key, facts, start, facts.size if end is None else end)

    def _blocks(self, key: str, facts: Facts, start: int, stop: int) -> Iterator[bytes]:
        for begin in range(start, stop, _BYTES_AT_A_TIME):
            end = min(begin + _BYTES_AT_A_TIME, stop) - 1
            # Raw: what is stored compressed would otherwise be unpacked on the way, and differ in size.
            conditions = {"if_generation_match": int(facts.tag), "raw_download": True, "checksum": None}
            with _explained():
                block = self._bucket.blob(key).download_as_bytes(start=begin, end=end, **conditions, **_TIMES)
            if not block:
                return
            yield block

    def listing(self, prefix: str) -> Iterator[tuple[str, Facts]]:
        """Yield the keys that begin with a prefix."""
        with _explained():
            for blob in self._client.list_blobs(self._bucket, prefix=prefix, **_TIMES):
                yield blob.name, _facts_of(blob)

    def begin(self, key: str, *, replace: bool) -> Sending:
        """Begin to write an object."""
        return _GoogleSending(self._bucket, self._web, key, replace)

    def delete(self, key: str) -> None:
        """Delete an object."""
        with suppress(Absent), _explained():
            self._bucket.blob(key).delete(**_TIMES)

    def abort(self, prefix: str) -> None:
        """Do nothing: they cannot be listed, and go by themselves in a week."""

    def prepare(self, key: str) -> None:
        """Begin an upload and cancel it, to see whether that is allowed; unfinished ones go by themselves in a week."""
        blob = self._bucket.blob(key)
        with _explained():
            where = blob.create_resumable_upload_session(**_TIMES)
        with suppress(Trouble), _explained():
            self._web.request("DELETE", where, timeout=_TIMES["timeout"])


class _GoogleSending(Sending):
    """A resumable upload: every part but the last may be sent before the object appears, with the last."""

    def __init__(self, bucket: Any, web: Any, key: str, replace: bool) -> None:
        super().__init__()
        self._bucket, self._web, self._key = bucket, web, key
        self._condition = {} if replace else {"if_generation_match": 0}
        self._session: str | None = None
        self._sent = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._rest = (0, b"")

    def send(self, number: int, part: bytes, *, last: bool) -> None:
        if last:
            self._rest = (self._sent, part)
            return
        if self._session is None:
            self._session = self._begun()
        self._put(self._sent, part, "*")
        self._sent += len(part)
        self._md5.update(part)

    def finish(self) -> None:
        start, part = self._rest
        if self._condition:
            # The condition may have been looked at when the upload began, which was a while ago.
            with suppress(Absent):
                if not self.arrived():
                    raise Taken("it has appeared")
        if self._session is None:
            blob = self._blob()
            with taken(), _explained():
                kind = {"content_type": "application/octet-stream", "checksum": "md5"}
                blob.upload_from_string(part, **kind, **self._condition, **_TIMES)
            return
        whole = self._md5.copy()
        whole.update(part)
        self._put(start, part, str(start + len(part)), md5=base64.b64encode(whole.digest()).decode())

    def arrived(self) -> bool:
        blob = self._bucket.blob(self._key)
        with _explained():
            blob.reload(**_TIMES)
        return bool((blob.metadata or {}).get(_TOKEN) == self.token)

    def abandon(self) -> None:
        if self._session is not None:
            with suppress(Trouble), _explained():
                self._web.request("DELETE", self._session, timeout=_TIMES["timeout"])

    def _blob(self) -> Any:
        blob = self._bucket.blob(self._key)
        blob.metadata = {_TOKEN: self.token}
        return blob

    def _begun(self) -> str:
        with taken(), _explained():
            return str(
                self._blob().create_resumable_upload_session(
                    content_type="application/octet-stream", **_TIMES, **self._condition
                )
            )

    def _put(self, start: int, part: bytes, total: str, md5: str | None = None) -> None:
        """Send bytes to the session: those that arrived in an earlier attempt are ignored there.

        With the last of them goes the MD5 of the whole, which Google compares before the object appears.
        """
        end = start + len(part)
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{total}"}
        if md5 is not None:
            headers["X-Goog-Hash"] = f"md5={md5}"
        with _explained():
            answer = self._web.request("PUT", self._session, data=part, headers=headers, timeout=_TIMES["timeout"])
        if answer.status_code == 412:
            raise Taken(answer.reason)
        if answer.status_code in (404, 410) or (answer.status_code == 400 and md5 is not None):  # other bytes arrived
            raise Lost(f"{answer.status_code} {answer.reason}")
        if answer.status_code not in (200, 201, 308):
            raise trouble_of(answer.status_code, f"{answer.status_code} {answer.reason}")
        if answer.status_code == 308 and int(answer.headers.get("Range", "-").rpartition("-")[2] or -1) + 1 < end:
            raise Passing("not all bytes arrived")


def _credentials() -> Any:
    """Return the credentials that Google's tools would use; an emulator takes none."""
    import google.auth
    from google.auth.credentials import AnonymousCredentials

    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    return google.auth.default(scopes=["https://www.googleapis.com/auth/devstorage.read_write"])[0]


def _facts_of(blob: Any) -> Facts:
    md5 = None if blob.md5_hash is None else base64.b64decode(blob.md5_hash)
    return Facts(int(blob.size), str(blob.generation), md5)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn Google's errors into ours."""
    import requests
    from google.api_core import exceptions
    from google.auth import exceptions as credentials

    try:
        yield
    except exceptions.GoogleAPICallError as failure:
        status = failure.code or 0
        if status == 400 and "MD5" in str(failure.message):  # other bytes arrived than were sent
            raise Passing(f"400 {_first_line(failure.message)}") from failure
        raise trouble_of(int(status), f"{int(status)} {_first_line(failure.message)}") from failure
    except (credentials.TransportError, requests.RequestException, OSError) as failure:
        raise Passing(cause_of(failure)) from None  # also in a traceback there would be the address of an upload
    except credentials.GoogleAuthError as failure:
        raise Refused(_first_line(failure.args[0] if failure.args else failure)) from failure  # then comes the answer


def _first_line(failure: object) -> str:
    lines = _REQUEST.sub("", str(failure)).splitlines()
    return lines[0] if lines else "no reason given"
