"""Addresses, what is shown of them, and files on a web server of this process; object stores: tests/platforms."""

import hashlib
import io
import os
import re
import socket
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import sccr_node
from sccr_node.errors import InputMissing, NotEnoughResources, UsageProblem
from sccr_node.runtime.standins import as_shown, stand_for
from sccr_node.storage.places import is_remote, place
from sccr_node.storage.places.address import Address
from sccr_node.storage.places.bucket import Absent, Bucket, Facts, Lost, Passing, Refused, Sending, Taken
from sccr_node.storage.places.http import WebHost
from sccr_node.storage.places.transfer import CLAIM, Place, bucket_of
from sccr_node.storage.places.window import BLOCK, Window
from sccr_node.storage.targets import StoreTarget
from tests.support.simulated import simulated


class Files(BaseHTTPRequestHandler):
    """Serves files from memory with ETags and ranges; breaks off, or fails, as often as it is told to."""

    files: dict[str, bytes] = {}
    failures: list[str] = []
    has_ranges = True
    tag = "ETag"
    asked: list[tuple[int, int]] = []

    def do_GET(self):
        data = self.files.get(self.path, self.files.get(self.path.partition("?")[0]))
        failure = self.failures.pop() if self.failures else ""
        if failure.isdigit() or data is None:
            self.send_error(int(failure or 404))
            return
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if self.has_ranges else None
        start = int(asked[1]) if asked else 0
        stop = min(int(asked[2]) + 1, len(data)) if asked and asked[2] else len(data)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
            self.asked.append((start, stop))
        self.send_header("Content-Length", str(stop - start))
        if self.tag:
            self.send_header(self.tag, f'"{hashlib.sha256(data).hexdigest()}"')
        self.end_headers()
        end = (start + stop) // 2 if failure == "break off" else stop
        try:
            self.wfile.write(data[start:end])
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def web(monkeypatch, tmp_path):
    """The address of a server, whose files and failures are those of ``Files``."""
    monkeypatch.setattr(Files, "files", {})
    monkeypatch.setattr(Files, "failures", [])
    monkeypatch.setattr(Files, "asked", [])
    monkeypatch.setattr("sccr_node.storage.places.transfer.WAITS", (0.01,) * 4)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["s3://a/b", "gs://a/b", "az://a/b", "https://a/b", "http://a/b"])
def test_remote_addresses(path):
    assert is_remote(path)


@pytest.mark.parametrize("path", ["a.h5ad", "/a/b", "s3:/a/b", "ftp://a/b", "./s3://a", "C:\\a"])
def test_local_paths(path):
    assert not is_remote(path)


@pytest.mark.parametrize(
    "text",
    [
        *("s3://bucket", "s3://bucket/", "s3:///key", "s3://bucket/../key", "s3://bucket/a//b", "s3://bucket/a\nb"),
        *("http://example.org/a.h5ad", "https://user:secret@example.org/a", "az://container/a?sig=secret"),
    ],
)
def test_addresses_that_are_refused(text):
    with pytest.raises(UsageProblem) as refusal:
        Address.of(text)
    assert "secret" not in str(refusal.value)


def test_an_address_is_shown_without_its_query():
    assert str(Address.of("https://example.org/a.h5ad?sig=secret")) == "https://example.org/a.h5ad"
    assert "secret" not in repr(Address.of("https://example.org/a.h5ad?sig=secret"))


def test_what_is_shown_of_a_stand_in():
    stand_for(Path("/scratch/x/s3/bucket"), "s3://bucket")
    assert as_shown("cannot read /scratch/x/s3/bucket/a/b.h5ad: no") == "cannot read s3://bucket/a/b.h5ad: no"
    assert as_shown("GET https://me:pw@h/a?sig=1 failed") == "GET https://h/a failed"


def test_a_file_is_fetched_although_the_connection_breaks_off(web, tmp_path):
    data = os.urandom(3 * 2**20)
    Files.files["/a.h5ad"] = data
    Files.failures += ["break off", "503", ""]  # the first is for the size
    place(f"{web}/a.h5ad?sig=secret").fetch(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == data


def test_a_file_that_changes_is_fetched_again(web, tmp_path):
    Files.files["/a"] = os.urandom(2**21)

    def change(fraction):
        if fraction == 1.0 and Files.files["/a"] != b"new":
            Files.files["/a"] = b"new"

    place(f"{web}/a").fetch(tmp_path / "a", change)
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("tag", ["ETag", "Last-Modified", ""])
def test_a_download_that_is_broken_off_is_never_a_mixture(web, tmp_path, monkeypatch, tag):
    """Although the new file is as large as the old one, and the server may not say that it is another."""
    monkeypatch.setattr(Files, "tag", tag)
    old, new = os.urandom(2**22), os.urandom(2**22)
    Files.files["/a"] = old
    Files.failures += ["break off", ""]  # the first is for the size

    def change(fraction):
        Files.files["/a"] = new

    place(f"{web}/a").fetch(tmp_path / "a", change)
    assert (tmp_path / "a").read_bytes() == new
    assert all(start == 0 for start, _ in Files.asked) or tag


@pytest.mark.parametrize("tag", ["ETag", "Last-Modified", ""])
def test_a_finished_row_is_skipped_only_if_the_input_is_the_same(web, counts_file, tmp_path, sccr, monkeypatch, tag):
    monkeypatch.setattr(Files, "tag", tag)
    counts = counts_file.read_bytes()
    Files.files["/in.h5ad"] = counts
    manifest = tmp_path / "rows.csv"
    manifest.write_text(f"input,output\n{web}/in.h5ad,{tmp_path}/out.h5ad\n")
    batch = ["batch", "--manifest", manifest, "--threads", 1]
    code, _, err = sccr(*batch)
    assert code == 0 and "1 imputed" in err
    written = (tmp_path / "out.h5ad").stat().st_mtime_ns
    code, _, err = sccr(*batch)
    assert code == 0 and "1 skipped" in err
    Files.files["/in.h5ad"] = counts[:-1] + bytes([counts[-1] ^ 1])  # of the same size
    code, _, err = sccr(*batch)
    assert code == 73 and "other data in the input" in err
    assert (tmp_path / "out.h5ad").stat().st_mtime_ns == written


def test_a_file_without_a_tag_is_checked_whole(web, large, tmp_path, sccr, monkeypatch):
    """Its parts could be those of two versions."""
    monkeypatch.setattr(Files, "tag", "")
    Files.files["/large.h5ad"] = large.read_bytes()
    manifest = tmp_path / "samples.csv"
    manifest.write_text(f"input,output\n{web}/large.h5ad,{tmp_path / 'out.h5ad'}\n")
    code, _, err = sccr("batch", "--manifest", manifest, "--check", "--threads", 1)
    assert code == 0 and "400 cells × 300 genes; values were not scanned" in err
    assert Files.asked == []


@pytest.mark.parametrize(
    ("failure", "problem", "words"),
    [
        ("404", InputMissing, "no such object"),
        ("403", InputMissing, "403"),
        ("500", NotEnoughResources, "try again later"),
    ],
)
def test_failures_of_a_server(web, tmp_path, failure, problem, words):
    Files.failures += [failure] * 10
    with pytest.raises(problem, match=words):
        place(f"{web}/a").fetch(tmp_path / "a")


def test_a_run_on_a_signed_url(web, counts_file, tmp_path, sccr):
    Files.files["/in/counts.h5ad"] = counts_file.read_bytes()
    Files.files["/genes.txt"] = b"gene0\ngene1\n"
    source, output = f"{web}/in/counts.h5ad?sig=secret", tmp_path / "out.h5ad"
    code, out, err = sccr("impute", source, output, "--provenance", tmp_path / "r.json", "--threads", 1)
    assert code == 0, err
    record = (tmp_path / "r.json").read_text()
    assert f"{web}/in/counts.h5ad" in record
    for text in (out, err, record):
        assert "secret" not in text and "sccr-remote" not in text
    assert not list((tmp_path / "scratch").iterdir())


def test_files_that_differ_in_the_query_are_not_one(web, counts_file, tmp_path, sccr):
    masked, imputed = tmp_path / "masked.h5ad", tmp_path / "imputed.h5ad"
    assert sccr("evaluate", "mask", counts_file, masked, "--quiet")[0] == 0
    assert sccr("impute", counts_file, imputed, "--quiet", "--threads", 1)[0] == 0
    Files.files["/download?file=train.h5ad&sig=secret"] = masked.read_bytes()
    Files.files["/download?file=cand.h5ad&sig=secret"] = imputed.read_bytes()
    urls = [f"{web}/download?file={name}.h5ad&sig=secret" for name in ("train", "cand")]
    # Neither file could be both: one has no such layer, the other no masked entries.
    _, local, _ = sccr("evaluate", "score", masked, imputed, "--layer", "sccr")
    code, out, err = sccr("evaluate", "score", *urls, "--layer", "sccr")
    assert (code, out.replace(f"{web}/download", str(imputed))) == (0, local), err
    assert "secret" not in out + err
    # Nor are they one where only headers are read, nor with the manifest.
    rows = [f"{urls[0]},{tmp_path}/a.h5ad,", f"{web}/download?file=counts.h5ad,{tmp_path}/b.h5ad,other"]
    Files.files["/download?file=counts.h5ad"] = counts_file.read_bytes()
    Files.files["/download?file=rows.csv"] = "\n".join(["input,output,key_added", *rows]).encode()
    code, _, err = sccr("batch", "--manifest", f"{web}/download?file=rows.csv", "--check", "--threads", 1)
    assert code == 0 and "2 can be imputed" in err, err
    assert "secret" not in err


def test_a_finished_row_is_another_if_its_query_is(web, counts_file, tmp_path, sccr):
    Files.files["/download"] = counts_file.read_bytes()
    manifest, record = tmp_path / "rows.csv", tmp_path / "out.h5ad.record.json"

    def batch(query):
        manifest.write_text(f"input,output\n{web}/download?{query},{tmp_path}/out.h5ad\n")
        return sccr("batch", "--manifest", manifest, "--threads", 1)

    assert batch("file=a.h5ad&X-Amz-Signature=first&X-Amz-Date=1")[0] == 0
    assert not any(word in record.read_text() for word in ("first", "X-Amz", "file=a"))
    # Signed anew it is the same file.
    code, _, err = batch("X-Amz-Date=2&X-Amz-Signature=other&file=a.h5ad")
    assert code == 0 and "1 skipped" in err
    code, _, err = batch("file=b.h5ad&X-Amz-Signature=first&X-Amz-Date=1")
    assert code == 73 and "other data in the input" in err


SIGNED = {
    "S3": "X-Amz-Algorithm=AWS4&X-Amz-Credential=k%2F1&X-Amz-Date=1&X-Amz-Expires=9&X-Amz-Signature=f",
    "S3, version 2": "AWSAccessKeyId=k&Expires=1&Signature=s%3D",
    "CloudFront": "Expires=1&Signature=s&Key-Pair-Id=k",
    "CloudFront, with a policy": "Policy=p&Signature=s&Key-Pair-Id=k",
    "Google": "X-Goog-Algorithm=a&X-Goog-Credential=c&X-Goog-Date=d&X-Goog-Expires=e&X-Goog-Signature=s",
    "Google, version 2": "GoogleAccessId=g&Expires=1&Signature=s",
    "Azure": "sv=2024-11-04&ss=b&srt=o&st=1&se=2&sr=b&sp=r&sip=i&spr=https&sig=s%2B",
    "Azure, by a user": "skoid=1&sktid=2&skt=3&ske=4&sks=b&skv=5&sv=6&sr=b&sp=r&se=7&sig=s",
    "S3, for a role": "X-Amz-Security-Token=t&X-Amz-Signature=s",
    "Swift": "temp_url_sig=s&temp_url_expires=1",
    "a token": "access_token=t",
    "a key": "api_key=t",
}


@pytest.mark.parametrize("signature", SIGNED.values(), ids=SIGNED)
def test_a_signature_does_not_tell_files_apart(signature):
    def told(query):
        return Address.of(f"https://host/a?{query}").digest_of_query(lasting=True)

    assert told(signature) == ""
    assert told(f"versionId=1&{signature}") == told(f"{signature}&versionId=1") == told("versionId=1")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("file=a", "file=b"),
        ("a", "b"),
        ("file=%ff", "file=%fe"),
        ("a=1&b=2", "a=2&b=1"),
        ("x=1&x=2", "x=2&x=1"),
        ("sp=mouse", "sp=human"),
        ("sr=1", ""),
        ("file=a%26b=1", "file=a&b=1"),
    ],
)
def test_the_rest_of_a_query_does(first, second):
    digests = [Address.of(f"https://host/a?{query}").digest_of_query(lasting=True) for query in (first, second)]
    assert digests[0] != digests[1]


def test_a_batch_makes_one_client_for_each_place(web, counts_file, tmp_path, sccr, monkeypatch):
    """Each looks for credentials anew, which takes about a second where a provider is asked for them."""
    made = []
    monkeypatch.setattr(WebHost, "__init__", counting(made, WebHost.__init__))
    Files.files["/counts.h5ad"] = counts_file.read_bytes()
    rows = [f"{web}/counts.h5ad,{tmp_path}/{n}.h5ad" for n in range(3)]
    manifest = tmp_path / "rows.csv"
    manifest.write_text("\n".join(["input,output", *rows]) + "\n")
    for finished in (False, True):
        made.clear()
        code, _, err = sccr("batch", "--manifest", manifest, "--threads", 1)
        assert code == 0 and err.count("skipped:") == 3 * finished, err
        assert made == [web]
    made.clear()
    for _ in range(2):
        place(f"{web}/counts.h5ad").size()
    assert made == [web, web]


def counting(made, make):
    def init(self, root):
        made.append(root)
        make(self, root)

    return init


def test_what_cannot_be_written(web, counts_file, tmp_path, sccr):
    code, _, err = sccr("impute", counts_file, f"{web}/out.h5ad")
    assert code == 2 and "can only be read" in err
    code, _, err = sccr("impute", f"{web}/none.h5ad?sig=secret", tmp_path / "o.h5ad")
    assert code == 66 and f"cannot read {web}/none.h5ad: there is no such object" in err
    assert not (tmp_path / "o.h5ad").exists()


@pytest.fixture
def large(tmp_path):
    """A file whose values are many times as large as its headers: counts as real ones, and a large layer."""
    adata = simulated(n_cells=400, n_genes=300, n_types=3, n_batches=2)
    adata.layers["noise"] = np.random.default_rng(0).random((400, 300)).astype(np.float32)
    adata.obsm["noise"] = np.random.default_rng(0).random((400, 20_000)).astype(np.float32)
    adata.write_h5ad(tmp_path / "large.h5ad")
    return tmp_path / "large.h5ad"


def test_a_check_of_a_remote_file_reads_its_headers_alone(web, large, tmp_path, sccr):
    Files.files["/large.h5ad"] = large.read_bytes()
    manifest = tmp_path / "samples.csv"
    output = tmp_path / "out.h5ad"
    manifest.write_text(f"input,output,batch_key\n{web}/large.h5ad?sig=secret,{output},batch\n")
    code, _, err = sccr("batch", "--manifest", manifest, "--check", "--threads", 1)
    assert code == 0, err
    assert f"X of {web}/large.h5ad: 400 cells × 300 genes; values were not scanned" in err
    assert "estimate: " in err and "secret" not in err
    near = tmp_path / "near.csv"
    near.write_text(f"input,output,batch_key\n{large},{output},batch\n")
    _, _, local = sccr("batch", "--manifest", near, "--check", "--threads", 1)
    assert estimate_in(local) == estimate_in(err)  # as if it were on this machine
    assert sum(stop - start for start, stop in Files.asked) < large.stat().st_size / 10
    assert not output.exists() and not list((tmp_path / "scratch").iterdir())


def estimate_in(said):
    return re.search(r"estimate: .* on", said)[0]


def test_a_check_finds_what_headers_tell(web, large, tmp_path, sccr):
    Files.files["/large.h5ad"] = large.read_bytes()
    Files.files["/cut.h5ad"] = large.read_bytes()[: large.stat().st_size // 2]
    Files.files["/text.h5ad"] = b"not a matrix\n" * 30_000
    manifest = tmp_path / "samples.csv"
    rows = ["large.h5ad,a.h5ad,sample,", "cut.h5ad,b.h5ad,,", "text.h5ad,c.h5ad,,", "large.h5ad,d.h5ad,,none"]
    lines = [f"{web}/{row.replace(',', f',{tmp_path}/', 1)}" for row in rows]
    manifest.write_text("\n".join(["input,output,batch_key,layer", *lines, ""]))
    code, _, err = sccr("batch", "--manifest", manifest, "--check", "--threads", 1)
    assert code == 65
    assert f"obs of {web}/large.h5ad has no column 'sample'" in err
    assert f"cannot read the contents of {web}/cut.h5ad: damaged or incomplete" in err
    assert f"{web}/text.h5ad is " in err
    assert "has no layer 'none'; its layers: 'complete_counts', 'expected_counts', 'noise'" in err
    assert "1 can" not in err and "4 failed" in err


def test_a_check_of_a_file_whose_server_breaks_off(web, large, tmp_path, sccr):
    Files.files["/large.h5ad"] = large.read_bytes()
    manifest = tmp_path / "samples.csv"
    manifest.write_text(f"input,output\n{web}/large.h5ad,{tmp_path / 'out.h5ad'}\n")
    Files.failures += ["503", "", "break off", "", "503", ""]
    assert sccr("batch", "--manifest", manifest, "--check", "--threads", 1)[0] == 0
    Files.failures += [*["503"] * 20, "", "", ""]  # from the fourth answer on: the file is open by then
    code, _, err = sccr("batch", "--manifest", manifest, "--check", "--threads", 1)
    assert code == 75
    assert f"cannot read {web}/large.h5ad: 503" in err
    assert not list((tmp_path / "scratch").iterdir())


def test_a_file_whose_server_sends_no_parts_is_fetched_to_be_checked(web, large, tmp_path, sccr, monkeypatch):
    monkeypatch.setattr(Files, "has_ranges", False)
    Files.files["/large.h5ad"] = large.read_bytes()
    manifest = tmp_path / "samples.csv"
    manifest.write_text(f"input,output\n{web}/large.h5ad,{tmp_path / 'out.h5ad'}\n")
    code, _, err = sccr("batch", "--manifest", manifest, "--check", "--threads", 1)
    assert code == 0 and "400 cells × 300 genes; values were not scanned" in err


def test_an_empty_remote_file_is_called_what_it_is(web, tmp_path, sccr):
    Files.files["/empty.h5ad"] = b""
    manifest = tmp_path / "samples.csv"
    manifest.write_text(f"input,output\n{web}/empty.h5ad,{tmp_path / 'out.h5ad'}\n")
    code, _, err = sccr("batch", "--manifest", manifest, "--check", "--threads", 1)
    (tmp_path / "empty.h5ad").touch()
    manifest.write_text(f"input,output\n{tmp_path / 'empty.h5ad'},{tmp_path / 'out.h5ad'}\n")
    local, _, said = sccr("batch", "--manifest", manifest, "--check", "--threads", 1)
    assert (code, err.splitlines()[0].replace(web, str(tmp_path))) == (local, said.splitlines()[0])
    assert code == 65


def test_a_window_gives_what_the_file_has(tmp_path):
    data = np.random.default_rng(0).bytes(5 * BLOCK + 17)
    asked: list[tuple[int, int]] = []

    def fetch(start, end):
        asked.append((start, end))
        return data[start:end]

    with Window(fetch, len(data), tmp_path / "kept") as window:
        random = np.random.default_rng(1)
        for _ in range(200):
            start, count = int(random.integers(len(data) + 10)), int(random.integers(2 * BLOCK))
            window.seek(start)
            assert window.read(count) == data[start : start + count]
        assert window.seek(-3, os.SEEK_END) == len(data) - 3
        assert window.read() == data[-3:] and window.read(1) == b""
        assert window.fetched == len(data)
    fetched = sorted(asked)
    assert all(end == start for (_, end), (start, _) in pairwise(fetched)), "a block was fetched twice"


def test_a_window_reads_ahead_and_keeps_what_fetching_failed_with(tmp_path):
    asked: list[tuple[int, int]] = []

    def fetch(start, end):
        asked.append((start, end))
        if end > 64 * BLOCK:
            raise NotEnoughResources("gone")
        return bytes(end - start)

    with Window(fetch, 128 * BLOCK, tmp_path / "kept") as window:
        for _ in range(32 * 4):
            window.read(BLOCK // 4)
        assert len(asked) <= 6  # 32 blocks, each time twice as many at once
        with pytest.raises(OSError, match="fetching failed"):
            window.read(64 * BLOCK)
        assert isinstance(window.failure, NotEnoughResources)
        window.seek(0)
        with pytest.raises(OSError, match="fetching failed"):  # a library would go on with what it has
            window.read(1)


class Dead(Exception):
    """Nothing that a store could say: the process is gone."""


class Memory(Bucket):
    """A bucket in memory, whose client dies after so many requests that change something."""

    def __init__(self, objects, changes_left=10**6):
        self.objects, self.changes_left = dict(objects), changes_left
        self.lost = 0
        self.uploads: list[str] = []

    def changed(self):
        self.changes_left -= 1
        if self.changes_left < 0:
            raise Dead

    def facts(self, key):
        if key not in self.objects:
            raise Absent("there is no such object")
        return Facts(len(self.objects[key]), hashlib.sha256(self.objects[key]).hexdigest())

    @contextmanager
    def read(self, key, facts, start):
        yield iter([self.objects[key][start:]])

    def listing(self, prefix):
        return iter([(key, self.facts(key)) for key in sorted(self.objects) if key.startswith(prefix)])

    def begin(self, key, *, replace):
        return MemorySending(self, key, replace)

    def delete(self, key):
        self.changed()
        self.objects.pop(key, None)

    def prepare(self, key):
        pass

    def abort(self, prefix):
        self.changed()
        self.uploads = [key for key in self.uploads if not key.startswith(prefix)]


class MemorySending(Sending):
    def __init__(self, bucket, key, replace):
        super().__init__()
        self.bucket, self.key, self.replace, self.parts = bucket, key, replace, {}

    def send(self, number, part, *, last):
        if number and self.bucket.lost:
            self.bucket.lost -= 1
            raise Lost("never heard of it")
        if not last and not self.parts:
            self.bucket.changed()
            self.bucket.uploads.append(self.key)
        self.parts[number] = part

    def finish(self):
        self.bucket.changed()
        if not self.replace and self.key in self.bucket.objects:
            raise Taken("it exists")
        self.bucket.objects[self.key] = b"".join(part for _, part in sorted(self.parts.items()))
        self.end_upload()

    def arrived(self):
        return self.bucket.objects.get(self.key) == b"".join(self.parts.values())

    def abandon(self):
        if self.bucket.changes_left >= 0:  # or the process is gone
            self.parts.clear()
            self.end_upload()

    def end_upload(self):
        if self.key in self.bucket.uploads:
            self.bucket.uploads.remove(self.key)


def test_a_file_of_which_the_store_lost_parts_is_sent_again(tmp_path, monkeypatch):
    monkeypatch.setattr("sccr_node.storage.places.transfer.WAITS", (0.01,) * 4)
    monkeypatch.setattr("sccr_node.storage.places.transfer.PART_BYTES", 10)
    (tmp_path / "a").write_bytes(os.urandom(35))
    bucket = Memory({})
    bucket.lost = 3
    Place(Address.of("s3://bucket/a"), bucket).publish(tmp_path / "a", force=False)
    assert bucket.objects == {"a": (tmp_path / "a").read_bytes()}
    bucket.lost = 100
    with pytest.raises(NotEnoughResources, match="cannot write s3://bucket/b: the store lost .* try again later"):
        Place(Address.of("s3://bucket/b"), bucket).publish(tmp_path / "a", force=False)
    assert "b" not in bucket.objects


class Flipping(Memory):
    """Keeps MD5s, which listings may not tell; of what is read, a byte is another one, as often as it is told to be."""

    flips = 0
    listed = True

    def facts(self, key):
        found = super().facts(key)
        return Facts(found.size, found.tag, hashlib.md5(self.objects[key]).digest())

    def listing(self, prefix):
        for key, facts in list(super().listing(prefix)):
            yield key, facts if self.listed else Facts(facts.size, facts.tag)

    @contextmanager
    def read(self, key, facts, start):
        content = bytearray(self.objects[key][start:])
        if self.flips:
            self.flips -= 1
            content[len(content) // 2] ^= 1
        yield iter([bytes(content)])


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("key", ["a", "a/b"])
def test_bytes_that_changed_on_the_way_are_fetched_again(key, listed, tmp_path, monkeypatch):
    monkeypatch.setattr("sccr_node.storage.places.transfer.WAITS", (0.01,) * 4)
    bucket = Flipping({key: os.urandom(1000)})
    bucket.flips, bucket.listed = 2, listed
    there = Place(Address.of("gs://bucket/a"), bucket)
    there.fetch(tmp_path / "a")
    assert (tmp_path / key).read_bytes() == bucket.objects[key]
    bucket.flips = 100
    with pytest.raises(NotEnoughResources, match="cannot read gs://bucket/a: its checksum is not the one that"):
        there.fetch(tmp_path / "a")


MD5 = '"0123456789abcdef0123456789abcdef"'


@pytest.mark.parametrize(
    ("bucket", "found", "is_md5"),
    [
        ("bucket", {"ETag": MD5}, True),
        ("bucket", {"ETag": MD5, "ServerSideEncryption": "AES256"}, True),
        ("bucket", {"ETag": MD5[:-1] + '-3"'}, False),
        ("bucket", {"ETag": '"of-another-kind"'}, False),
        ("bucket", {"ETag": MD5, "ServerSideEncryption": "aws:kms"}, False),
        ("bucket", {"ETag": MD5, "ServerSideEncryption": "aws:kms:dsse"}, False),
        ("bucket", {"ETag": MD5, "SSECustomerAlgorithm": "AES256"}, False),
        ("bucket--use1-az4--x-s3", {"ETag": MD5}, False),
        ("point--use1-az4--xa-s3", {"ETag": MD5}, False),
    ],
)
def test_which_tags_of_s3_are_checksums(bucket, found, is_md5, hangs_up, monkeypatch):
    there = bucket_of(Address.of(f"s3://{bucket}/a"))
    monkeypatch.setattr(there._client, "head_object", lambda **_: {"ContentLength": 1, **found})
    assert there.facts("a").md5 == (bytes.fromhex(MD5[1:-1]) if is_md5 else None)


def test_few_large_objects_are_under_way_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("sccr_node.storage.places.transfer.LARGE_OBJECT", 10)
    objects = {f"a/{number}": bytes(10 + number % 2) for number in range(20)}
    bucket, under_way, most = Memory(objects), [], {10: 0, 11: 0}
    reader = bucket.read

    @contextmanager
    def read(key, *where):
        size = len(objects[key])
        under_way.append(size)
        most[size] = max(most[size], under_way.count(size))
        time.sleep(0.05)
        with reader(key, *where) as blocks:
            yield blocks
        under_way.remove(size)

    monkeypatch.setattr(bucket, "read", read)
    shown: list[float] = []
    Place(Address.of("s3://bucket/a"), bucket).fetch(tmp_path / "a", shown.append)
    assert len(list((tmp_path / "a").iterdir())) == 20
    assert most == {10: 8, 11: 2}
    assert shown == sorted(shown) and len(shown) == 20 and shown[-1] == 1.0


def v2_store(data):
    return {**dict.fromkeys([".zattrs", ".zgroup", ".zmetadata", "X/.zarray", "X/0.0"], data), "X/0.1": data * 50}


def v3_store(data):
    return {"zarr.json": b'{"node_type": "group"}' + data, "X/zarr.json": b'{"node_type": "array"}', "X/c/0": data}


@pytest.mark.parametrize("former", [{}, v2_store(b"1"), v3_store(b" ")], ids=["nothing", "v2", "v3"])
@pytest.mark.parametrize("new", [v2_store(b"2"), v3_store(b"\n")], ids=["v2", "v3"])
def test_a_folder_is_whole_or_no_store_whenever_the_process_dies(former, new, tmp_path, monkeypatch):
    monkeypatch.setattr("sccr_node.storage.places.transfer.OBJECTS_AT_A_TIME", 1)
    monkeypatch.setattr("sccr_node.storage.places.transfer.PART_BYTES", 20)  # some objects are sent in parts
    for name, data in new.items():
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "new" / name).write_bytes(data)

    def inside(data):
        return {f"a.zarr/{name}": content for name, content in data.items()}

    around = {"a.zarr2/.zgroup": b"0", "a": b"0"}
    for changes in range(100):
        bucket = Memory(inside(former) | around, changes)
        bucket.uploads = ["a.zarr2/X/0.0"]  # of somebody else
        there = Place(Address.of("s3://bucket/a.zarr"), bucket)
        with suppress(Dead):
            there.publish(tmp_path / "new", force=True)
        found = {key.removeprefix("a.zarr/"): data for key, data in bucket.objects.items() if key not in around}
        claimed = found.pop(CLAIM, None) is not None
        if {".zgroup", "zarr.json"} & found.keys():
            assert found in (former, new)
            assert there.exists() and there.size() == sum(map(len, found.values()))
        else:
            assert claimed or not found
            assert not there.exists()
        done = bucket.changes_left >= 0
        # The next attempt is not kept from writing by what is left.
        bucket.changes_left = 10**6
        there.prepare(folder=True)
        there.outline(tmp_path / str(changes))
        if (tmp_path / str(changes)).exists():
            StoreTarget(tmp_path / str(changes)).check(force=True)
        there.publish(tmp_path / "new", force=True)
        assert bucket.objects == inside(new) | around
        assert bucket.uploads == ["a.zarr2/X/0.0"]
        if done:
            return
    raise AssertionError("it never ends")


def test_what_somebody_else_writes_to_a_folder_is_left_alone(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".zgroup").write_bytes(b"1")
    bucket = Memory({})
    there = Place(Address.of("s3://bucket/a.zarr"), bucket)
    with pytest.raises(NotEnoughResources, match="somebody else is writing to it"):
        with there.upload(tmp_path / "new", force=False) as sent:
            bucket.objects = {f"a.zarr/{CLAIM}": b"theirs", "a.zarr/X/0.0": b"theirs"}
            sent.commit()
    assert set(bucket.objects.values()) == {b"theirs"} and len(bucket.objects) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://[::1/a.h5ad", "not the name of a host"),
        ("https://ho[st]/a.h5ad", "not the name of a host"),
        ("https://ex℀ample/a.h5ad", "not the name of a host"),
        ("https://.x/a.h5ad", "not the name of a host"),
        ("https://exa mple/a.h5ad", "not the name of a host"),
        ("https://example.org:99999/a.h5ad", "its port is no port"),
        ("http://127.0.0.1:abc/a.h5ad", "its port is no port"),
        (f"gs://bucket/{'k' * 256}.h5ad", "longer than 255 bytes"),
        (f"s3://{'b' * 256}/a.h5ad", "longer than 255 bytes"),
    ],
)
def test_addresses_that_are_none_are_a_wrong_usage(text, words, counts_file, tmp_path, refused):
    refused(2, [words], "impute", text, tmp_path / "out.h5ad")
    manifest = tmp_path / "samples.csv"
    manifest.write_text(f'input,output\n{counts_file},{tmp_path / "a.h5ad"}\n"{text}",{tmp_path / "b.h5ad"}\n')
    refused(2, ["row 1 (b), column input", words], "batch", "--manifest", manifest, "--check")


class Odd(BaseHTTPRequestHandler):
    """Answers as no server should: with a status, and headers, of a test's choice."""

    status = 200
    answer: dict[str, str] = {}

    def do_GET(self):
        self.send_response(self.status)
        for name, value in self.answer.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"0" * 100)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (200, {"Content-Length": "\u00b2"}, "does not say how large it is"),
        (200, {"Content-Length": "9" * 5000}, "does not say how large it is"),
        (200, {}, "does not say how large it is"),
        (206, {"Content-Length": "100"}, "does not send the parts that it is asked for"),
        (206, {"Content-Range": "bytes 7-99/100"}, "does not send the parts that it is asked for"),
        (302, {"Location": "https://[::1/"}, "cannot read"),
    ],
)
def test_servers_that_answer_as_none_should(web, status, answer, words, tmp_path, sccr, monkeypatch):
    monkeypatch.setattr(Odd, "status", status)
    monkeypatch.setattr(Odd, "answer", answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        code, _, err = sccr("impute", f"http://127.0.0.1:{server.server_port}/a.h5ad", tmp_path / "out.h5ad", "--quiet")
        assert code == 66 and words in err and len(err.splitlines()) == 1
        assert not (tmp_path / "out.h5ad").exists() and not list((tmp_path / "scratch").iterdir())
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("where", ["", "/inside"])
@pytest.mark.parametrize("output", ["out.h5ad", "out.zarr"])
def test_checkpoints_are_not_kept_in_what_is_read_or_written(output, where, counts_file, tmp_path, refused):
    for taken in (tmp_path / output, counts_file):
        options = ["--checkpoint-dir", f"{taken}{where}"]
        refused(2, ["cannot keep checkpoints in", str(taken)], "impute", counts_file, tmp_path / output, *options)
        assert not (tmp_path / output).exists()
    rows = [f"{counts_file},{tmp_path / 'a.h5ad'},{tmp_path / output}{where}", f"{counts_file},{tmp_path / output},"]
    manifest = tmp_path / "samples.csv"
    manifest.write_text("\n".join(["input,output,checkpoint_dir", *rows, ""]))
    refused(2, ["row 0 (a): cannot keep checkpoints in", "row 1 (out)"], "batch", "--manifest", manifest, "--check")


@pytest.mark.parametrize("output", ["S3://bucket/o.h5ad", "file:///tmp/o.h5ad", "abfs://box/o.h5ad"])
def test_places_that_are_not_known_are_named(output, counts_file, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(73, ["only s3://, gs:// and az://"], "impute", counts_file, output)


def every_client_asks(monkeypatch, url):
    """Have the clients of all stores ask one server, Azure's with a token in every address."""
    for name, value in {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "STORAGE_EMULATOR_HOST": url,
        "AZURE_STORAGE_ACCOUNT": "account",
        "AZURE_STORAGE_ENDPOINT": f"{url}/account",
        "AZURE_STORAGE_SAS_TOKEN": "sv=2024-11-04&sig=secret",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)


@pytest.fixture
def hangs_up(monkeypatch):
    """A server that takes connections and closes them at once, for every client; yields how many it took."""
    server = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{server.getsockname()[1]}"
    every_client_asks(monkeypatch, f"http://{host}")
    taken = []

    def take():
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                taken.append(host)
                connection.close()

    threading.Thread(target=take, daemon=True).start()
    yield host, taken
    server.close()


def parts_of(bucket, *, last):
    sending = bucket.begin("a", replace=False)
    sending.send(0, b"0" * 2**20, last=last)
    sending.finish()


REQUESTS = {
    "facts": lambda bucket: bucket.facts("a"),
    "listing": lambda bucket: list(bucket.listing("")),
    "delete": lambda bucket: bucket.delete("a"),
    "prepare": lambda bucket: bucket.prepare("a"),
    "first part": lambda bucket: parts_of(bucket, last=False),
    "only part": lambda bucket: parts_of(bucket, last=True),
}


AT_ONCE = {"s3": 1, "gs": 2, "az": 1, "http": 1}
"""Google's library repeats a request whose connection broke off, once and without waiting."""


@pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_no_client_tries_again_by_itself(scheme, request_of, hangs_up):
    """Ours do, and answer signals meanwhile; a library's attempts would go on in each of them for minutes."""
    bucket = bucket_of(Address.of(f"{scheme}://bucket/a"))
    with pytest.raises(Passing):
        request_of(bucket)
    assert len(hangs_up[1]) <= AT_ONCE[scheme]


@pytest.mark.parametrize("scheme", ["s3", "gs", "az", "http"])
def test_no_client_reads_again_by_itself(scheme, hangs_up):
    host, taken = hangs_up
    bucket = bucket_of(Address.of(f"http://{host}/a" if scheme == "http" else f"{scheme}://bucket/a"))
    with pytest.raises(Passing), bucket.read("a", Facts(10, "1", None), 0) as blocks:
        list(blocks)
    assert len(taken) <= AT_ONCE[scheme]


class Going(BaseHTTPRequestHandler):
    """A store that accepts the beginning of an upload, whose number is a secret, and no more."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        number = b"<InitiateMultipartUploadResult><UploadId>secret</UploadId></InitiateMultipartUploadResult>"
        self.send_response(200)
        self.send_header("Location", f"http://{self.headers['Host']}/upload?upload_id=secret")
        self.send_header("Content-Length", str(len(number)))
        self.end_headers()
        self.wfile.write(number)

    def log_message(self, *_):
        pass


def never_answers():
    """Return a server that takes connections and never says a word, and its URL."""
    server = socket.create_server(("127.0.0.1", 0))
    return f"http://127.0.0.1:{server.getsockname()[1]}", server.close


def closed():
    """Return the URL of a server that is gone."""
    url, close = never_answers()
    close()
    return url, close


def untrusted():
    """Return a URL that is asked for by TLS, of a server that does not speak it."""
    url, close = going_away()
    return url.replace("http:", "https:"), close


def going_away():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Going)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def close():
        server.shutdown()
        server.server_close()

    return f"http://127.0.0.1:{server.server_port}", close


REASONS = {
    closed: "connection refused",
    never_answers: "it did not answer in time",
    untrusted: r"\[ssl.*|the connection ended early",  # of Google, whose library asks an emulator as it likes
}


@pytest.mark.parametrize("request_of", ["facts", "listing", "only part", "first part"])
@pytest.mark.parametrize("server", REASONS, ids=[server.__name__ for server in REASONS])
@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_no_error_shows_what_signs_a_request(scheme, server, request_of, monkeypatch):
    """The text of the libraries' errors does: the address, and all that is in it."""
    for module in ("s3", "gcs", "azure"):
        monkeypatch.setattr(f"sccr_node.storage.places.{module}.ANSWER_SECONDS_OF_A_STORE", 0.2)
    monkeypatch.setattr("sccr_node.storage.places.gcs._TIMES", {"timeout": (0.2, 0.2), "retry": None})
    url, close = server()
    every_client_asks(monkeypatch, url)
    bucket = bucket_of(Address.of(f"{scheme}://bucket/a"))
    try:
        with pytest.raises(Passing) as caught:
            REQUESTS[request_of](bucket)
        assert re.fullmatch(REASONS[server], str(caught.value))
        assert "secret" not in "".join(traceback.format_exception(caught.value))
    finally:
        close()


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_no_error_shows_the_number_of_an_upload(scheme, monkeypatch):
    """Whoever knows it can go on with an upload to Google, without credentials."""
    url, close = going_away()
    every_client_asks(monkeypatch, url)
    sending = bucket_of(Address.of(f"{scheme}://bucket/a")).begin("a", replace=True)
    with pytest.raises(Passing, match="501"):
        sending.send(0, b"0" * 2**18, last=False)
    close()
    with pytest.raises(Passing) as caught:
        sending.send(0, b"0" * 2**18, last=False)
    assert str(caught.value) == "connection refused"
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "to", ["ftp://host/a?sig=secret", "file:///a?sig=secret", "https://[::1/?sig=secret", "https://h:x/?sig=secret"]
)
def test_no_error_shows_where_a_server_redirects_to(web, to, tmp_path, sccr, monkeypatch):
    monkeypatch.setattr(Odd, "status", 302)
    monkeypatch.setattr(Odd, "answer", {"Location": to})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/a.h5ad"
        code, out, err = sccr("impute", url, tmp_path / "out.h5ad", "--debug")
        assert code == 66 and "redirects" in err and "secret" not in out + err
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def nobody(monkeypatch, tmp_path_factory):
    """A user without credentials for any store."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_", "CLOUDSDK_")):
            monkeypatch.delenv(name)
    elsewhere = str(tmp_path_factory.mktemp("home"))
    monkeypatch.setattr("tempfile.tempdir", elsewhere)
    for name, value in {
        "HOME": elsewhere,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_GCE_CHECK": "true",
        "AZURE_STORAGE_ACCOUNT": "account",
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",  # others would look around on this machine
    }.items():
        monkeypatch.setenv(name, value)


MISSING = {
    "s3": "Unable to locate credentials",
    "gs": "Your default credentials were not found",
    "az": "there are no credentials: set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or ",
}


@pytest.mark.parametrize("scheme", MISSING)
def test_without_credentials(scheme, nobody, counts_file, tmp_path, refused, caplog):
    there = f"{scheme}://bucket/a.h5ad"
    refused(66, [f"cannot read {there}: ", MISSING[scheme]], "impute", there, tmp_path / "out.h5ad")
    refused(73, [f"cannot write {there}: ", MISSING[scheme]], "impute", counts_file, there)
    manifest = tmp_path / "rows.csv"
    manifest.write_text(f"input,output\n{there},{tmp_path}/out.h5ad\n")
    refused(66, [f"cannot read {there}: "], "batch", "--manifest", manifest)
    # Python writes what a library logs to standard error if nobody else takes it.
    assert not [record for record in caplog.records if record.name.startswith("azure")]


def test_checkpoints_without_credentials_are_done_without(nobody, counts_file, tmp_path, sccr):
    options = ["--checkpoint-dir", "s3://bucket/kept", "--threads", 1]
    code, _, err = sccr("impute", counts_file, tmp_path / "out.h5ad", *options)
    assert code == 0
    assert "cannot keep checkpoints in s3://bucket/kept: " in err and "the run goes on without them" in err


@pytest.mark.parametrize(("scheme", "package"), [("s3", "botocore"), ("gs", "google"), ("az", "azure")])
def test_a_library_that_is_not_installed(scheme, package, nobody, counts_file, tmp_path, refused, monkeypatch):
    monkeypatch.setattr("sccr_node.storage.places.bucket.import_module", missing)
    there, words = f"{scheme}://bucket/a", [f"{scheme}:// addresses require {package}, which is not installed"]
    refused(2, words, "impute", there, tmp_path / "out.h5ad")
    refused(2, words, "impute", counts_file, f"{there}.h5ad")
    refused(2, words, "impute", counts_file, tmp_path / "out.h5ad", "--checkpoint-dir", there, "--quiet")


def missing(name):
    raise ImportError(name)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("EnvironmentCredential: Authentication failed: AADSTS7: Invalid secret. Trace ID: 1", ": AADSTS7: Invalid"),
        ("AzureCliCredential: Azure CLI not found on path", "there are no credentials: set AZURE_STORAGE_KEY"),
    ],
)
def test_why_nobody_could_sign_in_to_azure(said, reason, monkeypatch, hangs_up):
    from azure.core.exceptions import ClientAuthenticationError

    text = f"DefaultAzureCredential failed to retrieve a token.\nAttempted credentials:\n\t{said}\nTo mitigate"
    bucket = bucket_of(Address.of("az://bucket/a"))

    def fail(*_, **__):
        raise ClientAuthenticationError(text)

    monkeypatch.setattr(bucket._container, "get_blob_client", fail)
    with pytest.raises(Refused) as caught:
        bucket.facts("a")
    assert reason in str(caught.value) and "\n" not in str(caught.value) and "Trace" not in str(caught.value)


@pytest.mark.parametrize("address", ["s3://bucket/x", "gs://bucket/x", "az://box/x", "https://host/x"])
def test_temporary_files_are_local(address, counts_file, tmp_path, refused):
    words = ["--work-dir", "should be a folder of this machine"]
    refused(2, words, "impute", counts_file, tmp_path / "out.h5ad", "--work-dir", address)


def test_python_fetches_a_list_of_genes(web, few_cells):
    Files.files["/genes.txt"] = "\n".join(few_cells.var_names[:20]).encode()
    near, far = few_cells.copy(), few_cells.copy()
    sccr_node.impute(near, genes=list(few_cells.var_names[:20]))
    sccr_node.impute(far, genes=f"{web}/genes.txt?sig=secret")
    assert np.array_equal(near.var["sccr_imputed"], far.var["sccr_imputed"]) and far.var["sccr_imputed"].sum() == 20
    assert "secret" not in str(far.uns["sccr"])
    with pytest.raises(InputMissing, match=f"cannot read {web}/none.txt: there is no such object"):
        sccr_node.impute(few_cells.copy(), genes=f"{web}/none.txt")


def test_blocks_that_another_program_left_on_azure(monkeypatch, hangs_up):
    from azure.core.exceptions import HttpResponseError

    bucket = bucket_of(Address.of("az://bucket/a"))

    def fail(*_, **__):
        failure = HttpResponseError("The specified blob or block content is invalid.\nRequestId:1")
        failure.error_code, failure.status_code = "InvalidBlobOrBlock", 400
        raise failure

    monkeypatch.setattr(bucket._container, "get_blob_client", fail)
    with pytest.raises(Refused, match="content is invalid: another program has left an unfinished upload to it"):
        bucket.prepare("a")


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({}, "us-east-1"),
        ({"AWS_REGION": "eu-north-1"}, "eu-north-1"),
        ({"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
    ],
)
def test_the_region_is_found_in_either_variable(monkeypatch, variables, region):
    from sccr_node.storage.places.s3 import S3Bucket

    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert S3Bucket("lab")._client.meta.region_name == region


def test_what_fails_the_checksum_that_s3_keeps_is_fetched_again(tmp_path, hangs_up, monkeypatch):
    """botocore compares it when all bytes were read: they must not be kept."""
    from botocore.exceptions import FlexibleChecksumError

    monkeypatch.setattr("sccr_node.storage.places.transfer.WAITS", (0.01,) * 4)
    right = os.urandom(1000)
    sent = [right[:500] + b"?" + right[501:], right]

    class Body(io.BytesIO):
        def read(self, size=-1):
            block = super().read(size)
            if not block and self.getvalue() != right:
                raise FlexibleChecksumError(error_msg="Expected checksum AAAA did not match calculated checksum BBBB")
            return block

    there = bucket_of(Address.of("s3://bucket/a"))
    head = {"ContentLength": 1000, "ETag": MD5, "ServerSideEncryption": "aws:kms"}
    monkeypatch.setattr(there._client, "head_object", lambda **_: head)
    monkeypatch.setattr(there._client, "get_object", lambda **_: {"Body": Body(sent.pop(0))})
    Place(Address.of("s3://bucket/a"), there).fetch(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == right and sent == []


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Tunnel connection failed: 407 Proxy Authentication Required", r"the proxy refused it \(407\)"),
        (
            "Could not find a suitable TLS CA certificate bundle, invalid path: /x",
            "the certificates .* cannot be found",
        ),
        ("of another kind, with ?X-Amz-Signature=secret", "the connection ended early"),
    ],
)
def test_causes_that_have_no_number_are_named(text, cause):
    from sccr_node.storage.places.bucket import cause_of

    assert re.fullmatch(cause, cause_of(OSError(text)))
    try:
        raise ValueError("of a library") from OSError(text)
    except ValueError as failure:
        assert re.fullmatch(cause, cause_of(failure))
