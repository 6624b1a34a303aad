"""Parts hold all that belongs to their cells, and their layers come back in the order of the whole."""

import os

import anndata
import numpy as np
import pytest
from scipy import sparse

from sccr_node.anndata_io.reading import open_input
from sccr_node.anndata_io.splitting import PART_KEY, gathered_blocks, part_rows, write_part
from sccr_node.anndata_io.writing import stage_output
from sccr_node.errors import InputProblem

from .inputs import N_CELLS, N_GENES, counts, plain, rich, write_legacy_h5ad, write_ten_x_h5, write_zarr
from .trees import assert_same

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
    with open_input(source) as data:
        write_part(data, ROWS, tmp_path / "part.h5ad")
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
        with open_input(tmp_path / name) as data:
            write_part(data, ROWS, tmp_path / f"part of {name}.h5ad")
        with open_input(tmp_path / f"part of {name}.h5ad") as data:
            assert part_rows(data)[0].tolist() == ROWS.tolist()
            np.testing.assert_array_equal(data.rows(np.arange(6)).toarray(), counts()[ROWS])


def test_layers_come_back_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("sccr_node.anndata_io.splitting.GATHER_ROWS", 4)
    plain().write_h5ad(tmp_path / "in.h5ad")
    layer = counts(seed=9).astype(np.float32) / 7
    batches = [np.flatnonzero(np.arange(N_CELLS) % 3 == code) for code in range(3)]
    opened = []
    for number, rows in enumerate(batches):
        with open_input(tmp_path / "in.h5ad") as data:
            write_part(data, rows, tmp_path / f"{number}.h5ad")
        with open_input(tmp_path / f"{number}.h5ad") as data:
            with stage_output(data, tmp_path / f"{number}.imputed.h5ad") as output:
                output.write_layer("sccr", (len(rows), N_GENES), [sparse.csr_matrix(layer[rows])])
                output.commit()
        opened.append(open_input(tmp_path / f"{number}.imputed.h5ad", "sccr"))
    parts = [context.__enter__() for context in opened]
    found = [part_rows(part) for part in parts]
    assert [n for _, n in found] == [N_CELLS] * 3
    rows = [rows for rows, _ in found]
    blocks = list(gathered_blocks(parts, rows, N_CELLS))
    assert [block.shape[0] for block in blocks] == [4, 4, 4, 4, 4, 3]
    np.testing.assert_array_equal(sparse.vstack(blocks).toarray(), layer)
    # Given in another order they come back the same; with one missing or twice they do not.
    blocks = list(gathered_blocks(parts[::-1], rows[::-1], N_CELLS))
    np.testing.assert_array_equal(sparse.vstack(blocks).toarray(), layer)
    with pytest.raises(InputProblem, match="8 of its 23 cells are in none"):
        list(gathered_blocks(parts[1:], rows[1:], N_CELLS))
    with pytest.raises(InputProblem, match="8 in more than one"):
        list(gathered_blocks([*parts, parts[0]], [*rows, rows[0]], N_CELLS))
    with pytest.raises(InputProblem, match="do not make up the whole"):
        list(gathered_blocks([], [], N_CELLS))
    for context in opened:
        context.__exit__(None, None, None)


def test_whole_is_no_part(tmp_path):
    plain().write_h5ad(tmp_path / "in.h5ad")
    with open_input(tmp_path / "in.h5ad") as data, pytest.raises(InputProblem, match="sccr split"):
        part_rows(data)


def test_damaged_input_leaves_no_part(tmp_path):
    import h5py

    rich().write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad", "r+") as file:
        del file["obsm/frame/x"]
    with open_input(tmp_path / "in.h5ad") as data, pytest.raises(InputProblem, match="the batch of .* cannot be read"):
        write_part(data, ROWS, tmp_path / "part.h5ad")
    assert os.listdir(tmp_path) == ["in.h5ad"]
