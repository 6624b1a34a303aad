"""Compare files object by object and byte by byte: what was in the first must be in the second, in the same place."""

import json
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
from scipy import sparse


def hdf5_objects(path: Path) -> dict[str, str]:
    """Every object and link of an HDF5 file, by name, with its kind."""
    found = {}

    def visit(group: h5py.Group, prefix: str) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            full = f"{prefix}/{name}"
            if isinstance(link, h5py.SoftLink):
                found[full] = f"link to {link.path}"
                continue
            element = group[name]
            found[full] = type(element).__name__
            if isinstance(element, h5py.Group):
                visit(element, full)

    with h5py.File(path) as file:
        visit(file, "")
    return found


def attributes(element) -> dict[str, tuple]:
    """Attributes by name: stored type and size, and bytes (or text)."""
    found = {}
    for name in element.attrs:
        identifier = element.attrs.get_id(name)
        value = element.attrs[name]
        content = value.tobytes() if isinstance(value, np.ndarray) and value.dtype.kind != "O" else str(value)
        found[name] = (identifier.get_type().encode(), identifier.get_space().shape, content)
    return found


def stored_bytes(dataset: h5py.Dataset, raw: bytes) -> list[tuple]:
    """Where the pieces of a dataset lie in the file, and their bytes."""
    if dataset.chunks is not None:
        infos = [dataset.id.get_chunk_info(n) for n in range(dataset.id.get_num_chunks())]
        return [(i.chunk_offset, i.filter_mask, i.byte_offset, raw[i.byte_offset :][: i.size]) for i in infos]
    offset = dataset.id.get_offset()
    if offset is None:  # compact: inside the object's header
        return [(repr(dataset[()]),)]
    return [(offset, raw[offset : offset + dataset.id.get_storage_size()])]


def assert_hdf5_kept(before: Path, after: Path, added: set[str], changed_attributes: set[tuple[str, str]]) -> None:
    """Assert that all objects of a file are in the other as they were, and that nothing was added but ``added``."""
    old, new = hdf5_objects(before), hdf5_objects(after)
    extra = {name for name in new if name not in old}
    assert {name for name in extra if not any(name == key or name.startswith(key + "/") for key in added)} == set()
    assert added <= extra
    raw_old, raw_new = before.read_bytes(), after.read_bytes()
    with h5py.File(before) as first, h5py.File(after) as second:
        for name in ["/", *old]:
            if name != "/":
                assert new[name] == old[name], name
                if old[name].startswith("link"):
                    continue
            a, b = first[name], second[name]
            kept_a, kept_b = attributes(a), attributes(b)
            for key in [attribute for place, attribute in changed_attributes if place == name]:
                kept_a.pop(key, None)
                kept_b.pop(key, None)
            assert kept_a == kept_b, name
            if isinstance(a, h5py.Dataset):
                assert a.id.get_type().encode() == b.id.get_type().encode(), name
                assert (a.shape, a.maxshape, a.chunks, a.scaleoffset) == (b.shape, b.maxshape, b.chunks, b.scaleoffset)
                plist_a, plist_b = a.id.get_create_plist(), b.id.get_create_plist()
                n_filters = plist_a.get_nfilters()
                assert n_filters == plist_b.get_nfilters()
                assert [plist_a.get_filter(n) for n in range(n_filters)] == [
                    plist_b.get_filter(n) for n in range(n_filters)
                ]
                assert stored_bytes(a, raw_old) == stored_bytes(b, raw_new), name


def folder_bytes(path: Path) -> dict[str, bytes]:
    """Every file of a folder, by relative path."""
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def assert_zarr_kept(before: Path, after: Path, added: set[str], column: str) -> None:
    """Assert that all files of a zarr store are in the other as they were, but for metadata on what was added."""
    old, new = folder_bytes(before), folder_bytes(after)
    extra = {name for name in new if name not in old}
    assert {name for name in extra if not any(name.startswith(key + "/") for key in added)} == set()
    assert all(any(name.startswith(key + "/") for name in extra) for key in added)
    for name, content in old.items():
        if name in ("var/.zattrs", "var/zarr.json", ".zmetadata", "zarr.json"):
            assert without_added(json.loads(new[name]), added, column) == without_added(
                json.loads(content), added, column
            ), name
        else:
            assert new[name] == content, name


def without_added(metadata, added: set[str], column: str):
    """Take out of zarr metadata what names the added elements."""
    if isinstance(metadata, dict):
        return {
            key: without_added(value, added, column)
            for key, value in metadata.items()
            if not any(key == name or key.startswith(name + "/") for name in added)
        }
    if isinstance(metadata, list):
        return [without_added(value, added, column) for value in metadata if value != column]
    return metadata


def assert_same(first, second) -> None:
    """Assert that two AnnData objects, or values kept in them, are equal, types and all."""
    if isinstance(first, anndata.AnnData):
        assert_same(first.X, second.X)
        for slot in ("obs", "var"):
            assert_same(getattr(first, slot), getattr(second, slot))
        for slot in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
            assert_same(dict(getattr(first, slot)), dict(getattr(second, slot)))
        assert (first.raw is None) == (second.raw is None)
        if first.raw is not None:
            assert_same(first.raw.X, second.raw.X)
            assert_same(first.raw.var, second.raw.var)
    elif isinstance(first, dict):
        assert set(first) == set(second)
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, pd.DataFrame):
        pd.testing.assert_frame_equal(first, second)
    elif sparse.issparse(first):
        assert type(first) is type(second)
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first.toarray(), second.toarray())
    else:
        assert np.asarray(first).dtype == np.asarray(second).dtype
        np.testing.assert_array_equal(first, second)
