"""The numbers of the page against the same numbers from dense numpy arrays."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import sparse
from scipy.stats import ttest_ind

from sccr_node.contract.record import RunRecord
from sccr_node.errors import InputMissing, InputProblem
from sccr_node.reports import reading
from sccr_node.reports.content import BINS_PER_UNIT
from sccr_node.reports.reading import sample_name, strongest_markers
from sccr_node.results import open_result

from .conftest import Made, make_result, record_of
from .conftest import content as content_from

pytestmark = pytest.mark.usefixtures("without_umap")


def check_values(content, made: Made) -> None:
    values, observed = content.values, made.before != 0
    assert (values.n_observed, values.n_unobserved) == (observed.sum(), (~observed).sum())
    assert values.n_observed_zero == (made.after[observed] == 0).sum()
    assert values.n_unobserved_zero == (made.after[~observed] == 0).sum()
    assert values.zeros_before == pytest.approx((made.before == 0).mean())
    assert values.zeros_after == pytest.approx((made.after == 0).mean())
    assert values.mean_observed_before == pytest.approx(made.before[observed].mean(), rel=1e-5)
    assert values.mean_observed_after == pytest.approx(made.after[observed].mean(), rel=1e-5)
    assert values.mean_unobserved_after == pytest.approx(made.after[~observed].mean(), rel=1e-5)
    assert values.mean_change == pytest.approx(np.abs(made.after - made.before)[observed].mean(), rel=1e-5, abs=1e-6)
    edges = np.arange(values.observed_before.size + 1) / BINS_PER_UNIT
    for found, expected in (
        (values.observed_before, made.before[observed]),
        (values.observed_after, made.after[observed]),
        (values.unobserved_after, made.after[~observed]),
    ):
        # A value on an edge may fall to either side of it in float32.
        assert np.abs(np.cumsum(found) - np.cumsum(np.histogram(expected, edges)[0])).max() <= 2
        assert found.sum() == expected.size


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_values_are_those_of_dense_arrays(tmp_path, monkeypatch, dense, suffix):
    monkeypatch.setattr(reading, "REPORT_BLOCK_BYTES", 20_000)  # several blocks
    made = make_result(tmp_path / f"result{suffix}", dense=dense)
    check_values(content_from(made.path, with_cells=False), made)


def test_log_normalised_input_is_taken_as_it_is(tmp_path):
    made = make_result(tmp_path / "result.h5ad", scale="log1p")
    check_values(content_from(made.path, with_cells=False), made)


def test_relations_are_the_upper_triangle(made):
    relations = content_from(made.path, with_cells=False).relations
    upper = made.relations[np.triu_indices(60, k=1)]
    assert relations.n_associating == (upper > 0).sum()
    assert relations.n_dissociating == (upper < 0).sum() > 0
    assert relations.histogram.sum() == (upper != 0).sum()
    assert [pair.r for pair in relations.associating] == pytest.approx(np.sort(upper[upper > 0])[::-1][:10].tolist())
    assert [pair.r for pair in relations.dissociating] == pytest.approx(np.sort(upper[upper < 0])[:10].tolist())
    assert relations.n_related_genes == (made.relations != 0).any(axis=0).sum()
    pair = relations.associating[0]
    genes = [int(name.split()[1]) for name in pair.genes]
    assert made.relations[genes[0], genes[1]] == pytest.approx(pair.r)
    where = [int(np.flatnonzero(made.columns == gene)[0]) for gene in genes]
    assert pair.detected == pytest.approx([(made.before[:, at] != 0).mean() for at in where])


def test_cells_are_laid_out_grouped_and_their_markers_found(made):
    content = content_from(made.path, label_key="label", batch_key="number")
    assert content.n_drawn == 150
    assert [grouping.title for grouping in content.groupings] == ["label", "number"]
    grouping = content.groupings[0]
    assert sorted(grouping.names) == ["type a", "type b", "type c"]
    assert [grouping.names[code] for code in grouping.codes] == made.labels.tolist()
    assert content.embedding.before.shape == content.embedding.after.shape == (150, 2)
    assert np.isfinite(content.embedding.before).all() and np.isfinite(content.embedding.after).all()
    markers = content.markers
    assert markers.before.shape == markers.after.shape == (len(markers.genes), len(markers.cell_groups))
    strong = {"type a": range(0, 6), "type b": range(12, 18), "type c": range(24, 30)}
    for gene, group in zip(markers.genes, markers.gene_groups, strict=True):
        imputed = [number for number in strong[grouping.names[group]] if number in made.columns]
        if len(imputed) >= reading.MARKERS_OF_A_GROUP:
            assert int(gene.split()[1]) in imputed
    # The columns of the two maps are the same cells: imputation here adds a mean to half of the measured value.
    assert np.corrcoef(markers.before.ravel(), markers.after.ravel())[0, 1] > 0.8


def test_markers_agree_with_a_t_test():
    generator = np.random.default_rng(1)
    expression = generator.random((90, 20)) * (generator.random((90, 20)) > 0.5)
    codes = np.repeat([0, 1, 2], 30)
    expression[codes == 1, 7] += 2
    expression[codes == 2, 4] += 1
    chosen = strongest_markers(sparse.csr_matrix(expression), codes, [1, 2], 1)
    expected = [
        (int(np.argmax(ttest_ind(expression[codes == group], expression[codes != group]).statistic)), group)
        for group in (1, 2)
    ]
    assert chosen == expected == [(7, 1), (4, 2)]


def test_many_cells_are_sampled_and_many_groups_joined(made, monkeypatch):
    monkeypatch.setattr(reading, "CELLS_DRAWN", 60)
    monkeypatch.setattr(reading, "GROUPS_TOLD_APART", 2)
    monkeypatch.setattr(reading, "FEWEST_DRAWN", 0)
    content = content_from(made.path, label_key="label")
    grouping = content.groupings[0]
    assert content.n_drawn == len(grouping.codes) == len(content.embedding.after) == 60
    assert (len(grouping.names), grouping.n_others) == (1, 2)
    assert grouping.sizes == [50]
    check_values(content, made)  # values are those of all cells


def test_a_sample_leaves_no_small_group_out(monkeypatch):
    monkeypatch.setattr(reading, "CELLS_DRAWN", 500)
    names = np.array(["many"] * 9000 + ["few"] * 50 + ["tiny"] * 7 + [None] * 943, dtype=object)
    drawn = reading._draw(len(names), [names])
    assert len(np.unique(drawn)) == len(drawn) and (np.diff(drawn) > 0).all()
    assert (names[drawn] == "few").sum() == reading.FEWEST_DRAWN and (names[drawn] == "tiny").sum() == 7
    assert 500 <= len(drawn) <= 500 + reading.FEWEST_DRAWN + 7
    # Names of cells are no groups, and no column is needed.
    cells = np.arange(len(names)).astype(str).astype(object)
    assert len(reading._draw(len(names), [cells])) == len(reading._draw(len(names), [])) == 500


def test_small_groups_have_their_size_in_the_file(made, monkeypatch):
    monkeypatch.setattr(reading, "CELLS_DRAWN", 60)
    content = content_from(made.path, label_key="label")
    assert [group.size for group in content.small_groups] == [50, 50, 50]


def test_the_same_result_gives_the_same_page(made):
    first, second = (content_from(made.path, label_key="label") for _ in range(2))
    assert np.array_equal(first.embedding.after, second.embedding.after)
    assert np.array_equal(first.markers.before, second.markers.before)


def test_labels_of_every_kind(made):
    assert content_from(made.path, label_key="number").groupings[0].names == ["0", "1", "2"]
    one = content_from(made.path, label_key="one")
    assert one.groupings[0].names == ["same"] and one.markers is None
    assert any("at least two groups" in note for note in one.notes)
    some = content_from(made.path, label_key="some").groupings[0]
    assert some.n_missing == 30 and (some.codes == -1).sum() == 30
    nothing = content_from(made.path, label_key="nothing")
    assert nothing.groupings[0].found_here
    assert any(note == "Cells coloured by nothing: the column has no value for any cell." for note in nothing.notes)


def test_a_missing_column_lists_those_there_are(made):
    with pytest.raises(InputProblem, match="no column 'cell_type'.*'label', 'number'"):
        content_from(made.path, label_key="cell_type")


@pytest.mark.parametrize("n_cells", [1, 2, 3, 8])
def test_few_cells(tmp_path, n_cells):
    made = make_result(tmp_path / "few.h5ad", n_cells=n_cells)
    content = content_from(made.path, label_key="label")
    assert content.n_cells == n_cells
    assert (content.embedding is None) == (n_cells < 3)
    check_values(content, made)


def test_a_run_without_layer_or_relations_says_so(tmp_path):
    made = make_result(tmp_path / "embedding.h5ad", layer=None, relations=False)
    content = content_from(made.path, label_key="label")
    assert content.values is None and content.markers is None and content.relations is None
    assert content.embedding is not None
    assert len(content.notes) == 2


def test_the_recovered_layer_is_named(tmp_path):
    made = make_result(tmp_path / "recovered.h5ad", layer="sccr_recovered")
    content = content_from(made.path, with_cells=False)
    assert (content.what, content.key) == ("recovered", "sccr_recovered")


def test_the_record_adds_what_the_file_does_not_hold(made):
    content = content_from(made.path, record=RunRecord.model_validate(record_of(made)), with_cells=False)
    assert content.resources.peak_memory == 512_000_000
    assert [stage.name for stage in content.resources.stages] == ["read", "impute", "write"]
    assert "quiet" not in [fact.name for fact in content.parameters]
    assert content_from(made.path, with_cells=False).resources is None


def test_a_record_of_another_run_is_refused(made):
    record = RunRecord.model_validate(record_of(made, method="scfp"))
    with pytest.raises(InputProblem, match="belongs to a different run: it is of scfp"):
        content_from(made.path, record=record, with_cells=False)


def test_a_record_of_another_run_of_the_same_shape_is_refused(made):
    for change in ({"params": {"method": "sccr", "k_cell": 9}}, {"messages": ["41 genes are imputed"]}):
        record = RunRecord.model_validate(record_of(made, **change))
        with pytest.raises(InputProblem, match=r"belongs to a different run.*(k_cell|messages)"):
            content_from(made.path, record=record, with_cells=False)


def test_what_is_no_result_is_refused(tmp_path, made):
    import anndata

    with pytest.raises(InputMissing, match="does not exist"):
        content_from(tmp_path / "absent.h5ad")
    plain = tmp_path / "plain.h5ad"
    anndata.AnnData(np.ones((3, 2), dtype=np.float32)).write_h5ad(plain)
    with pytest.raises(InputProblem, match="contains no result"):
        content_from(plain)
    with pytest.raises(InputProblem, match="no result 'magic'.*'sccr'"):
        content_from(made.path, key_added="magic")


def test_a_graph_with_indices_that_are_no_integers_is_refused(made, tmp_path):
    path = Path(shutil.copy(made.path, tmp_path))
    with h5py.File(path, "r+") as file:
        indices = file["varp/sccr_relations/indices"][:]
        del file["varp/sccr_relations/indices"]
        file["varp/sccr_relations/indices"] = indices.astype(np.float64)
    with pytest.raises(InputProblem, match=r"varp\['sccr_relations'\].*not integers"):
        content_from(path)


def test_a_layer_and_components_of_other_cells_are_refused(made, tmp_path):
    path = Path(shutil.copy(made.path, tmp_path))
    with h5py.File(path, "r+") as file:
        first = file["obsm/X_sccr"][:3]
        del file["obsm/X_sccr"]
        file["obsm/X_sccr"] = first
        del file["layers/sccr"]
        file["layers/sccr"] = np.zeros((3, 60), np.float32)
    with pytest.raises(InputProblem, match="layer 'sccr' is 3 × 60, but it has"), open_result(path) as result:
        result.dense("denoised")
    with pytest.raises(InputProblem, match=r"obsm\['X_sccr'\].*its shape is \(3, "), open_result(path) as result:
        _ = result.components


def test_one_of_several_results_has_to_be_named(tmp_path):
    import anndata

    made = make_result(tmp_path / "two.h5ad")
    data = anndata.read_h5ad(made.path)
    data.uns["other"] = data.uns["sccr"]
    data.var["other_imputed"] = data.var["sccr_imputed"]
    data.layers["other"] = data.layers["sccr"]
    data.write_h5ad(made.path)
    with pytest.raises(InputProblem, match="--key-added"):
        content_from(made.path, with_cells=False)
    assert content_from(made.path, key_added="other", with_cells=False).key == "other"


def test_sample_names():
    assert sample_name(Path("/a/b.c.h5ad")) == "b.c"
    assert sample_name(Path("plain")) == "plain"
