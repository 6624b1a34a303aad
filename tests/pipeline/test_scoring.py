"""Which kind of hidden truth a file has decides how a candidate is scored."""

import anndata as ad
import pytest

from sccr_node.contract.keys import MASK_KEY, MOLECULES_KEY
from sccr_node.pipeline.scoring import hidden_truth


@pytest.fixture
def both(sccr, counts_file):
    paths = {MASK_KEY: counts_file.with_name("masked.h5ad"), MOLECULES_KEY: counts_file.with_name("train.h5ad")}
    for command, path in zip(("mask", "split-molecules"), paths.values(), strict=True):
        assert sccr("evaluate", command, counts_file, path)[0] == 0
    return paths


def test_it_is_recognised(sccr, both):
    for key, path in both.items():
        assert hidden_truth(path) == key
        code, out, _ = sccr("evaluate", "score", path, path)
        lines = out.splitlines()
        assert code == 0 and (len(lines), "explained" in lines[0]) == ((2, False) if key == MASK_KEY else (5, True))


def test_both_kinds_or_none_are_refused(refused, both, counts_file):
    mixed = ad.read_h5ad(both[MOLECULES_KEY])
    masked = ad.read_h5ad(both[MASK_KEY])
    mixed.uns[MASK_KEY], mixed.layers["truth"] = masked.uns[MASK_KEY], masked.layers["truth"]
    path = counts_file.with_name("mixed.h5ad")
    mixed.write_h5ad(path)
    refused(65, ["two kinds of hidden values", MASK_KEY, MOLECULES_KEY], "evaluate", "score", path, path)
    words = ["not written by sccr evaluate mask or split-molecules", "first, then the candidate"]
    refused(65, words, "evaluate", "score", counts_file, both[MASK_KEY])


@pytest.mark.parametrize(("key", "layer"), [(MASK_KEY, "truth"), (MOLECULES_KEY, "held_out")])
def test_a_file_that_lost_the_hidden_values_is_refused(refused, both, key, layer):
    adata = ad.read_h5ad(both[key])
    del adata.layers[layer]
    path = both[key].with_name("lost.h5ad")
    adata.write_h5ad(path)
    refused(65, [f"lacks layers['{layer}']"], "evaluate", "score", path, path)


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        (
            MOLECULES_KEY,
            {"seed": 1},
            ["molecules that were split differently", "'seed' of uns['sccr_molecules'] differ"],
        ),
        (MOLECULES_KEY, {"fraction": 0.3}, ["split differently", "'fraction' of"]),
        (MOLECULES_KEY, {"n_training": 7}, ["split differently", "'n_training' of"]),
        (MOLECULES_KEY, {"seed": -1}, ["not stored as expected (its seed is -1)"]),
        (MOLECULES_KEY, {"seed": 0.7}, ["not stored as expected (its seed is 0.7)"]),
        (MASK_KEY, {"mechanism": "mnar"}, ["data that were masked differently", "'mechanism' of uns['sccr_mask']"]),
        (MASK_KEY, {"seed": 1, "rate": 0.3}, ["masked differently", "'rate', 'seed' of"]),
    ],
)
def test_a_candidate_that_has_seen_hidden_values_is_refused(refused, both, key, change, words):
    candidate = ad.read_h5ad(both[key])
    candidate.uns[key].update(change)
    candidate.X = candidate.X * 1.1
    path = both[key].with_name("candidate.h5ad")
    candidate.write_h5ad(path)
    output = ("-o", path.with_name("scores.tsv"))
    refused(65, [str(path), *words], "evaluate", "score", both[key], path, *output)


def test_a_candidate_of_the_other_kind_is_refused(sccr, refused, both):
    mask, halves = both[MASK_KEY], both[MOLECULES_KEY]
    words = [
        f"cannot score X of {halves}: it was made from molecules",
        "uns has 'sccr_molecules'",
        f"output for {mask}",
    ]
    refused(65, words, "evaluate", "score", mask, halves)
    words = [f"cannot score X of {mask}: it was made from data that were masked", "uns has 'sccr_mask'"]
    refused(65, words, "evaluate", "score", halves, mask)
    forgetful = ad.read_h5ad(halves)
    del forgetful.uns[MOLECULES_KEY]
    forgetful.write_h5ad(mask.with_name("forgetful.h5ad"))
    assert sccr("evaluate", "score", halves, mask.with_name("forgetful.h5ad"))[0] == 0
