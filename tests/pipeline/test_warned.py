"""What used to be accepted in silence: a layer that is a result, raw, swapped axes, too few cells, counts elsewhere."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import sccr_node
from sccr_node.__main__ import main
from sccr_node.errors import InputProblem
from sccr_node.results import open_result
from tests.support.simulated import simulated

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def adata():
    made = simulated(n_cells=120, n_genes=130, n_types=3, n_batches=3, depth=900)
    return made[:, np.asarray(made.X.sum(axis=0)).ravel() > 0].copy()


@pytest.fixture
def run(capsys, tmp_path):
    def run(command, *arguments, code=0):
        assert main([command, *map(str, arguments), "--quiet"]) == code
        return capsys.readouterr().err

    return run


def stored(adata, path):
    if path.suffix == ".zarr":
        adata.write_zarr(path)
    else:
        adata.write_h5ad(path)
    return path


def logs_of(adata):
    made = adata.copy()
    scaled = adata.X.multiply(1e3 / adata.X.sum(axis=1)).tocsr()
    made.X = scaled.log1p().astype(np.float32)
    return made


def dense(matrix):
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


# --- a result again


@pytest.mark.parametrize("layer", ["mine", "mine_recovered"])
def test_a_result_is_imputed_again_only_if_its_scale_is_given(adata, run, tmp_path, layer):
    source, once = stored(adata, tmp_path / "in.h5ad"), tmp_path / "once.h5ad"
    run("impute", source, once, "--key-added", "mine", "--write", "both")
    said = run("impute", once, tmp_path / "twice.h5ad", "--layer", layer, code=65)
    assert f"layer '{layer}' of {once} is a result of sccr impute already" in said
    assert not (tmp_path / "twice.h5ad").exists()
    said = run("split", once, "--layer", layer, "--batch-key", "batch", "--outdir", tmp_path / "parts", code=65)
    assert "is a result of sccr impute already" in said
    assert not (tmp_path / "parts").exists()
    said = run("impute", once, tmp_path / "twice.h5ad", "--layer", layer, "--input-scale", "log1p")
    assert "is imputed again" in said
    with pytest.raises(InputProblem, match="leave out layer to impute X"):
        sccr_node.impute(anndata.read_h5ad(once), layer=layer, quiet=True)


@pytest.mark.parametrize("name", ["in.h5ad", "in.zarr"])
def test_a_result_that_was_made_x_is_still_known_as_one(adata, run, tmp_path, name):
    def path(stem):
        return tmp_path / name.replace("in", stem)

    source = stored(adata, path("in"))
    run("impute", source, path("once"))
    run("promote", path("once"), path("promoted"), "--former", "before")
    again = path("twice"), "--key-added", "again"
    said = run("impute", path("promoted"), *again, code=65)
    assert (
        f"X of {path('promoted')} is a result of sccr impute already: give --layer before to impute the former X"
        in said
    )
    said = run("split", path("promoted"), "--batch-key", "batch", "--outdir", tmp_path / "parts", code=65)
    assert "is a result of sccr impute already" in said
    assert not path("twice").exists() and not (tmp_path / "parts").exists()
    opened = anndata.read_zarr if name.endswith("zarr") else anndata.read_h5ad
    with pytest.raises(InputProblem, match="give layer before to impute the former X"):
        sccr_node.impute(opened(path("promoted")), key_added="again", quiet=True)
    said = run("impute", path("promoted"), *again, "--input-scale", "log1p")
    assert "X is a result of sccr impute already, and is imputed again" in said
    run("impute", path("promoted"), path("former"), "--key-added", "again", "--layer", "before")
    np.testing.assert_array_equal(
        dense(opened(path("former")).layers["again"]), dense(opened(path("once")).layers["sccr"])
    )


def test_a_result_is_known_under_another_name_and_after_the_way_back(adata, run, tmp_path):
    source, once, promoted, other, back = (tmp_path / f"{name}.h5ad" for name in ("in", "once", "x", "other", "back"))
    stored(adata, source)
    run("impute", source, once)
    run("promote", once, promoted)
    run("promote", promoted, other, "--layer", "unimputed", "--former", "kept")
    said = run("impute", other, tmp_path / "twice.h5ad", "--layer", "kept", "--key-added", "again", code=65)
    assert "layer 'kept'" in said and "leave out --layer to impute X" in said
    run("impute", other, tmp_path / "twice.h5ad", "--key-added", "again")
    run("promote", promoted, back, "--layer", "unimputed", "--former", "sccr")
    assert "moved" not in anndata.read_h5ad(back).uns["sccr"]
    run("impute", back, tmp_path / "thrice.h5ad", "--key-added", "again")


# --- what the values are


def refused(run, values, adata, tmp_path, *arguments):
    made = adata.copy()
    made.X = sparse.csr_matrix(values, dtype=np.float32)
    before = set(tmp_path.iterdir())
    source = stored(made, tmp_path / "in.h5ad")
    said = run("impute", source, tmp_path / "out.h5ad", *arguments, code=65)
    assert len(said.splitlines()) == 1
    assert set(tmp_path.iterdir()) - before == {source}
    return said


def test_counts_with_one_fraction(adata, run, tmp_path):
    values = adata.X.copy().astype(np.float32)
    values.data[0] += 0.5
    said = refused(run, values, adata, tmp_path)
    assert "many integers" in said and "--input-scale counts" in said and "base 2" not in said
    assert "look like" not in run("impute", tmp_path / "in.h5ad", tmp_path / "out.h5ad", "--input-scale", "counts")


def test_counts_of_some_cells_among_logarithms(adata, run, tmp_path):
    values = sparse.vstack([adata.X[:5], logs_of(adata).X[5:]])
    assert "only integers in 5 of 120 cells" in refused(run, values, adata, tmp_path)


def test_a_base_for_integers(adata, run, tmp_path):
    assert "leave out --log-base" in refused(run, adata.X, adata, tmp_path, "--log-base", "2")


def test_natural_logarithms_may_be_called_so(adata, run, tmp_path):
    made = logs_of(adata)
    made.uns["log1p"] = {"base": "e"}
    source = stored(made, tmp_path / "in.h5ad")
    layers = []
    for number, arguments in enumerate(([], ["--log-base", "e"], ["--log-base", "e", "--input-scale", "log1p"])):
        run("impute", source, tmp_path / f"out{number}.h5ad", *arguments)
        layers.append(dense(anndata.read_h5ad(tmp_path / f"out{number}.h5ad").layers["sccr"]))
    np.testing.assert_array_equal(layers[0], layers[1])
    np.testing.assert_array_equal(layers[0], layers[2])


# --- raw


def with_raw(adata, genes, order=slice(None, None, -1)):
    """Return logs of some genes in X, with counts of all of them, in another order, in raw."""
    made = logs_of(adata)[:, genes].copy()
    made.raw = adata[:, order].copy()
    return made


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
@pytest.mark.parametrize("storage", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_raw_is_matched_to_var_by_name(adata, run, tmp_path, suffix, storage):
    genes = np.sort(np.random.default_rng(1).permutation(adata.n_vars)[:90])
    chosen = with_raw(adata, genes)
    matrix = dense(chosen.raw.X)
    chosen.raw = anndata.AnnData(storage(matrix), obs=chosen.obs, var=chosen.raw.var)
    source = stored(chosen, tmp_path / f"in{suffix}")
    run("impute", source, tmp_path / "out.h5ad", "--layer", "raw")
    plain = stored(adata[:, genes].copy(), tmp_path / "plain.h5ad")
    run("impute", plain, tmp_path / "expected.h5ad")
    found, expected = (anndata.read_h5ad(tmp_path / name) for name in ("out.h5ad", "expected.h5ad"))
    np.testing.assert_array_equal(dense(found.layers["sccr"]), dense(expected.layers["sccr"]))
    assert found.uns["sccr"]["input"]["layer"] == "raw"
    sccr_node.impute(chosen, layer="raw", quiet=True)
    np.testing.assert_array_equal(dense(chosen.layers["sccr"]), dense(expected.layers["sccr"]))


def test_raw_is_split_and_gathered(adata, run, tmp_path):
    source = stored(with_raw(adata, slice(0, 80)), tmp_path / "in.h5ad")
    parts, options = tmp_path / "parts", ("--layer", "raw")
    run("split", source, *options, "--batch-key", "batch", "--outdir", parts)
    depth = (parts / "target_sum.txt").read_text().strip()
    made = []
    for part in sorted(parts.glob("*.h5ad")):
        made.append(tmp_path / f"imputed-{part.name}")
        run("impute", part, made[-1], *options, "--genes", parts / "genes.txt", "--target-sum", depth)
    run("gather", source, tmp_path / "gathered.h5ad", *made)
    run("impute", source, tmp_path / "one.h5ad", *options, "--batch-key", "batch")
    found, expected = (anndata.read_h5ad(tmp_path / name) for name in ("gathered.h5ad", "one.h5ad"))
    np.testing.assert_array_equal(dense(found.layers["sccr"]), dense(expected.layers["sccr"]))


def test_raw_that_does_not_fit(adata, run, tmp_path):
    lacking = with_raw(adata, slice(0, 50), slice(3, None))
    said = run("impute", stored(lacking, tmp_path / "a.h5ad"), tmp_path / "o.h5ad", "--layer", "raw", code=65)
    assert "3 genes of var are not in raw.var" in said
    with pytest.raises(InputProblem, match="3 genes of var are not in raw.var"):
        sccr_node.impute(lacking, layer="raw", quiet=True)
    duplicated = adata.copy()
    duplicated.var_names = [*adata.var_names[:-1], adata.var_names[0]]
    unclear = logs_of(adata)[:, :-1].copy()
    unclear.raw = duplicated
    said = run("impute", stored(unclear, tmp_path / "b.h5ad"), tmp_path / "o.h5ad", "--layer", "raw", code=65)
    assert "more often than var" in said
    none = stored(adata, tmp_path / "c.h5ad")
    assert "has no layer 'raw'" in run("impute", none, tmp_path / "o.h5ad", "--layer", "raw", code=65)
    assert not (tmp_path / "o.h5ad").exists()


def test_a_layer_called_raw_wins(adata, run, tmp_path):
    named = logs_of(adata)
    named.layers["raw"] = adata.X * 2
    named.raw = adata
    said = run("impute", stored(named, tmp_path / "in.h5ad"), tmp_path / "out.h5ad", "--layer", "raw")
    assert "--layer raw is the layer of that name, not .raw" in said
    assert anndata.read_h5ad(tmp_path / "out.h5ad").uns["sccr"]["input"]["scale"] == "counts"


# --- counts elsewhere


@pytest.mark.parametrize("place", ["counts", "raw"])
def test_counts_beside_logs_are_named(adata, run, tmp_path, place):
    made = logs_of(adata)
    if place == "raw":
        made.raw = adata
    else:
        made.layers[place] = adata.X
    source = stored(made, tmp_path / "in.h5ad")
    said = run("impute", source, tmp_path / "out.h5ad")
    assert f"contains counts: to use them, give --layer {place}" in said
    scaled = made.copy()
    scaled.X = dense(made.X) - 0.5
    said = run("impute", stored(scaled, tmp_path / "scaled.h5ad"), tmp_path / "o.h5ad", code=65)
    where = "raw.X" if place == "raw" else f"layers['{place}']"
    assert f"; {where} seems to contain counts: give --layer {place}" in said
    said = run("tune", source, code=65)
    assert f"counts; {where} seems to contain them: give --layer {place}" in said


@pytest.mark.parametrize("command", ["mask", "split-molecules"])
def test_the_counts_beside_the_logs_of_our_own_files_are_no_surprise(adata, run, tmp_path, command):
    source, made = stored(adata, tmp_path / "in.h5ad"), tmp_path / "made.h5ad"
    run("evaluate", command, source, made)
    assert "counts" in anndata.read_h5ad(made).layers
    assert "counts" not in run("impute", made, tmp_path / "out.h5ad")


def test_nothing_is_doubtful_about_the_scale_of_a_result(adata, run, tmp_path):
    source, made, moved = stored(adata, tmp_path / "in.h5ad"), tmp_path / "made.h5ad", tmp_path / "moved.h5ad"
    run("impute", source, made)
    words = ["--label-key", "cell_type", "--seeds", "0", "-o"]
    assert run("evaluate", "cluster", made, "--layer", "sccr", *words, tmp_path / "table.tsv") == ""
    run("promote", made, moved)
    assert run("evaluate", "cluster", moved, *words, tmp_path / "moved.tsv") == ""


def test_logs_beside_logs_are_not_called_counts(adata, run, tmp_path):
    made = logs_of(adata)
    made.layers["counts"] = made.X
    made.raw = made.copy()
    assert "contains counts" not in run("impute", stored(made, tmp_path / "in.h5ad"), tmp_path / "out.h5ad")


def test_a_base_in_uns_gives_the_same_as_natural_logarithms(adata, run, tmp_path):
    natural = stored(logs_of(adata), tmp_path / "natural.h5ad")
    other = logs_of(adata)
    other.X = other.X / np.log(2)
    other.uns["log1p"] = {"base": 2.0}
    other = stored(other, tmp_path / "other.h5ad")
    layers = []
    for source in (natural, other):
        run("impute", source, tmp_path / f"out-{source.name}", "--report", tmp_path / f"{source.name}.html")
        layers.append(dense(anndata.read_h5ad(tmp_path / f"out-{source.name}").layers["sccr"]))
    np.testing.assert_allclose(layers[1], layers[0], atol=1e-5)
    # A report made later from the file converts the logarithms too.
    with open_result(tmp_path / "out-other.h5ad") as result:
        np.testing.assert_allclose(result.expression().toarray(), dense(logs_of(adata).X), rtol=1e-6)


def test_counts_off_by_rounding_give_what_counts_give(adata, run, tmp_path):
    off = adata.copy()
    off.X = adata.X.astype(np.float32).log1p().expm1() * np.float32(1 + 2e-7)
    layers = []
    for name, made in (("exact", adata), ("off", off)):
        run("impute", stored(made, tmp_path / f"{name}.h5ad"), tmp_path / f"{name}-out.h5ad", "--n-top-genes", 60)
        layers.append(dense(anndata.read_h5ad(tmp_path / f"{name}-out.h5ad").layers["sccr"]))
    np.testing.assert_array_equal(layers[0], layers[1])


# --- the wrong way round


def test_genes_by_cells_is_a_warning(adata, run, tmp_path):
    rng = np.random.default_rng(0)
    turned = adata.T.copy()
    turned.var_names = ["".join(rng.choice(list("ACGT"), 16)) + "-1" for _ in range(turned.n_vars)]
    said = run("impute", stored(turned, tmp_path / "in.h5ad"), tmp_path / "out.h5ad", "--genes", "all")
    assert "genes and cells seem to be swapped" in said
    turned = adata.T.copy()
    turned.obs_names = [f"ENSMUSG{i:011d}" for i in range(turned.n_obs)]
    said = run("impute", stored(turned, tmp_path / "in2.h5ad"), tmp_path / "out2.h5ad", "--genes", "all")
    assert "genes and cells seem to be swapped" in said
    right = adata.copy()
    right.obs_names = ["s1_" + "".join(rng.choice(list("ACGT"), 16)) for _ in range(right.n_obs)]
    right.var_names = [f"ENSG{i:011d}.2" for i in range(right.n_vars)]
    assert "swapped" not in run("impute", stored(right, tmp_path / "in3.h5ad"), tmp_path / "out3.h5ad")


# --- few cells


def test_more_neighbours_than_cells_and_genes_are_one_warning_each(adata, run, tmp_path):
    source = stored(adata, tmp_path / "in.h5ad")
    said = run("impute", source, tmp_path / "out.h5ad", "--k-cell", 120, "--k-gene", 500, "--genes", "all")
    assert said.count("for 120 neighbours: every cell becomes a neighbour of every other") == 1
    assert said.count("for k_gene = 500: every gene becomes a neighbour of every other") == 1
    assert "neighbours" not in run("impute", source, tmp_path / "out2.h5ad", "--k-cell", 119)


def test_many_small_batches_are_one_warning(adata, run, tmp_path):
    made = adata.copy()
    made.obs["own"] = [f"b{i}" for i in range(made.n_obs)]
    made.obs["pairs"] = [f"b{i // 2}" for i in range(made.n_obs)]
    source = stored(made, tmp_path / "in.h5ad")
    said = run("impute", source, tmp_path / "own.h5ad", "--batch-key", "own", "--genes", "all")
    assert said.count("only 1 cell") == 1
    assert "120 of 120 batches (first: 'b0') have only 1 cell" in said
    messages = anndata.read_h5ad(tmp_path / "own.h5ad").uns["sccr"]["messages"]
    assert len(messages) < 10
    said = run("impute", source, tmp_path / "pairs.h5ad", "--batch-key", "pairs", "--genes", "all")
    assert "60 of 60 batches (first: 'b0') have 15 cells or fewer (the smallest: 2)" in said


def test_small_groups_are_one_warning(adata, run, tmp_path):
    made = adata.copy()
    made.obs["label"] = pd.Categorical(["rare" if i < 4 else "rarer" if i < 6 else "many" for i in range(made.n_obs)])
    source = stored(made, tmp_path / "in.h5ad")
    said = run("impute", source, tmp_path / "o.h5ad", "--label-key", "label", "--report", tmp_path / "r.html")
    assert "2 groups in obs['label'] have fewer than k_cell = 15 cells (the smallest: 'rarer', 2)" in said
    other = run("impute", source, tmp_path / "p.h5ad", "--report", tmp_path / "q.html")
    assert "groups" not in other
    # Labels belong to the report: the result is the same without them.
    assert (tmp_path / "o.h5ad").read_bytes() == (tmp_path / "p.h5ad").read_bytes()


# --- scores


def test_a_candidate_whose_x_is_untouched_is_refused_with_its_layers(adata, run, tmp_path):
    source, masked = stored(adata, tmp_path / "in.h5ad"), tmp_path / "masked.h5ad"
    run("evaluate", "mask", source, masked, "--rate", 0.2)
    run("impute", masked, tmp_path / "imputed.h5ad", "--key-added", "mine", "--genes", "all")
    said = run("evaluate", "score", masked, tmp_path / "imputed.h5ad", "--output", tmp_path / "t.tsv", code=65)
    assert (
        "zero at every masked entry, as if nothing had been imputed; name the layer to score with --layer: 'mine'"
        in said
    )
    assert not (tmp_path / "t.tsv").exists()
    run("evaluate", "score", masked, tmp_path / "imputed.h5ad", "--layer", "mine", "--output", tmp_path / "t.tsv")
    # The masked data themselves are a candidate: the baseline.
    run("evaluate", "score", masked, masked, "--output", tmp_path / "u.tsv")
