"""Genes are told from antibodies, peaks and guides by the labels of the field, and never guessed."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sccr_node.__main__ import main
from sccr_node.data.dataset import wrap_anndata
from sccr_node.data.features import choose_features
from sccr_node.errors import InputProblem
from tests.support.inputs import plain


def labelled(labels, column="feature_types"):
    adata = plain(sparse.csr_matrix(np.ones((3, len(labels)), np.float32)))
    adata.var[column] = pd.Categorical(labels)
    return wrap_anndata(adata)


@pytest.mark.parametrize("gene", ["Gene Expression", "gene expression", "GEX", "RNA", "rna", "gene", "mRNA", " Gex "])
@pytest.mark.parametrize(
    "other",
    ["Antibody Capture", "ADT", "protein", "Peaks", "ATAC", "CRISPR Guide Capture", "Multiplexing Capture", "Custom"],
)  # fmt: skip
@pytest.mark.parametrize("column", ["feature_types", "feature_type"])
def test_the_labels_of_the_field_are_recognised(gene, other, column):
    features = choose_features(labelled([gene, other, gene, other], column))
    assert features.counted.tolist() == [True, False, True, False]
    assert [other in finding.text for finding in features.findings] == [True]


BIOTYPES = """
    IG_C_gene IG_D_gene IG_J_gene IG_LV_gene IG_V_gene TR_C_gene TR_D_gene TR_J_gene TR_V_gene IG_pseudogene
    IG_C_pseudogene IG_J_pseudogene IG_V_pseudogene TR_V_pseudogene TR_J_pseudogene Mt_rRNA Mt_tRNA miRNA misc_RNA rRNA
    scRNA snRNA snoRNA ribozyme sRNA scaRNA lncRNA lincRNA macro_lncRNA 3prime_overlapping_ncRNA vault_RNA vaultRNA
    Y_RNA bidirectional_promoter_lncRNA antisense antisense_RNA sense_intronic sense_overlapping TEC protein_coding
    protein_coding_LoF protein_coding_CDS_not_defined processed_transcript non_coding nonsense_mediated_decay
    non_stop_decay retained_intron ambiguous_orf disrupted_domain retrotransposed artifact known_ncrna pseudogene
    processed_pseudogene polymorphic_pseudogene transcribed_processed_pseudogene transcribed_unitary_pseudogene
    translated_unprocessed_pseudogene unitary_pseudogene unprocessed_pseudogene ncRNA piRNA tRNA SRP_RNA RNase_P_RNA
    RNase_MRP_RNA telomerase_RNA C_region V_segment J_segment D_segment
""".split()
"""The biotypes of GENCODE and Ensembl, and those of NCBI."""


def test_biotypes_are_those_of_genes():
    features = choose_features(labelled(BIOTYPES))
    assert features.counted.all() and features.findings == []
    mixed = choose_features(labelled(["protein_coding", "Gene Expression", "lncRNA", "protein", "sgRNA", "guide_RNA"]))
    assert mixed.counted.tolist() == [True, True, True, False, False, False]
    assert "3 features ('protein', 'sgRNA', 'guide_RNA') are not" in mixed.findings[0].text


def test_without_labels_every_feature_is_a_gene():
    assert choose_features(wrap_anndata(plain())).counted.all()
    assert choose_features(labelled([None, None, None])).counted.all()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["Antibody Capture", "ADT"], "contains no gene expression, only 'Antibody Capture', 'ADT'"),
        ([None, "Antibody Capture"], "does not tell which features are genes"),
        (["Gene Expression", None, "ADT"], "labels only for some features"),
        (["one", "lncRNA2"], "does not tell which features are genes: its labels are 'one', 'lncRNA2'"),
        (["protein", "proteins"], "contains no gene expression, only 'protein', 'proteins'"),
        (["Gene Expression", "  "], "labels only for some features"),
    ],
)
def test_what_the_labels_do_not_tell_is_refused_with_the_way_out(labels, said):
    with pytest.raises(InputProblem, match="--feature-type LABEL") as refused:
        choose_features(labelled(labels))
    assert said in str(refused.value)


def test_the_user_chooses():
    data = labelled(["protein_coding", "lncRNA", None, "ADT"])
    assert choose_features(data, "Protein_Coding, lncrna").counted.tolist() == [True, True, False, False]
    with pytest.raises(InputProblem, match="no label 'snRNA'; it has 'protein_coding', 'lncRNA', 'ADT'"):
        choose_features(data, "lncRNA,snRNA")
    with pytest.raises(InputProblem, match="no column 'feature_types'"):
        choose_features(wrap_anndata(plain()), "ADT")


def test_antibodies_are_not_imputed_by_any_command(tmp_path, capsys):
    rng = np.random.default_rng(0)
    adata = plain(sparse.csr_matrix(np.hstack([rng.poisson(1.0, (40, 30)), rng.poisson(300, (40, 5))])))
    adata.var["feature_types"] = pd.Categorical(["GEX"] * 30 + ["ADT"] * 5)
    adata.obs["sample"] = pd.Categorical(["a", "b"] * 20)
    source = tmp_path / "cite.h5ad"
    adata.write_h5ad(source)

    def run(*words):
        assert main([*map(str, words)]) == 0

    run("impute", source, tmp_path / "out.h5ad")
    assert "5 features ('ADT') are not 'GEX'" in capsys.readouterr().err
    imputed = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert imputed.var["sccr_imputed"].tolist() == [True] * 30 + [False] * 5
    run("impute", source, tmp_path / "adt.h5ad", "--feature-type", "ADT", "--quiet")
    other = anndata.read_h5ad(tmp_path / "adt.h5ad")
    assert other.var["sccr_imputed"].tolist() == [False] * 30 + [True] * 5
    assert other.uns["sccr"]["params"]["feature_type"] == "ADT"

    choice = ("--feature-type", "ADT", "--quiet")
    run("impute", source, tmp_path / "one.h5ad", "--batch-key", "sample", *choice)
    run("split", source, "--batch-key", "sample", "--outdir", tmp_path / "parts", *choice)
    depth = (tmp_path / "parts" / "target_sum.txt").read_text().strip()
    for batch in "ab":
        part = tmp_path / "parts" / f"{batch}.h5ad"
        genes = ("--genes", tmp_path / "parts" / "genes.txt", "--target-sum", depth)
        run("impute", part, tmp_path / f"{batch}.h5ad", *genes, *choice)
    run("gather", source, tmp_path / "gathered.h5ad", tmp_path / "a.h5ad", tmp_path / "b.h5ad", "--quiet")
    assert (tmp_path / "gathered.h5ad").read_bytes() == (tmp_path / "one.h5ad").read_bytes()
    run("evaluate", "mask", source, tmp_path / "masked.h5ad", *choice)
    assert anndata.read_h5ad(tmp_path / "masked.h5ad").n_vars == 5
