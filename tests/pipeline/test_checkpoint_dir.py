"""--checkpoint-dir: a run that was killed goes on after its last finished stage, and ends with the same bytes."""

import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import anndata
import numpy as np
import pytest

import sccr_node
from sccr_node.contract.methods import METHODS
from sccr_node.errors import UsageProblem
from sccr_node.storage.checkpoints import Checkpoints
from tests.support.simulated import simulated

STAGES = {"sccr": 8, "scfp": 4, "scbfp": 4}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    adata = simulated(n_cells=120, n_genes=90, n_types=3, n_batches=2, depth=600)
    path = tmp_path_factory.mktemp("checkpoints") / "cells.h5ad"
    adata.write_h5ad(path)
    return path


class Killed(BaseException):
    """In the place of SIGKILL, in this process."""


@pytest.fixture
def killed_after(monkeypatch):
    """Have commands end once so many stages were kept; None lets them run."""
    keep, left = Checkpoints.keep, [None]

    def kept(self, *given):
        keep(self, *given)
        if left[0] is not None:
            left[0] -= 1
            if not left[0]:
                raise Killed

    def after(n):
        left[0] = n

    monkeypatch.setattr(Checkpoints, "keep", kept)
    return after


def contents(path):
    """Return all bytes of a file or a folder."""
    if path.is_file():
        return path.read_bytes()
    return {file.relative_to(path): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def kept_in(folder):
    return sorted(folder.glob("sccr-*.checkpoint"))


def not_repeated(said):
    found = re.findall(r"(\d+) stages? (?:was|were) not repeated", said)
    return int(found[-1]) if found else 0


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_goes_on_after_every_stage(source, tmp_path, sccr, killed_after, method, suffix):
    whole = tmp_path / f"whole.{suffix}"
    options = ["--method", method, *(["--write", "both"] if method == "sccr" else [])]
    assert sccr("impute", source, whole, *options)[0] == 0
    for n in range(1, STAGES[method] + 1):
        out, folder = tmp_path / f"{n}.{suffix}", tmp_path / "kept"
        command = ("impute", source, out, *options, "--checkpoint-dir", folder)
        killed_after(n)
        with pytest.raises(Killed):
            sccr(*command)
        killed_after(None)
        assert len(kept_in(folder)) == n and not out.exists()
        code, _, said = sccr(*command)
        assert code == 0 and not_repeated(said) == n
        assert said.index("resuming from the checkpoints in") < said.index("not repeated")
        assert contents(out) == contents(whole)
        assert not list(folder.iterdir())  # made by the first attempt, it was there before the second


def test_all_stages_are_kept_and_said(source, tmp_path, sccr, killed_after):
    for method, n in STAGES.items():
        folder = tmp_path / method
        killed_after(n)
        with pytest.raises(Killed):
            sccr("impute", source, tmp_path / "out.h5ad", "--method", method, "--checkpoint-dir", folder)
        said_bytes = 4 * 120 * 90 * {"sccr": 4, "scfp": 2, "scbfp": 2}[method]
        assert said_bytes < sum(path.stat().st_size for path in kept_in(folder)) < 4 * said_bytes
        code, _, said = sccr(
            "impute", source, tmp_path / "out.h5ad", "--method", method, "--checkpoint-dir", folder, "--dry-run"
        )
        assert code == 0 and re.search(rf"checkpoints: up to about \d+ MB in {folder} \(.* free\)", said)
        assert len(kept_in(folder)) == n


def test_a_folder_that_was_not_there_is_removed_and_others_stay(source, tmp_path, sccr):
    new, old = tmp_path / "a" / "b", tmp_path / "old"
    old.mkdir()
    (old / "theirs").touch()
    for folder in (new, old):
        assert sccr("impute", source, tmp_path / "out.h5ad", "--checkpoint-dir", folder, "--force")[0] == 0
    assert not (tmp_path / "a").exists() and [path.name for path in old.iterdir()] == ["theirs"]


def test_batches_go_on_where_they_were(source, tmp_path, sccr, killed_after):
    whole, out, folder = tmp_path / "whole.h5ad", tmp_path / "out.h5ad", tmp_path / "kept"
    options = ("--batch-key", "batch", "--low-rank-share", "0.3", "--low-rank", "5")
    assert sccr("impute", source, whole, *options)[0] == 0
    command = ("impute", source, out, *options, "--checkpoint-dir", folder)
    for n in (3, 8):  # of the 5 and the 13 that are there then
        killed_after(n)
        with pytest.raises(Killed):
            sccr(*command)
    assert len(kept_in(folder)) == 11
    killed_after(None)
    code, _, said = sccr(*command)
    assert code == 0 and not_repeated(said) == 11
    assert contents(out) == contents(whole) and not kept_in(folder)


def test_later_settings_share_earlier_stages_and_inputs_share_nothing(source, tmp_path, sccr, killed_after):
    folder = tmp_path / "kept"
    killed_after(8)
    with pytest.raises(Killed):
        sccr("impute", source, tmp_path / "out.h5ad", "--checkpoint-dir", folder)
    killed_after(None)
    other = tmp_path / "other.h5ad"
    adata = anndata.read_h5ad(source)
    adata.obs["new"] = 1.0
    adata.write_h5ad(other)
    code, _, said = sccr("impute", other, tmp_path / "of_other.h5ad", "--checkpoint-dir", folder)
    assert code == 0 and not_repeated(said) == 0 and len(kept_in(folder)) == 8
    code, _, said = sccr("impute", source, tmp_path / "beta.h5ad", "--beta", "0.5", "--checkpoint-dir", folder)
    assert code == 0 and not_repeated(said) == 7 and len(kept_in(folder)) == 1
    assert sccr("impute", source, tmp_path / "plain.h5ad", "--beta", "0.5")[0] == 0
    assert contents(tmp_path / "beta.h5ad") == contents(tmp_path / "plain.h5ad")


def test_tuning_goes_on_too(source, tmp_path, sccr, killed_after):
    options = ("--tune", "--provenance", tmp_path / "record.json", "--force")
    assert sccr("impute", source, tmp_path / "whole.h5ad", *options)[0] == 0
    folder, out = tmp_path / "kept", tmp_path / "out.h5ad"
    killed_after(10)  # tuning has seven, or more
    with pytest.raises(Killed):
        sccr("impute", source, out, *options, "--checkpoint-dir", folder)
    killed_after(None)
    code, _, said = sccr("impute", source, out, *options, "--checkpoint-dir", folder)
    assert code == 0 and not_repeated(said) == 10 and not kept_in(folder)
    assert contents(out) == contents(tmp_path / "whole.h5ad")

    plain, resumed = tmp_path / "plain.yaml", tmp_path / "resumed.yaml"
    assert sccr("tune", source, "-o", plain)[0] == 0
    for n in (5, 8):  # the eighth are the scores of all settings
        killed_after(n)
        with pytest.raises(Killed):
            sccr("tune", source, "-o", resumed, "--checkpoint-dir", folder)
        killed_after(None)
        code, _, said = sccr("tune", source, "-o", resumed, "--checkpoint-dir", folder, "--force")
        assert code == 0 and not_repeated(said) == n and "checkpoints: up to about" in said
        assert contents(resumed) == contents(plain) and not kept_in(folder)
        resumed.unlink()


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "sccr_node", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def killed_at(folder, n, *words, by=signal.SIGKILL):
    """End a command once so many stages are kept; return its exit code and what it said."""
    process, begin = start(*words), time.monotonic()
    while len(kept_in(folder)) < n and process.poll() is None:
        assert time.monotonic() < begin + 60
        time.sleep(0.002)
    process.send_signal(by)
    said = process.communicate(timeout=12)[0]
    return process.returncode, said


def test_a_benchmark_goes_on_within_a_run(source, tmp_path, sccr):
    table, folder = tmp_path / "table.tsv", tmp_path / "kept"
    command = (
        "benchmark", source, "--methods", "sccr,scfp", "--rates", "0.4", "--seeds", "0", "-o", table,
        "--checkpoint-dir", folder, "--threads", "1",
    )  # fmt: skip
    code, _ = killed_at(folder, 3, *command)
    assert code == -signal.SIGKILL
    code, _, said = sccr(*command)
    assert code == 0 and not_repeated(said.split("scFP")[0]) >= 3
    assert not list(folder.iterdir())
    plain = tmp_path / "plain.tsv"
    assert sccr(*command[:-4], "--threads", "1", "-o", plain)[0] == 0

    def scores(path):
        lines = [line.split("\t") for line in path.read_text().splitlines()]
        varying = {lines[0].index("seconds"), lines[0].index("peak_mb")}
        return [[value for at, value in enumerate(line) if at not in varying] for line in lines]

    assert scores(table) == scores(plain)
    # One warning for all runs, and what was not there before goes.
    code, _, said = sccr(*command, "--force", "--checkpoint-dir", plain)
    assert code == 0 and said.count("warning: cannot keep checkpoints") == 1
    folder.rmdir()
    assert sccr(*command, "--force")[0] == 0 and not folder.exists()


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_run_that_was_really_killed_goes_on(source, tmp_path, sccr, suffix):
    whole, out, folder = tmp_path / f"whole.{suffix}", tmp_path / f"out.{suffix}", tmp_path / "kept"
    assert sccr("impute", source, whole)[0] == 0
    for n in (1, 3, 6):
        code, _ = killed_at(folder, n, "impute", source, out, "--checkpoint-dir", folder)
        assert code == -signal.SIGKILL and len(kept_in(folder)) >= n
    n = len(kept_in(folder))
    code, _, said = sccr("impute", source, out, "--checkpoint-dir", folder)
    assert code == 0 and not_repeated(said) == n
    assert contents(out) == contents(whole) and not list(folder.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {whole.name, out.name, "kept"}


def test_a_signal_while_a_stage_is_kept_ends_the_run_and_leaves_no_half_of_it(source, tmp_path, sccr):
    """The disk takes its time: writing waits for the signal in the middle of the third checkpoint."""
    out, folder = tmp_path / "out.h5ad", tmp_path / "kept"
    code = (
        "import sys, time\n"
        "from sccr_node.storage import blobs, checkpoints\n"
        "from sccr_node.__main__ import main\n"
        "whole, calls = checkpoints._with_digest, []\n"
        "def slowly(header, arrays):\n"
        "    calls.append(1)\n"
        "    parts = whole(header, arrays)\n"
        "    yield next(parts)\n"
        "    if len(calls) == 3:\n"
        "        print('HALF', flush=True)\n"
        "        for _ in range(600):\n"
        "            time.sleep(0.1)\n"
        "            yield memoryview(b'.')\n"
        "    yield from parts\n"
        "checkpoints._with_digest = slowly\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["impute", source, out, "--checkpoint-dir", folder, "--quiet"]
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "HALF\n"
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=12)
    assert process.returncode == 143 and time.monotonic() < begin + 10
    assert len(kept_in(folder)) == 2 and len(list(folder.iterdir())) == 2 and not out.exists()
    code, _, said = sccr("impute", source, out, "--checkpoint-dir", folder)
    assert code == 0 and not_repeated(said) == 2


def test_damaged_checkpoints_are_ignored(source, tmp_path, sccr, killed_after):
    whole, out, folder = tmp_path / "whole.h5ad", tmp_path / "out.h5ad", tmp_path / "kept"
    assert sccr("impute", source, whole)[0] == 0
    killed_after(8)
    with pytest.raises(Killed):
        sccr("impute", source, out, "--checkpoint-dir", folder)
    killed_after(None)
    paths = kept_in(folder)
    content = bytearray(paths[0].read_bytes())
    content[len(content) // 2] ^= 255
    paths[0].write_bytes(content)
    os.truncate(paths[1], 1000)
    for path in paths[2:6]:
        path.unlink()
    paths[2].mkdir()
    os.mkfifo(paths[3])
    paths[4].symlink_to(paths[6])
    paths[5].write_bytes(b"sccr checkpoint 1\n" + b"\xff" * 100)
    code, _, said = sccr("impute", source, out, "--checkpoint-dir", folder)
    assert code == 0 and contents(out) == contents(whole)
    warnings = [line for line in said.splitlines() if "warning: ignoring the checkpoint" in line]
    assert len(warnings) == 1 and "is computed again" in warnings[0]
    assert not_repeated(said) == 2
    # What is not a file is not ours.
    assert sorted(folder.iterdir()) == paths[2:5]


def test_a_disk_that_is_full_or_read_only_is_a_warning(source, tmp_path, sccr, killed_after):
    whole, place = tmp_path / "whole.h5ad", tmp_path / "small"
    assert sccr("impute", source, whole)[0] == 0
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(place)], check=True)
    try:
        out = tmp_path / "full.h5ad"
        code, _, said = sccr("impute", source, out, "--checkpoint-dir", place)
        assert code == 0 and "free); what does not fit is not kept" in said
        assert said.count("warning: cannot keep the stage") == 1
        assert contents(out) == contents(whole) and not list(place.iterdir())
        killed_after(4)
        with pytest.raises(Killed):
            sccr("impute", source, tmp_path / "no.h5ad", "--checkpoint-dir", place)
        killed_after(None)
        n = len(kept_in(place))
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        out = tmp_path / "read_only.h5ad"
        code, _, said = sccr("impute", source, out, "--checkpoint-dir", place)
        assert code == 0 and not_repeated(said) == n > 0 and "warning: cannot keep the stage" in said
        assert contents(out) == contents(whole)
        for folder, out in ((place / "below", "below.h5ad"), (whole, "file.h5ad")):
            code, _, said = sccr("impute", source, tmp_path / out, "--checkpoint-dir", folder)
            assert code == 0 and f"warning: cannot keep checkpoints in {folder}: " in said
            assert contents(tmp_path / out) == contents(whole)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_runs_in_one_folder_do_not_harm_each_other(source, tmp_path, sccr):
    whole, folder = tmp_path / "whole.h5ad", tmp_path / "kept"
    assert sccr("impute", source, whole)[0] == 0
    runs = [start("impute", source, tmp_path / f"{n}.h5ad", "--checkpoint-dir", folder) for n in range(3)]
    for process in runs:
        said = process.communicate(timeout=120)[0]
        assert process.returncode == 0, said
        assert "cannot" not in said and "ignoring" not in said
    for n in range(3):
        assert contents(tmp_path / f"{n}.h5ad") == contents(whole)
    assert not folder.exists() or not list(folder.iterdir())


def test_the_python_interface_has_it(source, tmp_path, killed_after):
    adata = anndata.read_h5ad(source)
    plain = sccr_node.impute(adata, copy=True, quiet=True)
    killed_after(5)
    with pytest.raises(Killed):
        sccr_node.impute(adata, copy=True, quiet=True, checkpoint_dir=tmp_path / "kept")
    assert len(kept_in(tmp_path / "kept")) == 5
    killed_after(4)  # the one stage that would be the ninth is not there
    other = sccr_node.impute(adata, copy=True, quiet=True, checkpoint_dir=str(tmp_path / "kept"))
    assert np.array_equal(*(made.layers["sccr"] for made in (plain, other)))
    assert not list((tmp_path / "kept").iterdir())
    killed_after(None)
    tuning = sccr_node.tune(adata, quiet=True, checkpoint_dir=Path(tmp_path / "kept"))
    assert tuning.parameters == sccr_node.tune(adata, quiet=True).parameters
    with pytest.raises(UsageProblem, match="checkpoint_dir: should"):
        sccr_node.impute(adata, checkpoint_dir=5, quiet=True)


@pytest.mark.parametrize("address", ["https://example.org/prefix", "ftp://example.org/prefix", "S3://bucket/prefix"])
def test_addresses_that_cannot_be_written_are_refused(source, tmp_path, refused, address):
    words = ["--checkpoint-dir", "should be a local folder, or one at s3://, gs:// or az://"]
    refused(2, words, "impute", source, tmp_path / "out.h5ad", "--checkpoint-dir", address)


def test_the_stages_of_the_record_are_those_of_a_whole_run(source, tmp_path, sccr, killed_after):
    import json

    seconds = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        if seconds:
            killed_after(4)
            with pytest.raises(Killed):
                sccr("impute", source, tmp_path / "x.h5ad", "--checkpoint-dir", folder)
            killed_after(None)
        record = folder.with_suffix(".json")
        options = ("--provenance", record, "--checkpoint-dir", folder)
        assert sccr("impute", source, folder.with_suffix(".h5ad"), *options)[0] == 0
        seconds.append(json.loads(record.read_text())["resources"]["seconds"])
    assert all(list(one) == list(other) for one, other in pairwise(seconds))
