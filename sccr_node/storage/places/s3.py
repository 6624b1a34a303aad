"""Amazon S3 and what speaks its protocol, by botocore: credentials and settings are those of every AWS tool."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sccr_node.storage.places.bucket import (
    ANSWER_SECONDS_OF_A_STORE,
    BLOCK_READ,
    CONNECT_SECONDS,
    Absent,
    Bucket,
    Changed,
    Facts,
    Lost,
    Passing,
    Refused,
    Sending,
    Trouble,
    byte_range,
    cause_of,
    client_library,
    taken,
    trouble_of,
)

_TOKEN = "sccr-upload"

_PASSING_CODES = {
    "RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "Throttling",
    "BadDigest", "XAmzContentChecksumMismatch",
}  # fmt: skip
"""Some of these come with a status that says otherwise; the last two are bytes that changed on the way."""

_LOST_CODES = {"NoSuchUpload", "InvalidPart"}

_PLAIN_MD5 = re.compile(r'"?([0-9a-fA-F]{32})"?')

_RANDOM_TAGS = ("--x-s3", "--xa-s3")
"""How names of directory buckets (S3 Express) and their access points end, whose ETags are nothing but random."""


class S3Bucket(Bucket):
    """A bucket of S3."""

    def __init__(self, name: str) -> None:
        session = client_library("botocore.session", "s3", "s3").get_session()
        config = client_library("botocore.config", "s3", "s3").Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS_OF_A_STORE,
            retries={"total_max_attempts": 1},  # we try again ourselves, and answer signals meanwhile
        )
        self._name = name
        with _explained():
            # A region is part of every signature; where none is set, S3 itself accepts this one and redirects.
            # AWS_REGION, which other SDKs and the containers of AWS set, is none of botocore's variables.
            region = session.get_config_variable("region") or os.environ.get("AWS_REGION") or "us-east-1"
            self._client = session.create_client("s3", region_name=region, config=config)

    def facts(self, key: str) -> Facts:
        """Return the facts of an object."""
        with _explained():
            found = self._client.head_object(Bucket=self._name, Key=key)
        return Facts(found["ContentLength"], found["ETag"], _md5_of(found, self._name))

    @contextmanager
    def read(self, key: str, facts: Facts, start: int, end: int | None = None) -> Iterator[Iterator[bytes]]:
        """Read an object from a byte on."""
        # botocore compares the checksum that S3 keeps, if there is one, and if an object is read whole.
        part = {"Range": byte_range(start, end)} if start or end is not None else {}
        with _explained():
            body = self._client.get_object(Bucket=self._name, Key=key, IfMatch=facts.tag, **part)["Body"]

        def blocks() -> Iterator[bytes]:
            while True:
                with _explained():
                    block = body.read(BLOCK_READ)
                if not block:
                    return
                yield block

        try:
            yield blocks()
        finally:
            body.close()

    def listing(self, prefix: str) -> Iterator[tuple[str, Facts]]:
        """Yield the keys that begin with a prefix."""
        with _explained():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix):
                for found in page.get("Contents", ()):
                    yield found["Key"], Facts(found["Size"], found["ETag"])

    def begin(self, key: str, *, replace: bool) -> Sending:
        """Begin to write an object."""
        return _S3Sending(self._client, self._name, key, replace)

    def delete(self, key: str) -> None:
        """Delete an object."""
        with _explained():
            self._client.delete_object(Bucket=self._name, Key=key)

    def abort(self, prefix: str) -> None:
        """End the open uploads to all keys that begin with a prefix, as far as they can be listed."""
        for key, upload in self._open_uploads(prefix):
            self._abort(key, upload)

    def prepare(self, key: str) -> None:
        """Abort the open uploads of a key, and begin one of our own to see whether that is allowed."""
        for other, upload in self._open_uploads(key):
            if other == key:
                self._abort(key, upload)
        with _explained():
            begun = self._client.create_multipart_upload(Bucket=self._name, Key=key)
        self._abort(key, begun["UploadId"])

    def _open_uploads(self, prefix: str) -> list[tuple[str, str]]:
        with suppress(Refused), _explained():  # listing uploads is a permission of its own
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._name, Prefix=prefix)
            return [(each["Key"], each["UploadId"]) for page in pages for each in page.get("Uploads", ())]
        return []

    def _abort(self, key: str, upload: str) -> None:
        with suppress(Absent, Lost, Refused), _explained():
            self._client.abort_multipart_upload(Bucket=self._name, Key=key, UploadId=upload)


class _S3Sending(Sending):
    """An upload in parts, or a single request if there is only one."""

    def __init__(self, client: Any, bucket: str, key: str, replace: bool) -> None:
        super().__init__()
        self._client, self._where = client, {"Bucket": bucket, "Key": key}
        self._kept = {"Metadata": {_TOKEN: self.token}}
        self._condition = {} if replace else {"IfNoneMatch": "*"}
        self._upload: str | None = None
        self._only: bytes | None = None
        self._tags: dict[int, str] = {}

    def send(self, number: int, part: bytes, *, last: bool) -> None:
        if number == 0 and last:
            self._only = part
            return
        with _explained():
            if self._upload is None:
                self._upload = self._client.create_multipart_upload(**self._where, **self._kept)["UploadId"]
            sent = self._client.upload_part(**self._where, UploadId=self._upload, PartNumber=number + 1, Body=part)
        self._tags[number] = sent["ETag"]

    def finish(self) -> None:
        with taken(), _explained():
            if self._only is not None:
                self._client.put_object(**self._where, **self._kept, **self._condition, Body=self._only)
            else:
                parts = [{"ETag": tag, "PartNumber": number + 1} for number, tag in sorted(self._tags.items())]
                self._client.complete_multipart_upload(
                    **self._where, **self._condition, UploadId=self._upload, MultipartUpload={"Parts": parts}
                )

    def arrived(self) -> bool:
        with _explained():
            found = self._client.head_object(**self._where)
        return bool(found["Metadata"].get(_TOKEN) == self.token)

    def abandon(self) -> None:
        if self._upload is not None:
            with suppress(Trouble), _explained():
                self._client.abort_multipart_upload(**self._where, UploadId=self._upload)


def _md5_of(found: dict[str, Any], bucket: str) -> bytes | None:
    """Return the MD5 of an object if its ETag is one: it came in one request, and is under no keys but S3's."""
    encrypted = found.get("ServerSideEncryption", "").startswith("aws:kms") or "SSECustomerAlgorithm" in found
    tag = _PLAIN_MD5.fullmatch(found["ETag"])
    return None if tag is None or encrypted or bucket.endswith(_RANDOM_TAGS) else bytes.fromhex(tag[1])


def _passing(exceptions: Any) -> tuple[type[Exception], ...]:
    """Return botocore's errors of the network; its ConnectionError is none of its HTTP client's, nor Python's."""
    return exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError, OSError


@contextmanager
def _explained() -> Iterator[None]:
    """Turn botocore's errors into ours."""
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as failure:
        status = failure.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = failure.response.get("Error", {}).get("Code", "")
        # Of a HEAD request the answer has no text: the code is then the number.
        said = failure.response.get("Error", {}).get("Message") or code
        reason = f"{code}: {said}" if code and not code.isdigit() else f"{status} {said}"
        if code in _LOST_CODES:
            raise Lost(reason) from failure
        raise (Passing(reason) if code in _PASSING_CODES else trouble_of(status, reason)) from failure
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as failure:
        raise Refused(str(failure)) from failure
    except (exceptions.ChecksumError, exceptions.FlexibleChecksumError) as failure:
        # All bytes are there by then, and must not be kept: what is passing goes on after them.
        raise Changed("its checksum is not the one that the store keeps") from failure
    except _passing(exceptions) as failure:
        raise Passing(cause_of(failure)) from None  # also in a traceback there would be the number of an upload
    except (exceptions.BotoCoreError, ValueError) as failure:  # ValueError: an endpoint that is no address
        raise Refused(str(failure)) from failure
