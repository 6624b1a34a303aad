"""Remote addresses on real servers: read, imputed, written, refused; interrupted at every stage, with nothing left."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from container_tools import set_up
from store_servers import Azurite, FakeGCS, SeaweedFS, Server

from sccr_node.__main__ import main
from sccr_node.errors import OutputProblem
from sccr_node.storage.checkpoints import Checkpoints
from sccr_node.storage.places import place
from sccr_node.storage.places.transfer import CLAIM
from tests.support.simulated import simulated

pytestmark = pytest.mark.platform

KINDS = {"s3": SeaweedFS, "gs": FakeGCS, "az": Azurite}
SECRETS = ("testsecret", "testkey", "AccountKey", "Eby8vdM0")
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


class Killed(BaseException):
    """In the place of SIGKILL, in this process."""


def test_a_killed_run_resumes_from_a_store(store, here, tmp_path, capfd, monkeypatch):
    local, out = tmp_path / "local.h5ad", tmp_path / "out.h5ad"
    assert main(["impute", str(here), str(local), "--threads", "1", "--quiet"]) == 0
    keep = Checkpoints.keep

    def kept_until_killed(self, *given):
        keep(self, *given)
        if self.n_kept == 4:
            raise Killed

    options = ["--threads", "1", "--checkpoint-dir", store.address("kept/checkpoints")]
    with monkeypatch.context() as patched, pytest.raises(Killed):
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


def test_an_unfinished_store_is_removed_by_the_next_attempt(store, here, capfd):
    for name in (CLAIM, "X/0.0", "X/.zarray"):
        store.put(f"half/a.zarr/{name}", b"1")
    assert sccr(capfd, "impute", here, store.address("half/a.zarr"), "--quiet", "--threads", 1)[0] == 0
    assert f"half/a.zarr/{CLAIM}" not in store.keys("half/")


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


def test_a_full_scratch(s3, counts, tmp_path, capfd, monkeypatch):
    s3.put("full/in.h5ad", counts)
    monkeypatch.setattr("sccr_node.runtime.scratch.free_bytes", lambda folder: 1000)
    refused(
        capfd, 75, ["not enough disk space", "--work-dir"], "impute", s3.address("full/in.h5ad"), tmp_path / "o.h5ad"
    )
