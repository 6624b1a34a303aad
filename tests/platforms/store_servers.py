"""Object stores on this machine, with what tests ask them besides the program: what is there, and what is left open."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import suppress
from functools import cached_property
from pathlib import Path

AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Published: the same in every emulator."""

BUCKET = "bucket"


class Server:
    """A server that can be killed and started again on the same data."""

    scheme: str

    def __init__(self, servers: Path, folder: Path) -> None:
        self.servers, self.folder = servers, folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env={**os.environ, "TMPDIR": str(self.folder)},  # that of a test is looked at for what was left there
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 60
        while not self.is_ready():
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.1)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def address(self, key: str) -> str:
        return f"{self.scheme}://{BUCKET}/{key}"

    def settle(self) -> None:
        """Wait until what was put there would survive a kill."""

    def open_uploads(self) -> list[str]:
        """Google and Azure remove them by themselves, and do not list them."""
        return []


class SeaweedFS(Server):
    scheme = "s3"
    identities = (
        ("admin", "testkey", "testsecret", ["Admin", "Read", "Write", "List"]),
        ("reader", "readkey", "readsecret", ["Read", "List"]),
    )

    def environment(self, key: str = "testkey", secret: str = "testsecret") -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_ENDPOINT_URL_S3": self.url}

    def command(self) -> list[str]:
        allowed = [
            {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
            for name, key, secret, actions in self.identities
        ]
        (self.folder / "s3.json").write_text(json.dumps({"identities": allowed}))
        (self.folder / "data").mkdir(exist_ok=True)
        if not hasattr(self, "_ports"):
            self._ports = {name: free_port() for name in ("master", "volume", "filer")}
        ports = [
            f"-{name}.port{grpc}={port + 10_000 * bool(grpc)}"
            for name, port in self._ports.items()
            for grpc in ("", ".grpc")
        ]
        return [
            *(str(self.servers / "weed"), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-dir=data", *ports),
            *("-filer", "-s3", f"-s3.port={self.port}", f"-s3.port.grpc={self.port + 10_000}", "-s3.config=s3.json"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=256", "-volume.max=20"),
            *("-master.electionTimeout=1s", "-master.heartbeatInterval=100ms", "-master.telemetry=false"),
            "-master.resumeState=false",
        ]

    @cached_property
    def client(self):
        import botocore.session
        from botocore.config import Config

        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id="testkey",
            aws_secret_access_key="testsecret",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def is_ready(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        if not super().is_ready():
            return False
        try:  # its parts find each other only after it listens
            client = self.client
            if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
            return client.get_object(Bucket=BUCKET, Key="ready")["Body"].read() == b"yes"
        except (BotoCoreError, ClientError):
            return False

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def keys(self, prefix: str) -> list[str]:
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [each["Key"] for each in found.get("Contents", ())]

    def tags(self, prefix: str) -> dict[str, tuple[str, object]]:
        """Return the tag and the time of each object."""
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return {each["Key"]: (each["ETag"], each["LastModified"]) for each in found.get("Contents", ())}

    def open_uploads(self) -> list[str]:
        return [each["Key"] for each in self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]


class FakeGCS(Server):
    scheme = "gs"

    def environment(self) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.url}

    def command(self) -> list[str]:
        (self.folder / "data").mkdir(exist_ok=True)
        return [
            *(str(self.servers / "fake-gcs-server"), "-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port)),
            *("-public-host", f"127.0.0.1:{self.port}", "-external-url", self.url),
            *("-backend", "filesystem", "-filesystem-root", str(self.folder / "data")),
        ]

    def start(self) -> None:
        # It keeps what is known of an object in an attribute, written last: killed before, it would list nothing more.
        for path in (self.folder / "data").rglob("*"):
            if path.is_file() and "user.metadata" not in os.listxattr(path):
                path.unlink()
        super().start()
        if not (self.folder / "data" / BUCKET).exists():
            request = urllib.request.Request(
                f"{self.url}/storage/v1/b?project=p",
                data=json.dumps({"name": BUCKET}).encode(),
                headers={"Content-Type": "application/json"},
            )
            urllib.request.urlopen(request, timeout=10).close()

    @cached_property
    def bucket(self):
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        client = storage.Client(
            project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.url}
        )
        return client.bucket(BUCKET)

    def put(self, key: str, data: bytes) -> None:
        self.bucket.blob(key).upload_from_string(data)

    def get(self, key: str) -> bytes:
        return self.bucket.blob(key).download_as_bytes()

    def keys(self, prefix: str) -> list[str]:
        from google.api_core.exceptions import NotFound
        from google.api_core.retry import Retry, if_exception_type

        # The emulator answers so if a file disappears while it walks through its folder.
        again = Retry(if_exception_type(NotFound), timeout=10)
        return [blob.name for blob in self.bucket.list_blobs(prefix=prefix, retry=again)]


class Azurite(Server):
    scheme = "az"

    def environment(self) -> dict[str, str]:
        return {
            "AZURE_STORAGE_CONNECTION_STRING": (
                f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURITE_KEY};"
                f"BlobEndpoint={self.url}/devstoreaccount1;"
            )
        }

    def command(self) -> list[str]:
        return [
            *("node", str(self.servers / "node_modules/azurite/dist/src/blob/main.js"), "--blobHost", "127.0.0.1"),
            *("--blobPort", str(self.port), "--location", str(self.folder), "--silent", "--skipApiVersionCheck"),
            "--disableTelemetry",
        ]

    @cached_property
    def container(self):
        from azure.storage.blob import BlobServiceClient

        connection = self.environment()["AZURE_STORAGE_CONNECTION_STRING"]
        return BlobServiceClient.from_connection_string(connection).get_container_client(BUCKET)

    def start(self) -> None:
        super().start()
        if not self.container.exists():
            self.container.create_container()
            self.settle()

    def settle(self) -> None:
        """Wait for the next time that it saves what it knows, which it does every five seconds."""
        self.put("settled", b"")
        kept, now = self.folder / "__azurite_db_blob__.json", time.time()
        while kept.stat().st_mtime < now:
            assert time.time() - now < 20
            time.sleep(0.1)

    def put(self, key: str, data: bytes) -> None:
        self.container.upload_blob(key, data, overwrite=True)

    def get(self, key: str) -> bytes:
        return self.container.download_blob(key).readall()

    def keys(self, prefix: str) -> list[str]:
        return [blob.name for blob in self.container.list_blobs(name_starts_with=prefix)]


class SlowLine:
    """A way to a server on which only so many bytes get through to it in a second, and none after ``stall``."""

    def __init__(self, port: int, bytes_per_second: float) -> None:
        self.sent = 0
        self._to, self._speed = port, bytes_per_second
        self._going = threading.Event()
        self._going.set()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        self._going.clear()

    def close(self) -> None:
        self._going.set()
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._socket.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, target, source is near), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, slow: bool) -> None:
        with suppress(OSError), source, target:
            while block := source.recv(2**16):
                if slow:
                    time.sleep(len(block) / self._speed)
                    self._going.wait()
                    self.sent += len(block)
                target.sendall(block)
            target.shutdown(socket.SHUT_RDWR)


def free_port() -> int:
    """Return a port that is free, as is the one 10,000 above: SeaweedFS takes both."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1] % 20_000 + 20_000
            try:
                second.bind(("127.0.0.1", port + 10_000))
                with socket.socket() as third:
                    third.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
