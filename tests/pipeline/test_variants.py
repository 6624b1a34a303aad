"""Whatever the storage, an input is imputed, converted, split and gathered like any other, and keeps all it has."""

import re
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata._io.specs.registry import IORegistryError
from anndata.io import read_elem
from scipy import sparse

from sccr_node.__main__ import main
from tests.support.trees import assert_same, folder_bytes
from tests.support.variants import N_CELLS, VARIANTS, WITHOUT_PARTS, values

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def imputed_base(tmp_path_factory):
    """What is imputed from the plain file."""
    folder = tmp_path_factory.mktemp("base")
    VARIANTS["base.h5ad"](folder / "base.h5ad")
    sccr("impute", folder / "base.h5ad", folder / "out.h5ad")
    return anndata.read_h5ad(folder / "out.h5ad").layers["sccr"]


def sccr(*arguments, code=0):
    assert main([*map(str, arguments), "--quiet", *(["--genes", "all"] if arguments[0] != "gather" else [])]) == code


def opened(path):
    return h5py.File(path) if path.suffix == ".h5ad" else zarr.open_group(path, mode="r", use_consolidated=False)


def content(element):
    """Everything in a stored element, read by h5py and zarr alone, in types that both share."""
    attributes = {key: plain_value(value) for key, value in element.attrs.items()}
    if hasattr(element, "keys"):
        return attributes, {key: content(element[key]) for key in element}
    is_null = element.shape is None or attributes.get("encoding-type") == "null"
    for key in ("encoding-type", "encoding-version"):  # text and None get AnnData's if they had none
        attributes.pop(key, None)
    return attributes, None if is_null else plain_value(element[()])


def plain_value(value):
    if getattr(value, "shape", ()) is None:
        return None
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value


def known(group):
    """Whether anndata knows everything in a group."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read_elem(group)
        except (ImportError, IORegistryError):
            return False
    return True


def assert_kept(source, output, added):
    """Assert that all slots of a file are in another one, of any format, as anndata or the libraries read them."""
    before, after = opened(source), opened(output)
    assert set(after) - set(before) <= {"layers", "obsm", "uns"}
    assert set(before) - set(after) <= {"raw"}
    for slot in set(before) & set(after):
        keys = set(before[slot]) if slot in ("layers", "obsm", "obsp", "uns", "varm", "varp") else {None}
        for key in keys:
            first, second = (root[slot] if key is None else root[slot][key] for root in (before, after))
            if not known(first):
                assert content(first) == content(second), (slot, key)
                continue
            wanted, got = read_elem(first), read_elem(second)
            if slot in ("obs", "var"):
                wanted, got = as_table(wanted), as_table(got.drop(columns=[c for c in added if c in got]))
            if isinstance(wanted, np.ndarray) and wanted.dtype.names:  # text in records has other lengths
                wanted, got = plain_value(wanted), plain_value(got)
            assert_same(shared_types(wanted), shared_types(got))
    assert plain_value_of(before.attrs) == plain_value_of(after.attrs)


def as_table(value):
    """Tables by value: names that are bytes in one format are text in the other, and pandas 3 has a type for it."""
    if not isinstance(value, pd.DataFrame):
        return value
    value = value.astype({name: object for name in value.columns if isinstance(value[name].dtype, pd.StringDtype)})
    value.index, value.columns = value.index.astype(str), value.columns.astype(str)
    return value


def shared_types(value):
    """Text arrays are objects in one format, and a type of numpy's in the other."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "OTU":
        return value.astype(object)
    return {key: shared_types(item) for key, item in value.items()} if isinstance(value, dict) else as_table(value)


def plain_value_of(attributes):
    return {key: plain_value(value) for key, value in attributes.items()}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_every_variant_is_imputed_to_every_format(name, suffix, tmp_path, imputed_base):
    source, output = tmp_path / name, tmp_path / f"out.{suffix}"
    VARIANTS[name](source)
    sccr("impute", source, output)
    layer = read_elem(opened(output)["layers"]["sccr"])
    np.testing.assert_array_equal(without_types(layer), imputed_base)
    assert_kept(source, output, {"sccr_imputed"})


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - set(WITHOUT_PARTS)))
def test_every_variant_is_split_and_gathered(name, tmp_path):
    source = tmp_path / name
    VARIANTS[name](source)
    sccr("split", source, "--batch-key", "sample", "--outdir", tmp_path / "parts")
    parts = sorted((tmp_path / "parts").glob("*.h5ad"))
    assert len(parts) == 3
    for part in parts:
        assert_part(source, part)
    outputs = []
    depth = (tmp_path / "parts" / "target_sum.txt").read_text().strip()
    for part in parts:
        outputs.append(tmp_path / f"imputed_{part.name}")
        sccr("impute", part, outputs[-1], "--target-sum", depth)
    suffix = source.suffix
    sccr("gather", source, tmp_path / f"gathered{suffix}", *outputs)
    sccr("impute", source, tmp_path / f"one{suffix}", "--batch-key", "sample")
    if suffix == ".h5ad":
        assert (tmp_path / "gathered.h5ad").read_bytes() == (tmp_path / "one.h5ad").read_bytes()
    else:
        assert folder_bytes(tmp_path / "gathered.zarr") == folder_bytes(tmp_path / "one.zarr")


def assert_part(source, part):
    whole, opened_part = opened(source), opened(part)
    rows = opened_part["uns/sccr_part/rows"][()]
    assert rows.tolist() == [row for row in range(N_CELLS) if row % 3 == rows[0]]
    for slot in set(whole) - {"uns", "raw"}:
        wanted = whole[slot] if known(whole[slot]) else None
        if wanted is None:
            assert content(whole[slot]) == content(opened_part[slot]), slot
            continue
        taken = taken_of(read_elem(wanted), rows, slot)
        assert_same(without_types(taken), without_types(read_elem(opened_part[slot])))
    if "raw" in whole and hasattr(whole["raw"], "keys"):
        raw = read_elem(opened_part["raw/X"])
        np.testing.assert_array_equal(raw.toarray(), read_elem(whole["raw/X"]).toarray()[rows])
        assert content(whole["raw/var"]) == content(opened_part["raw/var"])
    for key in whole["uns"] if "uns" in whole else ():
        if whole["uns"][key].attrs.get("encoding-type") != "rec-array":
            assert content(whole["uns"][key])[1] == content(opened_part["uns"][key])[1], key


def taken_of(value, rows, slot):
    """What pandas, numpy and scipy take of an element."""
    if slot in ("var", "varm", "varp") or slot not in ("obs", "obsm", "layers", "X", "obsp"):
        return value
    if isinstance(value, dict):
        return {key: taken_of(item, rows, slot) for key, item in value.items()}
    if isinstance(value, pd.DataFrame):
        return value.iloc[rows]
    if sparse.issparse(value):  # before 1.15, SciPy takes no rows of a matrix with indices and pointers of two types
        value = value.toarray()
    return value[rows][:, rows] if slot == "obsp" else value[rows]


def without_types(value):
    if isinstance(value, dict):
        return {key: without_types(item) for key, item in value.items()}
    if isinstance(value, pd.DataFrame):
        return as_table(value)
    return value.toarray() if sparse.issparse(value) else value


@pytest.mark.parametrize(("name", "element"), WITHOUT_PARTS.items())
def test_what_cannot_be_split_is_named_before_any_work(name, element, tmp_path, capsys):
    VARIANTS[name](tmp_path / name)
    sccr("split", tmp_path / name, "--batch-key", "sample", "--outdir", tmp_path / "parts", code=65)
    said = capsys.readouterr().err
    slot, key = element.split("/")
    assert re.search(
        rf"cannot split .*{name}: {element} is stored as .*; remove it first \(del adata.{slot}\['{key}", said
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_variants_hold_what_they_should(tmp_path):
    for name in ("noncanonical_csr.h5ad", "noncanonical_csc.h5ad", "bytes.h5ad"):
        VARIANTS[name](tmp_path / name)
        matrix = anndata.read_h5ad(tmp_path / name).X
        np.testing.assert_array_equal(matrix.toarray() if sparse.issparse(matrix) else matrix, values())
