"""Parts contain everything that belongs to their cells, and know their place in the whole."""

import os

import anndata
import h5py
import numpy as np
import pytest
from scipy import sparse

from sccr_node.data.dataset import open_dataset
from sccr_node.data.parts import PART_KEY, part_record, write_part
from sccr_node.errors import InputProblem
from tests.support.inputs import N_CELLS, N_GENES, counts, plain, rich, write_legacy_h5ad, write_ten_x_h5, write_zarr
from tests.support.trees import assert_same

pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = np.array([0, 4, 5, 6, 11, 22])


def dense(adata: anndata.AnnData) -> anndata.AnnData:
    """The same with sparse matrices of one kind: parts are CSR throughout."""
    for mapping in (adata.layers, adata.obsm, adata.obsp):
        for key, value in mapping.items():
            if sparse.issparse(value):
                mapping[key] = value.tocsr()
    return adata


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_part_holds_everything_of_its_cells(tmp_path, kind):
    adata = rich()
    del adata.uns["ranks"]
    source = tmp_path / f"in.{kind}"
    adata.write_h5ad(source, convert_strings_to_categoricals=False) if kind == "h5ad" else write_zarr(source, adata, 2)
    original = anndata.read_h5ad(source) if kind == "h5ad" else anndata.read_zarr(source)
    with open_dataset(source) as data:
        write_part(data, ROWS, tmp_path / "part.h5ad", {})
    part = anndata.read_h5ad(tmp_path / "part.h5ad")
    assert part.uns.pop(PART_KEY)["rows"].tolist() == ROWS.tolist()
    expected = original[ROWS].copy()
    for column in ("level", "sample"):  # a part keeps the categories of the whole
        expected.obs[column] = original.obs[column].iloc[ROWS]
    assert_same(dense(part), dense(expected))
    assert sorted(os.listdir(tmp_path)) == sorted([source.name, "part.h5ad"])


def test_parts_of_ten_x_and_of_old_files(tmp_path):
    write_ten_x_h5(tmp_path / "in.h5", counts(), [(f"ID{n}", "same", "Gene Expression") for n in range(N_GENES)])
    write_legacy_h5ad(tmp_path / "old.h5ad")
    for name in ("in.h5", "old.h5ad"):
        with open_dataset(tmp_path / name) as data:
            write_part(data, ROWS, tmp_path / f"part of {name}.h5ad", {})
        with open_dataset(tmp_path / f"part of {name}.h5ad") as data:
            assert part_record(data)["rows"].tolist() == ROWS.tolist()
            np.testing.assert_array_equal(data.rows(np.arange(6)).toarray(), counts()[ROWS])


def test_part_knows_its_place_in_the_whole(tmp_path):
    plain().write_h5ad(tmp_path / "in.h5ad")
    with open_dataset(tmp_path / "in.h5ad") as data:
        write_part(data, ROWS, tmp_path / "part.h5ad", {"batch": "é", "target_sum": 1.5})
    with open_dataset(tmp_path / "part.h5ad") as data:
        record = part_record(data)
    assert record.pop("rows").tolist() == ROWS.tolist()
    assert record == {"n_cells": N_CELLS, "batch": "é", "target_sum": 1.5}


def test_part_that_lost_cells_since_is_refused(tmp_path):
    plain().write_h5ad(tmp_path / "in.h5ad")
    with open_dataset(tmp_path / "in.h5ad") as data:
        write_part(data, ROWS, tmp_path / "part.h5ad", {})
    anndata.read_h5ad(tmp_path / "part.h5ad")[:4].copy().write_h5ad(tmp_path / "fewer.h5ad")
    with (
        open_dataset(tmp_path / "fewer.h5ad") as data,
        pytest.raises(InputProblem, match="has 4 cells, but sccr split wrote"),
    ):
        part_record(data)


def test_whole_is_no_part(tmp_path):
    plain().write_h5ad(tmp_path / "in.h5ad")
    with open_dataset(tmp_path / "in.h5ad") as data, pytest.raises(InputProblem, match="sccr split"):
        part_record(data)


def test_damaged_input_leaves_no_part(tmp_path):
    rich().write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad", "r+") as file:
        del file["obsm/frame/x"]
    with open_dataset(tmp_path / "in.h5ad") as data, pytest.raises(InputProblem, match="cannot read obsm/frame of .*"):
        write_part(data, ROWS, tmp_path / "part.h5ad", {})
    assert os.listdir(tmp_path) == ["in.h5ad"]


def test_a_part_from_zarr_is_the_same_in_every_run(tmp_path):
    adata = rich()
    del adata.uns["ranks"]
    adata.uns |= {f"key_{i}": {f"{i}_{j}": j for j in range(9, 0, -1)} for i in range(9, 0, -1)}
    write_zarr(tmp_path / "in.zarr", adata, 2)
    adata.write_h5ad(tmp_path / "in.h5ad", convert_strings_to_categoricals=False)
    for name, source in (("first", "in.zarr"), ("second", "in.zarr")):
        with open_dataset(tmp_path / source) as data:
            write_part(data, ROWS, tmp_path / f"{name}.h5ad", {})
    assert (tmp_path / "first.h5ad").read_bytes() == (tmp_path / "second.h5ad").read_bytes()


@pytest.mark.parametrize(
    ("rows", "said"), [(3, "no list"), ([0, 4, 5, 6, 11, 99], "not among"), ([-1, 4, 5, 6, 11, 22], "not among")]
)
def test_rows_that_are_none_of_the_whole_are_refused(tmp_path, rows, said):
    plain().write_h5ad(tmp_path / "in.h5ad")
    with open_dataset(tmp_path / "in.h5ad") as data:
        write_part(data, ROWS, tmp_path / "part.h5ad", {})
    with h5py.File(tmp_path / "part.h5ad", "r+") as file:
        kept = dict(file[f"uns/{PART_KEY}/rows"].attrs)
        del file[f"uns/{PART_KEY}/rows"]
        file[f"uns/{PART_KEY}/rows"] = rows
        file[f"uns/{PART_KEY}/rows"].attrs.update(kept | ({"encoding-type": "numeric-scalar"} if rows == 3 else {}))
    with open_dataset(tmp_path / "part.h5ad") as data, pytest.raises(InputProblem, match=said):
        part_record(data)
