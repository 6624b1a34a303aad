"""Remote addresses on real servers: read, imputed, written, refused; interrupted at every stage, with nothing left."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import anndata
import numpy as np
import pytest
import zarr
from container_tools import set_up
from store_servers import AZURITE_KEY, Azurite, FakeGCS, SeaweedFS, Server, SlowLine, free_port

from sccr_node.__main__ import main
from sccr_node.errors import NotEnoughResources, OutputProblem
from sccr_node.storage.checkpoints import Checkpoints
from sccr_node.storage.places import place, transfer
from sccr_node.storage.places.address import Address
from sccr_node.storage.places.s3 import S3Bucket
from sccr_node.storage.places.transfer import CLAIM, bucket_of
from tests.support.simulated import simulated

pytestmark = pytest.mark.platform

KINDS = {"s3": SeaweedFS, "gs": FakeGCS, "az": Azurite}
SECRETS = ("testsecret", "testkey", "AccountKey", "Eby8vdM0", "upload_id", "uploadId", "sig=")
PARTS = np.random.default_rng(0).bytes(40 * 2**20)
"""An object of three parts."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[dict[str, Server]]:
    """One server of each kind, for as long as the tests of this file run."""
    programs = Path(set_up("stores")["SCCR_STORES"])
    made = {name: kind(programs, tmp_path_factory.mktemp(name) / "server") for name, kind in KINDS.items()}
    try:
        yield made
    finally:
        for server in made.values():
            server.kill()


@pytest.fixture(params=KINDS)
def store(request, servers, monkeypatch, tmp_path) -> Server:
    """Each kind of store in turn, with its credentials in the environment."""
    return entered(servers[request.param], monkeypatch, tmp_path)


@pytest.fixture
def s3(servers, monkeypatch, tmp_path) -> SeaweedFS:
    found = entered(servers["s3"], monkeypatch, tmp_path)
    assert isinstance(found, SeaweedFS)
    return found


def entered(server, monkeypatch, tmp_path):
    if not server.is_running():
        server.start()
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_")):
            monkeypatch.delenv(name)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # no credentials are looked for beyond this machine
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    monkeypatch.setattr("sccr_node.storage.places.transfer.WAITS", (0.1, 0.2, 0.4))
    return server


@pytest.fixture(scope="module")
def counts(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("counts") / "counts.h5ad"
    simulated(n_cells=60, n_genes=80, n_types=3, n_batches=2).write_h5ad(path)
    return path.read_bytes()


@pytest.fixture
def here(counts, tmp_path) -> Path:
    path = tmp_path / "counts.h5ad"
    path.write_bytes(counts)
    return path


def sccr(capfd, *arguments):
    """Run a command; gives the exit code and what it said, in which there must be neither secrets nor scratch."""
    code = main([str(argument) for argument in arguments])
    said = "".join(capfd.readouterr())
    assert "sccr-remote" not in said
    assert not any(secret in said for secret in SECRETS)
    assert not list(Path(os.environ["TMPDIR"]).iterdir())
    return code, said


def refused(capfd, code, words, *arguments):
    got, said = sccr(capfd, *arguments)
    lines = [line for line in said.splitlines() if line.startswith("sccr: error: ")]
    assert (got, len(lines)) == (code, 1), said
    for word in words:
        assert word in lines[0]


# --- every kind of store


def test_a_run_from_store_to_store_is_a_local_run(store, counts, here, tmp_path, capfd):
    store.put("run/in/counts.h5ad", counts)
    out = store.address("run/out")
    options = ["--threads", 1, "--quiet"]
    code, said = sccr(
        capfd,
        *("impute", store.address("run/in/counts.h5ad"), f"{out}/result.h5ad", *options),
        *("--provenance", f"{out}/record.json", "--report", f"{out}/report.html", "--multiqc", f"{out}/multiqc"),
    )
    assert code == 0, said
    assert main(["impute", str(here), str(tmp_path / "result.h5ad"), "--threads", "1", "--quiet"]) == 0
    assert same_file(store.get("run/out/result.h5ad"), (tmp_path / "result.h5ad").read_bytes())
    record = json.loads(store.get("run/out/record.json"))
    assert record["input"]["path"] == store.address("run/in/counts.h5ad")
    assert record["input"]["sha256"] == hashlib.sha256(counts).hexdigest()
    assert record["result"]["path"] == f"{out}/result.h5ad"
    assert record["params"]["report"] == f"{out}/report.html"
    for key in store.keys("run/out/"):
        assert b"sccr-remote" not in store.get(key), key
    assert len([key for key in store.keys("run/out/multiqc/") if key.endswith(".json")]) >= 3
    assert store.open_uploads() == []


def same_file(first: bytes, second: bytes) -> bool:
    return hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def test_what_exists_is_kept_unless_force(store, counts, here, capfd):
    store.put("kept/out.h5ad", b"precious")
    address = store.address("kept/out.h5ad")
    refused(capfd, 73, [address, "already exists", "--force"], "impute", here, address, "--quiet")
    assert store.get("kept/out.h5ad") == b"precious"
    assert sccr(capfd, "impute", here, address, "--quiet", "--force", "--threads", 1)[0] == 0
    assert store.get("kept/out.h5ad")[:8] == b"\x89HDF\r\n\x1a\n"
    refused(capfd, 2, ["it is the input"], "impute", address, address, "--quiet", "--force")


class Ended(BaseException):
    """In the place of SIGKILL, in this process."""


def test_a_killed_run_resumes_from_a_store(store, here, tmp_path, capfd, monkeypatch):
    local, out = tmp_path / "local.h5ad", tmp_path / "out.h5ad"
    assert main(["impute", str(here), str(local), "--threads", "1", "--quiet"]) == 0
    keep = Checkpoints.keep

    def kept_until_killed(self, *given):
        keep(self, *given)
        if self.n_kept == 4:
            raise Ended

    options = ["--threads", "1", "--checkpoint-dir", store.address("kept/checkpoints")]
    with monkeypatch.context() as patched, pytest.raises(Ended):
        patched.setattr(Checkpoints, "keep", kept_until_killed)
        main(["impute", str(here), str(out), *options])
    names = store.keys("kept/checkpoints/")
    assert len(names) == 4 and all(name.endswith(".checkpoint") for name in names)
    damaged = max(names, key=lambda name: len(store.get(name)))
    store.put(damaged, store.get(damaged)[:-1] + b"?")
    store.put("kept/checkpoints/of-somebody-else", b"precious")
    capfd.readouterr()
    code, said = sccr(capfd, "impute", here, out, *options)
    assert code == 0 and "3 stages were not repeated" in said
    assert said.count("ignoring the checkpoint") == 1 and "it is damaged; what it was to keep is computed again" in said
    assert same_file(out.read_bytes(), local.read_bytes())
    assert store.keys("kept/checkpoints/") == ["kept/checkpoints/of-somebody-else"]
    assert store.open_uploads() == []


def test_checkpoints_are_given_up_where_the_store_is_away(s3, here, tmp_path, capfd):
    s3.kill()
    code, said = sccr(capfd, "impute", here, tmp_path / "out.h5ad", "--checkpoint-dir", s3.address("kept/away"))
    assert code == 0
    assert said.count("cannot keep") == 1 and "cannot keep checkpoints in s3://bucket/kept/away: " in said
    refused(
        capfd, 2, ["--checkpoint-dir", "should be a local folder, or one at s3://, gs:// or az://"],
        *("impute", here, tmp_path / "other.h5ad", "--checkpoint-dir", "https://example.org/a"),
    )  # fmt: skip


def test_missing_objects_and_buckets(store, here, tmp_path, capfd):
    nowhere = store.address("x.h5ad").replace("bucket", "nobucket")
    output = tmp_path / "out.h5ad"
    missing = store.address("missing/none.h5ad")
    refused(capfd, 66, [f"cannot read {missing}", "no such object"], "impute", missing, output)
    refused(capfd, 66, [f"cannot read {nowhere}"], "impute", nowhere, output)
    refused(capfd, 73, [f"cannot write {nowhere}"], "impute", here, nowhere)
    assert not output.exists()


def test_who_comes_second_is_refused(store, tmp_path):
    for size in (100, len(PARTS)):  # a single request, and parts
        key = f"second/{size}"
        source = tmp_path / "source"
        source.write_bytes(PARTS[:size])
        with pytest.raises(OutputProblem, match="has appeared in the meantime"):
            with place(store.address(key)).upload(source, force=False) as sent:
                store.put(key, b"first")
                sent.commit()
        assert store.get(key) == b"first"
        place(store.address(key)).publish(source, force=True)
        assert store.get(key) == PARTS[:size]
    assert store.open_uploads() == []


def contents(store, prefix):
    return {key.removeprefix(prefix): store.get(key) for key in store.keys(prefix)}


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_zarr_store_there_and_back(store, here, tmp_path, capfd, monkeypatch):
    address, prefix = store.address("stores/a.zarr"), "stores/a.zarr/"
    client = type(bucket_of(Address.of(address)))
    begun, begin = [], client.begin
    monkeypatch.setattr(client, "begin", lambda self, key, **how: begun.append(key) or begin(self, key, **how))
    options = ["--quiet", "--threads", 1]
    for added in ("sccr", "other"):  # new, and replaced
        begun.clear()
        local = tmp_path / f"{added}.zarr"
        assert sccr(capfd, "impute", here, local, *options, "--key-added", added)[0] == 0
        assert sccr(capfd, "impute", here, address, *options, "--key-added", added, "--force")[0] == 0
        # The metadata of the root is the last that is sent, and nothing else is there in the end.
        assert begun[0] == prefix + CLAIM
        assert [key.removeprefix(prefix) for key in begun[-2:]] == [".zmetadata", ".zgroup"]
        assert contents(store, prefix) == files(local)
    back = tmp_path / "back.zarr"
    assert sccr(capfd, "promote", address, back, "--layer", "other", "--quiet")[0] == 0
    assert np.array_equal(dense(anndata.read_zarr(back).X), dense(anndata.read_zarr(local).layers["other"]))
    before = contents(store, prefix)
    refused(capfd, 73, [address, "already exists"], "impute", here, address, *options)
    store.put(prefix + "mine.txt", b"precious")
    refused(capfd, 73, ["mine.txt"], "impute", here, address, *options, "--force")
    assert contents(store, prefix) == before | {"mine.txt": b"precious"}
    assert store.open_uploads() == []


def test_files_and_folders_are_copied_there_and_back(store, here, tmp_path, capfd):
    anndata.read_h5ad(here).write_zarr(tmp_path / "a.zarr")
    for local, address in ((here, store.address("copy/a.h5ad")), (tmp_path / "a.zarr", store.address("copy/a.zarr"))):
        back = tmp_path / f"back{local.suffix}"
        assert sccr(capfd, "copy", local, address, "--quiet") == (0, "")
        refused(capfd, 73, [address, "already exists"], "copy", local, address)
        code, said = sccr(capfd, "copy", address, back)
        assert (code, f"wrote {back}: " in said) == (0, True)
        assert files(back) == files(local) if local.is_dir() else same_file(back.read_bytes(), local.read_bytes())
    refused(capfd, 66, ["copy/lost.h5ad"], "copy", store.address("copy/lost.h5ad"), tmp_path / "lost.h5ad")
    assert not (tmp_path / "lost.h5ad").exists()
    assert store.open_uploads() == []


def dense(matrix):
    return matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)


def test_a_folder_is_fetched_without_a_second_attempt(store, tmp_path, monkeypatch):
    """The tags that listings give are those of the objects."""
    monkeypatch.setattr("sccr_node.storage.places.transfer.WAITS", ())
    for name in ("a", "b/c"):
        store.put(f"folder/{name}", name.encode())
    place(store.address("folder")).fetch(tmp_path / "folder")
    assert files(tmp_path / "folder") == {"a": b"a", "b/c": b"b/c"}


def test_an_unfinished_store_is_removed_by_the_next_attempt(store, here, capfd):
    for name in (CLAIM, "X/0.0", "X/.zarray"):
        store.put(f"half/a.zarr/{name}", b"1")
    assert sccr(capfd, "impute", here, store.address("half/a.zarr"), "--quiet", "--threads", 1)[0] == 0
    assert f"half/a.zarr/{CLAIM}" not in store.keys("half/")
    assert "half/a.zarr/X/0.0" not in store.keys("half/") and "half/a.zarr/.zgroup" in store.keys("half/")


def test_a_result_is_exported_as_text(s3, here, tmp_path, capfd):
    result = s3.address("text/result.h5ad")
    assert sccr(capfd, "impute", here, result, "--quiet")[0] == 0
    for name in ("mtx", "table.tsv.gz"):
        address, local = s3.address(f"text/{name}"), tmp_path / name
        for more in ([], ["--force"]):
            assert sccr(capfd, "export", result, address, "--quiet", *more)[0] == 0
        assert sccr(capfd, "export", result, local, "--quiet")[0] == 0
        refused(capfd, 73, [address, "already exists"], "export", result, address)
    assert contents(s3, "text/mtx/") == files(tmp_path / "mtx")
    assert s3.get("text/table.tsv.gz") == (tmp_path / "table.tsv.gz").read_bytes()
    s3.put("text/mtx/mine.txt", b"precious")
    refused(capfd, 73, ["mine.txt"], "export", result, s3.address("text/mtx"), "--force")
    assert s3.get("text/mtx/mine.txt") == b"precious"


def test_parts_are_split_and_gathered(s3, here, counts, tmp_path, capfd):
    s3.put("parts/in.h5ad", counts)
    whole = s3.address("parts/in.h5ad")
    code, said = sccr(capfd, "split", whole, "--batch-key", "batch", "--outdir", s3.address("parts/split"))
    assert code == 0, said
    assert s3.address("parts/split/genes.txt") in said
    depth = s3.get("parts/split/target_sum.txt").decode().strip()
    names = [key for key in s3.keys("parts/split/") if key.endswith(".h5ad")]
    for key in names:
        genes = s3.address("parts/split/genes.txt")
        arguments = ["impute", s3.address(key), s3.address(f"{key}.out.h5ad".replace("split", "imputed"))]
        code, said = sccr(capfd, *arguments, "--genes", genes, "--target-sum", depth, "--quiet", "--threads", 1)
        assert code == 0, said
    parts = [s3.address(key) for key in s3.keys("parts/imputed/")]
    assert sccr(capfd, "gather", whole, s3.address("parts/gathered.h5ad"), *parts, "--quiet", "--threads", 1)[0] == 0
    local = ["impute", str(here), str(tmp_path / "one.h5ad"), "--batch-key", "batch", "--quiet", "--threads", "1"]
    assert main(local) == 0
    assert same_file(s3.get("parts/gathered.h5ad"), (tmp_path / "one.h5ad").read_bytes())


def test_tables_configs_and_candidates(s3, counts, here, tmp_path, capfd):
    s3.put("tables/in.h5ad", counts)
    s3.put("tables/config.yaml", b"threads: 1\n")
    source = s3.address("tables/in.h5ad")
    arguments = ["evaluate", "relations", source, "--config", s3.address("tables/config.yaml")]
    code, said = sccr(capfd, *arguments, "-o", s3.address("tables/t.tsv"), "--json", tmp_path / "t.json")
    assert code == 0, said
    assert s3.get("tables/t.tsv").startswith(b"graph") or b"\t" in s3.get("tables/t.tsv")
    assert (tmp_path / "t.json").exists()
    assert sccr(capfd, "evaluate", "mask", source, s3.address("tables/masked.h5ad"), "--quiet")[0] == 0
    masked = s3.address("tables/masked.h5ad")
    code, said = sccr(capfd, "evaluate", "score", masked, masked, "--json", s3.address("tables/score.json"))
    assert code == 0 and masked in s3.get("tables/score.json").decode()
    refused(capfd, 66, ["cannot read s3://bucket/none.yaml"], *arguments[:3], "--config", "s3://bucket/none.yaml")


# --- what is refused, and what may pass


def test_wrong_keys_and_read_only_keys(s3, counts, here, tmp_path, capfd, monkeypatch):
    s3.put("secret/in.h5ad", counts)
    source, output = s3.address("secret/in.h5ad"), s3.address("secret/out.h5ad")
    for key, secret in (("nobody", "testsecret"), ("testkey", "wrong")):
        for name, value in s3.environment(key, secret).items():
            monkeypatch.setenv(name, value)
        refused(
            capfd,
            66,
            ["cannot read", source],
            "impute",
            source,
            tmp_path / "o.h5ad",
        )
        refused(capfd, 73, ["cannot write", output], "impute", here, output)
    for name, value in s3.environment("readkey", "readsecret").items():
        monkeypatch.setenv(name, value)
    refused(capfd, 73, ["cannot write", output, "AccessDenied"], "impute", source, output)
    assert sccr(capfd, "impute", source, tmp_path / "o.h5ad", "--quiet", "--threads", 1)[0] == 0
    assert s3.keys("secret/out") == []


def test_wrong_keys_and_read_only_tokens_of_azure(servers, counts, here, tmp_path, capfd, monkeypatch):
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    store = entered(servers["az"], monkeypatch, tmp_path)
    store.put("secret/in.h5ad", counts)
    source, output = store.address("secret/in.h5ad"), store.address("secret/out.h5ad")
    connection = store.environment()["AZURE_STORAGE_CONNECTION_STRING"]
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING", connection.replace(AZURITE_KEY, AZURITE_KEY[::-1].lstrip("=") + "==")
    )
    refused(capfd, 66, ["cannot read", source], "impute", source, tmp_path / "o.h5ad")
    refused(capfd, 73, ["cannot write", output], "impute", here, output)
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    token = generate_account_sas(
        "devstoreaccount1",
        AZURITE_KEY,
        resource_types=ResourceTypes(container=True, object=True),
        permission=AccountSasPermissions(read=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "devstoreaccount1")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"{store.url}/devstoreaccount1")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", token)
    refused(capfd, 73, ["cannot write", output, "AuthorizationPermissionMismatch"], "impute", source, output)
    assert sccr(capfd, "impute", source, tmp_path / "o.h5ad", "--quiet", "--threads", 1)[0] == 0
    assert store.keys("secret/out") == []


def test_a_store_that_cannot_be_reached(store, here, tmp_path, capfd, monkeypatch):
    port = free_port()  # where nobody listens
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value.replace(str(store.port), str(port)))
    address, output = store.address("far/x.h5ad"), tmp_path / "out.h5ad"
    begin = time.monotonic()
    refused(capfd, 75, [f"cannot read {address}", "tried 4 times, try again later"], "impute", address, output)
    refused(capfd, 75, [f"cannot write {address}", "tried 4 times, try again later"], "impute", here, address)
    assert time.monotonic() - begin > 2 * sum(transfer.WAITS)
    assert not output.exists()


def test_a_full_scratch(s3, counts, tmp_path, capfd, monkeypatch):
    s3.put("full/in.h5ad", counts)
    monkeypatch.setattr("sccr_node.runtime.scratch.free_bytes", lambda folder: 1000)
    refused(
        capfd, 75, ["not enough disk space", "--work-dir"], "impute", s3.address("full/in.h5ad"), tmp_path / "o.h5ad"
    )


# --- objects that change


def test_a_change_while_it_is_read_is_never_a_mixture(store, tmp_path):
    """What is fetched is never a mixture: all of the new object, or of the old one if that was read first."""
    for number, when in enumerate((0.3, 1.0)):
        key, new = f"changed/{number}", PARTS[::-1]  # of the same size
        store.put(key, PARTS)
        changes = []

        def change_once(fraction, key=key, new=new, when=when, changes=changes):
            if fraction >= when and not changes:
                changes.append(threading.Thread(target=store.put, args=(key, new)))
                changes[0].start()  # SeaweedFS has it wait while the old one is read
                changes[0].join(1.0 if when < 1.0 else None)

        place(store.address(key)).fetch(tmp_path / "a", change_once)
        changes[0].join()
        got = (tmp_path / "a").read_bytes()
        assert same_file(got, new) or (when < 1.0 and same_file(got, PARTS))


def test_bytes_that_change_on_the_way_are_noticed(store, tmp_path, monkeypatch):
    """Of what others put there, in a single request, and of what came from here; S3 has no checksum of parts."""
    source = tmp_path / "source"
    source.write_bytes(PARTS)
    place(store.address("flipped/folder/in-parts")).publish(source, force=False)
    for key in ("flipped/one", "flipped/folder/one"):
        store.put(key, PARTS[:1000])
    bucket = type(bucket_of(Address.of(store.address("flipped"))))
    reader, flipped = bucket.read, []

    @contextmanager
    def flipping(self, key, *where):
        with reader(self, key, *where) as blocks:
            if key not in flipped:
                flipped.append(key)
                first = next(blocks)
                blocks = chain([first[:-1] + bytes([first[-1] ^ 1])], blocks)
            yield blocks

    monkeypatch.setattr(bucket, "read", flipping)
    place(store.address("flipped/one")).fetch(tmp_path / "one")
    place(store.address("flipped/folder")).fetch(tmp_path / "folder")
    assert len(flipped) == 3
    assert (tmp_path / "one").read_bytes() == (tmp_path / "folder" / "one").read_bytes() == PARTS[:1000]
    assert same_file((tmp_path / "folder" / "in-parts").read_bytes(), PARTS) or store.scheme == "s3"


def test_an_identity_changes_with_the_content(store):
    there = place(store.address("identity/a"))
    store.put("identity/a", b"first")
    first = there.identity()
    assert there.identity() == first
    store.put("identity/a", b"other")
    assert there.identity() != first and there.identity().startswith("5 bytes")


def test_what_changes_all_the_time_is_given_up(s3, here, tmp_path, capfd, monkeypatch):
    s3.put("restless/a", PARTS)
    count = iter(range(1000))

    def change(fraction):
        if fraction == 1.0:
            s3.put("restless/a", PARTS + str(next(count)).encode())

    with pytest.raises(NotEnoughResources, match="changed while it was read; tried 4 times, try again later"):
        place(s3.address("restless/a")).fetch(tmp_path / "a", change)


# --- servers that vanish


@pytest.fixture
def patient(monkeypatch):
    """Wait long enough for a server to start again."""
    monkeypatch.setattr("sccr_node.storage.places.transfer.WAITS", (1.0,) * 20)


class Killed:
    """Called with progress, kills a server once, at a fraction, and starts it again unless it is to stay away."""

    def __init__(self, server, fraction, *, back_after=None):
        self.server, self.fraction, self.back_after = server, fraction, back_after
        self.timer = None
        self.done = False

    def __call__(self, fraction):
        if fraction >= self.fraction and not self.done:
            self.done = True
            self.server.settle()
            self.server.kill()
            if self.back_after is not None:
                self.timer = threading.Timer(self.back_after, self.server.start)
                self.timer.start()

    def over(self):
        assert self.done
        if self.timer is None:
            self.server.start()
        else:
            self.timer.join()


def test_a_download_goes_on_when_the_server_is_back(store, patient, tmp_path):
    store.put("vanish/a", PARTS)
    killed = Killed(store, 0.4, back_after=0.5)
    place(store.address("vanish/a")).fetch(tmp_path / "a", killed)
    killed.over()
    assert same_file((tmp_path / "a").read_bytes(), PARTS)


def test_a_download_whose_server_stays_away(store, tmp_path):
    store.put("away/a", PARTS)
    killed = Killed(store, 0.4)
    with pytest.raises(NotEnoughResources, match="cannot read .*/away/a: .*try again later"):
        place(store.address("away/a")).fetch(tmp_path / "a", killed)
    killed.over()


def test_an_upload_goes_on_when_the_server_is_back(store, patient, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(PARTS)
    killed = Killed(store, 0.1, back_after=0.5)
    place(store.address("back/a")).publish(source, force=False, progress=killed)
    killed.over()
    assert same_file(store.get("back/a"), PARTS)
    assert store.open_uploads() == []


def test_an_upload_whose_server_stays_away(store, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(PARTS)
    there = place(store.address("gone/a"))
    killed = Killed(store, 0.1)
    with pytest.raises(NotEnoughResources, match="cannot write .*/gone/a: .*try again later") as caught:
        there.publish(source, force=False, progress=killed)
    killed.over()
    assert not any(secret in "".join(traceback.format_exception(caught.value)) for secret in SECRETS)
    assert store.keys("gone/") == []
    # What the dead server kept of it goes with the next attempt.
    there.prepare(folder=False)
    assert store.open_uploads() == []
    there.publish(source, force=False)
    assert same_file(store.get("gone/a"), PARTS)


def test_a_store_that_was_being_replaced_can_be_written_again(store, here, tmp_path, capfd):
    options = ["--quiet", "--threads", 1]
    local, address = tmp_path / "local.zarr", store.address("replaced/a.zarr")
    assert sccr(capfd, "impute", here, local, *options)[0] == 0
    place(address).publish(local, force=False)
    killed = Killed(store, 0.1)
    with pytest.raises(NotEnoughResources, match="try again later"):
        place(address).publish(local, force=True, progress=killed)
    killed.over()
    left = {key.removeprefix("replaced/a.zarr/") for key in store.keys("replaced/")}
    assert CLAIM in left and not left & {".zgroup", ".zmetadata"}  # nobody can open it
    assert sccr(capfd, "impute", here, address, *options)[0] == 0
    assert contents(store, "replaced/a.zarr/") == files(local)


# --- signals


@contextmanager
def uploading(s3, speed, after, *arguments):
    """Run a command whose output is on its way on a slow line; gives the process, and the line."""
    line = SlowLine(s3.port, speed)
    environment = {**os.environ, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{line.port}"}
    words = [sys.executable, "-m", "sccr_node", *(str(argument) for argument in arguments), "--quiet"]
    try:
        with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as run:
            end = time.monotonic() + 60
            while line.sent < after:
                assert run.poll() is None and time.monotonic() < end
                time.sleep(0.02)
            yield run, line
            run.kill()
    finally:
        line.close()


def ended_by(run, number):
    """Send a signal; gives the exit code, within the ten seconds of which schedulers are told, and what was said."""
    run.send_signal(number)
    _, said = run.communicate(timeout=10)
    return run.returncode, said


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """A file of four parts."""
    path = tmp_path_factory.mktemp("large") / "large.h5ad"
    adata = simulated(n_cells=30, n_genes=40, n_types=2, n_batches=2)
    adata.layers["other"] = adata.X.copy()
    adata.uns["much"] = np.random.default_rng(0).random(7 * 2**20)
    adata.write_h5ad(path)
    return path


def test_signals_during_an_upload(s3, large):
    promote = ["promote", large, s3.address("signal/out.h5ad"), "--layer", "other"]
    scratch = Path(os.environ["TMPDIR"])
    with uploading(s3, 20e6, 20e6, *promote) as (run, _):
        assert s3.open_uploads() == ["signal/out.h5ad"]
        code, said = ended_by(run, signal.SIGTERM)
        assert (code, said) == (143, "sccr: interrupted by SIGTERM; no file was written\n")
    assert (s3.keys("signal/"), s3.open_uploads(), list(scratch.iterdir())) == ([], [], [])
    with uploading(s3, 20e6, 20e6, *promote) as (run, _):
        assert ended_by(run, signal.SIGKILL)[0] == -9
    assert s3.keys("signal/") == [] and s3.open_uploads() == ["signal/out.h5ad"]
    assert [path.name[:12] for path in scratch.iterdir()] == [".sccr-remote"]
    assert main([str(word) for word in promote] + ["--quiet"]) == 0
    assert (s3.keys("signal/"), s3.open_uploads(), list(scratch.iterdir())) == (["signal/out.h5ad"], [], [])


KILLED_HALF_WAY = """
import os, signal, sys
from pathlib import Path
from sccr_node.storage.places import place
from sccr_node.storage.places.address import Address

def half_way(fraction):
    if fraction > 0.5:
        os.kill(os.getpid(), signal.SIGKILL)

place(Address.of(sys.argv[2])).publish(Path(sys.argv[1]), force=False, progress=half_way)
"""


def test_a_process_that_is_killed_during_an_upload(store, large, capfd):
    """On all stores; on a slow line, S3 alone: Google's emulator takes uploads at another address."""
    address = store.address("killed/large.h5ad")
    killed = subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, large, address], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert store.keys("killed/") == []
    assert sccr(capfd, "copy", large, address, "--quiet") == (0, "")
    assert same_file(store.get("killed/large.h5ad"), large.read_bytes())
    assert (store.keys("killed/"), store.open_uploads()) == (["killed/large.h5ad"], [])


@pytest.fixture(scope="module")
def chunked(tmp_path_factory) -> Path:
    """A zarr store with a chunk of three parts."""
    path = tmp_path_factory.mktemp("chunked") / "chunked.zarr"
    values = np.random.default_rng(0).random(5 * 2**20)
    zarr.create_array(path, data=values, chunks=values.shape, compressors=None, zarr_format=2)
    return path


def test_a_killed_upload_of_a_folder_is_removed_by_the_next(s3, large, chunked):
    for name, command in {
        "folder/a.zarr": ["copy", chunked, s3.address("folder/a.zarr")],
        "folder/split": ["split", large, "--batch-key", "batch", "--outdir", s3.address("folder/split")],
    }.items():
        s3.client.create_multipart_upload(Bucket="bucket", Key=f"{name}2/of-somebody-else")
        with uploading(s3, 20e6, 18e6, *command) as (run, _):
            assert ended_by(run, signal.SIGKILL)[0] == -9
        left = s3.open_uploads()
        assert len(left) > 1 and all(key.startswith(name) for key in left)
        assert main([str(word) for word in command] + ["--quiet"]) == 0
        assert s3.open_uploads() == [f"{name}2/of-somebody-else"]
        bucket_of(Address.of(s3.address("a"))).abort(name)


def test_sigterm_while_a_store_is_silent(s3, large, here):
    """In the middle of an upload, and in the request that makes the object appear."""
    promote = ["promote", large, s3.address("silent/out.h5ad"), "--layer", "other"]
    with uploading(s3, 50e6, 20e6, *promote) as (run, line):
        line.stall()
        code, said = ended_by(run, signal.SIGTERM)
        assert (code, said) == (143, "sccr: interrupted by SIGTERM; no file was written\n")
    small = ["impute", here, s3.address("silent/small.h5ad")]
    with uploading(s3, 50e3, 20e3, *small) as (run, line):
        line.stall()
        code, said = ended_by(run, signal.SIGTERM)
        assert code == 143
        assert said.splitlines()[-1] == (
            "sccr: interrupted by SIGTERM; whether s3://bucket/silent/small.h5ad was written is not known: "
            "the store has not answered"
        )
    assert s3.keys("silent/") == [] and not list(Path(os.environ["TMPDIR"]).iterdir())
    place(s3.address("silent/out.h5ad")).prepare(folder=False)
    assert s3.open_uploads() == []


# --- memory


@pytest.mark.parametrize(("kind", "size"), [("s3", 2**30), ("gs", 2**27), ("az", 2**27)])
def test_large_files_take_little_memory(kind, size, servers, monkeypatch, tmp_path):
    """There and back, in a process of its own."""
    store = entered(servers[kind], monkeypatch, tmp_path)
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(size)
    program = (
        "import sys\nfrom pathlib import Path\nfrom sccr_node.runtime.resources import peak_memory\n"
        "from sccr_node.storage.places import place\n"
        "there, source = place(sys.argv[1]), Path(sys.argv[2])\n"
        "there.publish(source, force=False)\nprint(peak_memory())\n"
        "there.fetch(source.with_name('back'))\nprint(peak_memory())\n"
    )
    words = [sys.executable, "-c", program, store.address("memory/a"), str(source)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert max(int(peak) for peak in said.split()) < 200e6, said
    assert (tmp_path / "back").stat().st_size == size
    (tmp_path / "back").unlink()
    bucket_of(Address.of(store.address("memory/a"))).delete("memory/a")


def test_folders_of_large_files_take_little_memory(store, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        with (source / str(number)).open("wb") as file:
            file.truncate(2**25)
    program = (
        "import sys\nfrom pathlib import Path\nfrom sccr_node.runtime.resources import peak_memory\n"
        "from sccr_node.storage.places import place\n"
        "there, source = place(sys.argv[1]), Path(sys.argv[2])\n"
        "there.publish(source, force=False) if sys.argv[3] == 'up' else there.fetch(source.with_name('back'))\n"
        "print(peak_memory())\n"
    )
    for way in ("up", "down"):
        words = [sys.executable, "-c", program, store.address("memory/folder"), str(source), way]
        assert int(subprocess.run(words, capture_output=True, text=True, check=True).stdout) < 300e6
    assert sum(path.stat().st_size for path in (tmp_path / "back").iterdir()) == 6 * 2**25
    for key in store.keys("memory/folder/"):
        bucket_of(Address.of(store.address(key))).delete(key)


# --- job arrays


def test_a_manifest_of_remote_rows(s3, counts, here, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    s3.put("batch/in.h5ad", counts)
    source, out = s3.address("batch/in.h5ad"), s3.address("batch/out")
    rows = [f"{source},{out}/a.h5ad", f"{source},{out}/b.zarr", f"{here},{out}/c.h5ad"]
    s3.put("batch/samples.csv", "\n".join(["input,output", *rows, ""]).encode())
    command = ["batch", "--manifest", s3.address("batch/samples.csv"), "--threads", 1]
    code, said = sccr(capfd, *command)
    assert code == 0 and "3 imputed, 0 skipped, 0 failed" in said, said
    local = tmp_path / "local"
    local.mkdir()
    for name in ("a.h5ad", "b.zarr"):
        assert main(["impute", str(here), str(local / name), "--threads", "1", "--quiet"]) == 0
    for name in ("a.h5ad", "c.h5ad"):
        assert same_file(s3.get(f"batch/out/{name}"), (local / "a.h5ad").read_bytes())
    assert contents(s3, "batch/out/b.zarr/") == files(local / "b.zarr")
    assert {key for key in s3.keys("batch/out/") if key.endswith(".json")} >= {
        f"batch/out/{name}.record.json" for name in ("a.h5ad", "b.zarr", "c.h5ad")
    }
    # Again: nothing is imputed, written, or read but the manifest and the records.
    there = s3.tags("batch/")
    read, reader = [], S3Bucket.read
    monkeypatch.setattr(S3Bucket, "read", lambda self, key, *what: read.append(key) or reader(self, key, *what))
    code, said = sccr(capfd, *command)
    assert code == 0 and "0 imputed, 3 skipped, 0 failed" in said, said
    records = [key for key in read if key.endswith(".record.json")]
    assert set(read) - set(records) == {"batch/samples.csv"} and len(records) == 3
    assert s3.tags("batch/") == there
    # What is as large but is not what was written is not finished.
    s3.put("batch/out/a.h5ad", bytes(len(s3.get("batch/out/a.h5ad"))))
    code, said = sccr(capfd, *command)
    assert code == 73 and "a.h5ad already exists, and does not match its record" in said, said
    assert "0 imputed, 2 skipped, 1 failed" in said


def test_a_check_reads_the_headers_of_remote_rows(store, tmp_path, capfd, monkeypatch):
    adata = simulated(n_cells=60, n_genes=80, n_types=3, n_batches=2)
    adata.uns["much"] = np.random.default_rng(0).random(2**20)
    adata.write_h5ad(tmp_path / "in.h5ad")
    adata.write_zarr(tmp_path / "in.zarr")
    for name in ("in.h5ad", "in.zarr"):
        place(store.address(f"headers/{name}")).publish(tmp_path / name, force=False)
    read: list[tuple[str, int]] = []
    bucket = type(bucket_of(Address.of(store.address("headers"))))
    reader = bucket.read

    def noted(self, key, facts, start, end=None):
        read.append((key, (facts.size if end is None else end) - start))
        return reader(self, key, facts, start, end)

    monkeypatch.setattr(bucket, "read", noted)
    said = {}
    for where, parent in (("near", str(tmp_path)), ("far", store.address("headers"))):
        manifest = tmp_path / f"{where}.csv"
        rows = [f"{parent}/{name},{tmp_path}/out.{name},batch" for name in ("in.h5ad", "in.zarr")]
        manifest.write_text("\n".join(["input,output,batch_key", *rows, ""]))
        code, text = sccr(capfd, "batch", "--manifest", manifest, "--check", "--threads", 1)
        assert code == 0, text
        said[where] = [line.partition("estimate: ")[2] for line in text.splitlines() if "estimate: " in line]
        assert text.count("60 cells × 80 genes; values were not scanned") == 2
    assert said["far"] == said["near"] and len(said["near"]) == 2
    assert sum(count for key, count in read if key.endswith("in.h5ad")) < 2**20  # of the 8 MB
    of_store = [key.partition("in.zarr/")[2] for key, _ in read if "in.zarr/" in key]
    assert of_store and not [key for key in of_store if key.startswith(("uns/much/0", "X/data/0", "X/indices/0"))]
