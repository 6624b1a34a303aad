"""Azure Blob Storage, by azure-storage-blob: the account and the credentials come from AZURE_* variables."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
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
    cause_of,
    client_library,
    trouble_of,
)

_TOKEN = "sccrupload"
"""Names of metadata are identifiers there."""


_BYTES_AT_A_TIME = 4 * 2**20
"""Read in a request; the library keeps several copies of each."""

_REMEDY = (
    "set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING, or sign in as for Azure's tools"
)

_BLOCKS_IN_THE_WAY = (
    "another program has left an unfinished upload to it; upload any small file under this name and delete it, give "
    "another name, or wait a week"
)

_OF_LOGIN = re.compile(r"AADSTS\d+: [^\n]*?(?=\. |\.?\n|\.?$)")
"""The reason of a sign-in that was refused; then come the numbers of the request."""


class AzureContainer(Bucket):
    """A container of Azure Blob Storage."""

    def __init__(self, name: str) -> None:
        blob = client_library("azure.storage.blob", "az", "azure")
        settings: dict[str, Any] = {
            "retry_total": 0,  # we try again ourselves, and answer signals meanwhile
            "connection_timeout": CONNECT_SECONDS,
            "read_timeout": ANSWER_SECONDS_OF_A_STORE,
            "max_single_get_size": _BYTES_AT_A_TIME,
            "max_chunk_get_size": _BYTES_AT_A_TIME,
        }
        with _explained():
            connection = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
            if connection:
                service = blob.BlobServiceClient.from_connection_string(connection, **settings)
            else:
                service = blob.BlobServiceClient(_account_url(), credential=_credential(), **settings)
        self._container = service.get_container_client(name)

    def facts(self, key: str) -> Facts:
        """Return the facts of an object."""
        with _explained():
            found = self._container.get_blob_client(key).get_blob_properties()
        return _facts_of(found)

    @contextmanager
    def read(self, key: str, facts: Facts, start: int, end: int | None = None) -> Iterator[Iterator[bytes]]:
        """Read an object from a byte on."""
        from azure.core import MatchConditions

        with _explained():
            stream = self._container.get_blob_client(key).download_blob(
                offset=start,
                length=(facts.size if end is None else end) - start,
                etag=facts.tag,
                match_condition=MatchConditions.IfNotModified,
                max_concurrency=1,
            )
        yield _blocks(stream.chunks())

    def listing(self, prefix: str) -> Iterator[tuple[str, Facts]]:
        """Yield the keys that begin with a prefix."""
        with _explained():
            for found in self._container.list_blobs(name_starts_with=prefix):
                yield found.name, _facts_of(found)

    def begin(self, key: str, *, replace: bool) -> Sending:
        """Begin to write an object."""
        return _AzureSending(self._container.get_blob_client(key), replace)

    def delete(self, key: str) -> None:
        """Delete an object."""
        with suppress(Absent), _explained():
            self._container.get_blob_client(key).delete_blob()

    def abort(self, prefix: str) -> None:
        """Do nothing: they cannot be listed, and go by themselves in a week."""

    def prepare(self, key: str) -> None:
        """Send a block to see whether that is allowed; blocks of no object go by themselves in a week."""
        with _explained():
            self._container.get_blob_client(key).stage_block(_block_id(secrets.token_hex(8), 0), b"0")


class _AzureSending(Sending):
    """Blocks, and the list of them that makes the object appear."""

    def __init__(self, client: Any, replace: bool) -> None:
        super().__init__()
        self._client, self._replace = client, replace
        self._blocks: dict[int, str] = {}
        self._md5 = hashlib.md5(usedforsecurity=False)

    def send(self, number: int, part: bytes, *, last: bool) -> None:
        block = _block_id(self.token, number)
        if part:
            with _explained():
                self._client.stage_block(block, part, validate_content=True)
            if number not in self._blocks:
                self._md5.update(part)
            self._blocks[number] = block

    def finish(self) -> None:
        from azure.core import MatchConditions
        from azure.storage.blob import BlobBlock, ContentSettings

        condition = {} if self._replace else {"match_condition": MatchConditions.IfMissing}
        blocks = [BlobBlock(block) for _, block in sorted(self._blocks.items())]
        with _explained():
            self._client.commit_block_list(
                blocks,
                metadata={_TOKEN: self.token},
                content_settings=ContentSettings(content_md5=bytearray(self._md5.digest())),  # kept as it is told
                **condition,
            )

    def arrived(self) -> bool:
        with _explained():
            found = self._client.get_blob_properties()
        return bool((found.metadata or {}).get(_TOKEN) == self.token)

    def abandon(self) -> None:
        """Leave the blocks: they belong to no object, and go by themselves in a week."""


def _account_url() -> str:
    account = os.environ.get("AZURE_STORAGE_ACCOUNT") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise Refused("no account is set: set AZURE_STORAGE_ACCOUNT, or AZURE_STORAGE_CONNECTION_STRING")
    return os.environ.get("AZURE_STORAGE_ENDPOINT") or f"https://{account}.blob.core.windows.net"


def _credential() -> Any:
    """Return the key or the token that is set, or what every Azure tool would use: a managed identity, say."""
    for name in ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"):
        if value := os.environ.get(name):
            return value
    identity = client_library("azure.identity", "az", "azure")
    log = logging.getLogger(identity.__name__)
    if log.level == logging.NOTSET:  # without a handler, Python writes warnings to standard error: a dozen lines here
        log.setLevel(logging.CRITICAL)
    return identity.DefaultAzureCredential()


def _block_id(token: str, number: int) -> str:
    """Return the name of a block; all those of an object must be of one length, also of different attempts."""
    return f"{token}-{number:06d}"


def _facts_of(found: Any) -> Facts:
    md5 = found.content_settings.content_md5
    tag = str(found.etag).strip('"')  # listings leave the quotes out
    return Facts(int(found.size), f'"{tag}"', None if md5 is None else bytes(md5))


def _blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    while True:
        with _explained():
            block = next(chunks, b"")
        if not block:
            return
        yield block


@contextmanager
def _explained() -> Iterator[None]:
    """Turn Azure's errors into ours."""
    from azure.core import exceptions

    try:
        yield
    except exceptions.ResourceExistsError as failure:
        raise Taken(_reason(failure)) from failure
    except exceptions.ClientAuthenticationError as failure:
        raise Refused(_reason(failure)) from failure
    except exceptions.HttpResponseError as failure:
        code = getattr(failure, "error_code", None)
        if code == "InvalidBlockList":
            raise Lost(_reason(failure)) from failure
        if code == "InvalidBlobOrBlock":  # the names of all blocks of a blob must be of one length
            raise Refused(f"{_reason(failure).removesuffix('.')}: {_BLOCKS_IN_THE_WAY}") from failure
        if code == "Md5Mismatch":  # bytes changed on the way
            raise Passing(_reason(failure)) from failure
        raise trouble_of(failure.status_code or 500, _reason(failure)) from failure
    except (exceptions.AzureError, OSError) as failure:
        raise Passing(cause_of(failure)) from None  # also in a traceback there would be the token
    except ValueError as failure:  # a connection string, or a key, that is none
        raise Refused(_reason(failure)) from failure


def _reason(failure: Exception) -> str:
    """Return the code and the first line of a message: the rest are the request's number and time."""
    code = getattr(failure, "error_code", None)
    said = (str(failure).splitlines() or ["no reason given"])[0]
    if said.startswith("DefaultAzureCredential failed"):
        # It has tried everything that could be on a machine; of all its reasons, one is that of a login that is set up.
        found = _OF_LOGIN.search(str(failure))
        return f"signing in failed: {found[0]}" if found else f"there are no credentials: {_REMEDY}"
    return f"{getattr(code, 'value', code)}: {said}" if code else said
