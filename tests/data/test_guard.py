"""Damage is what lacks bytes or fails its checksum; what is not installed, or the system refuses, is something else."""

import errno
import json
import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest

from sccr_node.data.dataset import open_dataset
from sccr_node.data.guard import one_line, reading
from sccr_node.errors import InputMissing, InputProblem, NotEnoughResources
from tests.support.inputs import counts, plain, write_ten_x_h5, write_zarr

pytestmark = pytest.mark.filterwarnings("ignore")


def reason(path):
    with pytest.raises(InputProblem) as caught, open_dataset(path) as data:
        list(data.blocks())
        data.gene_names  # noqa: B018
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def encode_with(dataset, number, label):
    """Replace a dataset by one that says it went through a filter that nobody has."""
    values, attributes, parent, name = dataset[:], dict(dataset.attrs), dataset.parent, dataset.name.split("/")[-1]
    options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    options.set_chunk(values.shape)
    options.set_filter(number, h5py.h5z.FLAG_OPTIONAL, ())
    del parent[name]
    made = h5py.h5d.create(
        parent.id, name.encode(), h5py.h5t.py_create(values.dtype), h5py.h5s.create_simple(values.shape), options
    )
    made.write_direct_chunk((0,) * values.ndim, values.tobytes())
    parent[name].attrs.update(attributes)
    return label


@pytest.mark.parametrize(("number", "name"), [(32013 + 80, "number 32093"), (305, "lzo")])
@pytest.mark.parametrize("kind", ["X/data", "X/indptr", "10x"])
def test_a_filter_that_is_not_installed(tmp_path, number, name, kind):
    path = tmp_path / "in.h5"
    if kind == "10x":
        write_ten_x_h5(path, counts(), [(f"I{n}", f"g{n}", "Gene Expression") for n in range(counts().shape[1])])
    else:
        plain().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        encode_with(file["matrix/data" if kind == "10x" else kind], number, name)
    message = reason(path)
    assert f"it is compressed with '{name}', an HDF5 filter that is not installed here" in message
    assert "pip install hdf5plugin" in message
    assert "damaged" not in message


COMPRESSED = """
import sys
if {missing}:
    sys.modules["hdf5plugin"] = None
from sccr_node.cli.app import run
sys.exit(run(["impute", {source!r}, {output!r}]))
"""


@pytest.mark.parametrize(
    ("code", "filter_name", "output"),
    [(32015, "zstd", "out.h5ad"), (32004, "lz4", "out.zarr"), (32008, "bitshuffle", "out.h5ad")],
)
def test_hdf5plugin_is_used_if_installed_and_named_if_not(tmp_path, few_cells, code, filter_name, output):
    source = tmp_path / "in.h5ad"
    writer = (
        "import sys, anndata, hdf5plugin\n"
        "anndata.read_h5ad(sys.argv[1]).write_h5ad(sys.argv[2], compression=int(sys.argv[3]))"
    )
    few_cells.write_h5ad(tmp_path / "plain.h5ad")
    subprocess.run([sys.executable, "-c", writer, tmp_path / "plain.h5ad", source, str(code)], check=True)
    target = tmp_path / output
    for missing in (True, False):
        script = COMPRESSED.format(missing=missing, source=str(source), output=str(target))
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        if missing:
            assert (done.returncode, done.stderr.count("\n")) == (65, 1)
            assert f"compressed with '{filter_name}'" in done.stderr and "pip install hdf5plugin" in done.stderr
            assert not target.exists()
        else:
            assert done.returncode == 0, done.stderr
    plain_target = tmp_path / f"plain_{output}"
    script = COMPRESSED.format(missing=True, source=str(tmp_path / "plain.h5ad"), output=str(plain_target))
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
    with open_dataset(target, "sccr") as ours, open_dataset(plain_target, "sccr") as peer:
        assert (ours.rows(np.arange(ours.n_cells)) != peer.rows(np.arange(peer.n_cells))).nnz == 0


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_codec_that_is_not_installed(tmp_path, zarr_format):
    write_zarr(tmp_path / "in.zarr", plain(), zarr_format, consolidated=False)
    path = tmp_path / "in.zarr/X/data" / (".zarray" if zarr_format == 2 else "zarr.json")
    described = json.loads(path.read_text())
    if zarr_format == 2:
        described["compressor"] = {"id": "jpegxl", "level": 1}
    else:
        described["codecs"][-1] = {"name": "jpegxl", "configuration": {}}
    path.write_text(json.dumps(described))
    message = reason(tmp_path / "in.zarr")
    assert "it is compressed with 'jpegxl', which is not installed here" in message
    assert "damaged" not in message


def test_a_cut_description_is_damage(tmp_path):
    write_zarr(tmp_path / "in.zarr", plain(), 2, consolidated=False)
    path = tmp_path / "in.zarr/X/data/.zarray"
    path.write_text(path.read_text()[:40])
    assert "damaged or incomplete" in reason(tmp_path / "in.zarr")


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (EOFError("Compressed file ended"), InputProblem, "damaged or incomplete"),
        (zlib.error("invalid distance"), InputProblem, "damaged or incomplete"),
        (KeyError("Unable to synchronously open object (bad heap free list)"), InputProblem, "damaged or incomplete"),
        (ValueError("cannot reshape array of size 3 into shape (10,)"), InputProblem, "damaged or incomplete"),
        (KeyError("Unable to synchronously open object (object 'a' doesn't exist)"), InputProblem, "not stored as"),
        (TypeError("a"), InputProblem, "not stored as expected"),
        # numcodecs; zarr before 3.2; zarr since then
        (ValueError("codec not available: 'jpegxl'"), InputProblem, "compressed with 'jpegxl', which is not installed"),
        (KeyError("Unknown codec: 'jpegxl'"), InputProblem, "compressed with 'jpegxl', which is not installed"),
        (ValueError("An implementation for codec 'jpegxl' is not …"), InputProblem, "compressed with 'jpegxl'"),
        (OSError(errno.ENOENT, "gone"), InputMissing, "no such file"),
        (OSError(errno.ESTALE, "stale"), NotEnoughResources, "the file system failed"),
    ],
)  # fmt: skip
def test_the_words_for_a_failure(tmp_path, error, expected, words):
    with pytest.raises(expected, match=words) as caught, reading(tmp_path / "in.h5ad", "the matrix"):
        raise error
    assert ("damaged" in str(caught.value)) == words.startswith("damaged")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (AttributeError("'Group' object has no attribute 'x'"), "'Group' object has no attribute 'x'"),
        (KeyError("no 'a' here"), "no 'a' here"),
        (KeyError("a"), "a"),
        (ValueError(""), "ValueError"),
        (ValueError("one\ntwo"), "one"),
    ],
)
def test_one_line_keeps_the_quotes_in_pairs(error, line):
    assert one_line(error) == line


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_file_system_that_fails_while_the_format_is_recognised(tmp_path, code, monkeypatch):
    plain().write_h5ad(tmp_path / "in.h5ad")

    def failing(path):
        raise OSError(code, "Unable to determine if file is accessible as hdf5")

    monkeypatch.setattr(h5py, "is_hdf5", failing)
    with pytest.raises(NotEnoughResources, match="cannot read the contents of"), open_dataset(tmp_path / "in.h5ad"):
        pass
