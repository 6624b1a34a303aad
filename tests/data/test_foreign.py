"""What other programs write is called by its name, with a way to go on."""

import gzip
import tarfile
import zipfile

import h5py
import pytest
import zarr

from sccr_node.data.dataset import open_dataset
from sccr_node.errors import InputProblem
from tests.support.inputs import plain


def reason(path):
    with pytest.raises(InputProblem) as caught, open_dataset(path):
        pass
    message = str(caught.value)
    assert message.startswith(f"{path} is ")
    assert "\n" not in message and "damaged" not in message and len(message) < 300
    return message


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["matrix", "row_attrs/Gene", "col_attrs/CellID", "layers/a"], ["loom", "anndata.io.read_loom", "write_h5ad"]),
        (["barcode_idx", "barcodes", "count", "feature_idx", "features/id", "gem_group", "umi"],
         ["list of molecules", "filtered_feature_bc_matrix.h5"]),
        (["barcode", "gem_group", "gene", "genome", "reads", "umi"], ["list of molecules"]),  # version 2
        (["assays/RNA/counts", "cell.names", "meta.data", "misc"], ["Seurat", "anndataR::write_h5ad"]),
        (["matrix", "numbers"], ["HDF5 file, but neither AnnData"]),
    ],
)  # fmt: skip
def test_hdf5_of_other_programs(tmp_path, keys, words):
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for key in keys:
            file[key] = [1, 2]
    for word in words:
        assert word in reason(tmp_path / "in.h5")


def test_spatial_data(tmp_path):
    root = zarr.open_group(tmp_path / "in.zarr", mode="w")
    root.create_group("images")
    root.create_group("tables/table")
    assert "a SpatialData store: give one of the tables in its folder tables" in reason(tmp_path / "in.zarr")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("seurat.rds", ["an R object", "anndataR::write_h5ad"]),
        ("all.RData", ["an R workspace"]),
        ("counts.csv", ["a text table", "scanpy.read_csv", "write_h5ad"]),
        ("counts.csv.gz", ["a text table"]),
        ("counts.tsv", ["a text table"]),
        ("counts.loom", ["a loom file"]),
        ("matrix.mtx.gz", ["give its folder"]),
        ("sample.cloupe", ["a Loupe file", "filtered_feature_bc_matrix.h5"]),
        ("counts.h5ad", ["not an HDF5 file: give an .h5ad file"]),
    ],
)
def test_files_of_other_programs(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"some text")
    for word in words:
        assert word in reason(tmp_path / name)


def test_archives_and_packed_files_are_told_by_their_content(tmp_path):
    plain().write_h5ad(tmp_path / "plain.h5ad")
    with tarfile.open(tmp_path / "in.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "plain.h5ad")
    with zipfile.ZipFile(tmp_path / "in.download", "w") as archive:
        archive.write(tmp_path / "plain.h5ad")
    (tmp_path / "in.h5ad").write_bytes(gzip.compress((tmp_path / "plain.h5ad").read_bytes()))
    assert "an archive: unpack it first" in reason(tmp_path / "in.tar.gz")
    assert "an archive: unpack it first" in reason(tmp_path / "in.download")
    assert "packed by gzip: unpack it first, with gunzip" in reason(tmp_path / "in.h5ad")


def test_a_folder_of_folders_and_of_files(tmp_path):
    for name in ("raw_feature_bc_matrix", "filtered_feature_bc_matrix", "Gene/raw"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "matrix.mtx.gz").touch()
    (tmp_path / "filtered_feature_bc_matrix.h5").touch()
    expected = "give what is in it ('Gene/raw', 'filtered_feature_bc_matrix', 'filtered_feature_bc_matrix.h5', 'raw_"
    assert expected in reason(tmp_path)
