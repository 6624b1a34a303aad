"""10x output and its relatives give the values that were written, as scanpy's readers do if they can; else a reason."""

import errno
import gzip
import tempfile

import anndata
import h5py
import numpy as np
import pytest
import scanpy
from scipy import io, sparse

from sccr_node.data.dataset import open_dataset
from sccr_node.data.features import choose_features
from sccr_node.errors import InputMissing, InputProblem
from tests.support.inputs import N_CELLS, N_GENES, counts, mtx_lines, write_ten_x_h5, write_texts

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' remarks on names and versions

GENES = [f"gene{n}" for n in range(N_GENES)]
IDS = [f"ID{n}" for n in range(N_GENES)]
FEATURES = [f"{own_id}\t{gene}\tGene Expression" for own_id, gene in zip(IDS, GENES, strict=True)]
CELLS = [f"BC{n}-1" for n in range(N_CELLS)]
MATRIX = mtx_lines(counts())
TURNED = [MATRIX[0], f"{N_CELLS} {N_GENES} {len(MATRIX) - 3}"]
TURNED += [f"{j} {i} {value}" for i, j, value in (line.split() for line in MATRIX[3:])]


def read(path):
    """The matrix, the AnnData object, and the remarks."""
    with open_dataset(path) as data:
        blocks = [block for _, block in data.blocks(max_bytes=300)]
        assert [data.cell_names.tolist(), data.gene_names.tolist()] == [[*data.root.obs_names], [*data.root.var_names]]
        return sparse.vstack(blocks).toarray(), data.root, data.notes


def reason(path, problem=InputProblem):
    """Why it is refused, in one line that names it."""
    with pytest.raises(problem) as caught, open_dataset(path) as data:
        list(data.blocks())
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and len(message) < 400
    return message


def assert_same(ours, peer):
    assert (ours.X != peer.X).nnz == 0
    assert ours.X.dtype == peer.X.dtype
    assert ours.obs_names.tolist() == peer.obs_names.tolist()
    assert ours.var_names.tolist() == peer.var_names.tolist()
    assert sorted(ours.var) == sorted(peer.var)
    for column in peer.var:
        assert ours.var[column].tolist() == peer.var[column].tolist()


# --- folders

LAYOUTS = {
    "v3": {"matrix.mtx.gz": MATRIX, "features.tsv.gz": FEATURES, "barcodes.tsv.gz": CELLS},
    "v2": {"matrix.mtx": MATRIX, "genes.tsv": [line[: line.rindex("\t")] for line in FEATURES], "barcodes.tsv": CELLS},
    "v3, unpacked": {"matrix.mtx": MATRIX, "features.tsv": FEATURES, "barcodes.tsv": CELLS},
    "v2, packed": {"matrix.mtx.gz": MATRIX, "genes.tsv.gz": FEATURES, "barcodes.tsv.gz": CELLS},
    "partly unpacked": {"matrix.mtx.gz": MATRIX, "features.tsv": FEATURES, "barcodes.tsv": CELLS},
    "unpacked twice": {"matrix.mtx.gz": MATRIX, "features.tsv": FEATURES, "features.tsv.gz": [],
                       "barcodes.tsv.gz": CELLS},
    "GEO": {f"GSM1_A_{name}.gz": lines for name, lines in
            {"matrix.mtx": MATRIX, "features.tsv": FEATURES, "barcodes.tsv": CELLS}.items()},
    "GEO, words before": {"GSM1_matrix_A.mtx.gz": MATRIX, "GSM1_genes_A.tsv.gz": FEATURES,
                          "GSM1_barcodes_A.tsv.gz": CELLS},
    "GEO, with a point": {"GSM1.matrix.mtx": MATRIX, "GSM1.features.tsv": FEATURES, "GSM1.barcodes.tsv": CELLS},
    "one of each": {"GSM1_counts.mtx": MATRIX, "genes.tsv": FEATURES, "cells_barcodes.tsv": CELLS},
    "another without lists": {"matrix.mtx": MATRIX, "features.tsv": FEATURES, "barcodes.tsv": CELLS,
                              "UniqueAndMult-EM.mtx": []},
    "from a Mac": {"matrix.mtx": MATRIX, "features.tsv": FEATURES, "barcodes.tsv": CELLS, "._matrix.mtx": ["\0"]},
    "one column": {"matrix.mtx": MATRIX, "features.tsv": GENES, "barcodes.tsv": CELLS},
    "titles": {"matrix.mtx": MATRIX, "features.tsv": ["gene_id\tgene_name\tfeature_type", *FEATURES],
               "barcodes.tsv": ["barcode", *CELLS]},
    "one title": {"matrix.mtx": MATRIX, "features.tsv": FEATURES, "barcodes.tsv": ["x", *CELLS]},
    "quoted by R": {"matrix.mtx": MATRIX, "features.tsv": [f'"{own_id}"\t"{gene}"' for own_id, gene in
                    zip(IDS, GENES, strict=True)], "barcodes.tsv": [f'"{cell}"' for cell in CELLS]},
    "cells × genes": {"matrix.mtx": TURNED, "features.tsv": FEATURES, "barcodes.tsv": CELLS},
    "cells × genes, titles": {"matrix.mtx": TURNED, "features.tsv": ["id\tname", *FEATURES],
                              "barcodes.tsv": ["cells", *CELLS]},
    "bustools": {"cells_x_genes.mtx": TURNED, "cells_x_genes.genes.txt": IDS, "cells_x_genes.genes.names.txt": GENES,
                 "cells_x_genes.barcodes.txt": CELLS},
    "bustools, no names": {"cells_x_genes.mtx": TURNED, "cells_x_genes.genes.txt": GENES,
                           "cells_x_genes.barcodes.txt": CELLS},
    "alevin": {"quants_mat.mtx.gz": TURNED, "quants_mat_cols.txt": GENES, "quants_mat_rows.txt": CELLS},
}  # fmt: skip


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder(tmp_path, layout, newline):
    values, adata, notes = read(write_texts(tmp_path / "in", LAYOUTS[layout], newline))
    np.testing.assert_array_equal(values, counts())
    assert adata.var_names.tolist() == GENES
    assert adata.obs_names.tolist() == CELLS
    nameless = layout in ("one column", "bustools, no names", "alevin")
    assert "gene_ids" not in adata.var if nameless else adata.var["gene_ids"].tolist() == IDS
    assert [*notes] == (
        ["matrix.mtx has cells in its rows and genes in its columns, going by its lists of names"]
        if layout.startswith("cells × genes")
        else []
    )


@pytest.mark.parametrize("layout", ["v2", "v3"])
def test_a_folder_as_scanpy_reads_it(tmp_path, layout):
    folder = write_texts(tmp_path / "in", LAYOUTS[layout])
    assert_same(read(folder)[1], scanpy.read_10x_mtx(folder, make_unique=False, gex_only=False))


def test_bustools_with_the_rows_of_genes_says_so(tmp_path):
    texts = {**LAYOUTS["bustools"], "cells_x_genes.mtx": MATRIX}
    values, _, notes = read(write_texts(tmp_path / "in", texts))
    np.testing.assert_array_equal(values, counts())
    assert notes == ["cells_x_genes.mtx has genes in its rows and cells in its columns, going by its lists of names"]


@pytest.mark.parametrize("layout", ["v3", "bustools"])
def test_a_square_matrix_is_read_as_its_program_writes_it(tmp_path, layout):
    square = counts(5, 5)
    lines = mtx_lines(square if layout == "v3" else square.T)
    texts = {name: lines if ".mtx" in name else lines_of[:5] for name, lines_of in LAYOUTS[layout].items()}
    values, _, notes = read(write_texts(tmp_path / "in", texts))
    np.testing.assert_array_equal(values, square)
    # Nothing tells whether another program wrote it the other way.
    (note,) = notes
    assert "has as many rows as columns: " in note
    assert ("genes are taken to be in its rows" in note) == (layout == "v3")


def test_samples_with_names_in_another_script_are_told_apart(tmp_path):
    one, two = "患者一", "Пациент"
    texts = {f"{sample}_{name}": lines for sample in (one, two) for name, lines in LAYOUTS["v3"].items()}
    with pytest.raises(InputProblem, match="contains 2 samples"):
        read(write_texts(tmp_path / "in", texts))


def test_feature_types_of_a_folder_tell_genes(tmp_path):
    features = [*FEATURES[:-2], "AB1\tcd1\tAntibody Capture", "peak\tchr1:5-9\tPeaks\tchr1\t5\t9"]
    with open_dataset(write_texts(tmp_path / "in", {**LAYOUTS["v3"], "features.tsv.gz": features})) as data:
        chosen = choose_features(data)
        assert chosen.counted.tolist() == [True] * (N_GENES - 2) + [False] * 2
        assert chosen.findings[0].text.startswith("2 features ('Antibody Capture', 'Peaks') are not 'Gene Expression'")


def test_names_are_kept_as_they_are(tmp_path):
    names = ["NA", "nan", "", "1", '5"', "Genε", *GENES[6:-1], "NA"]
    features = [f"{own_id}\t{name}\tGene Expression" for own_id, name in zip(IDS, names, strict=True)]
    cells = ["NA", "1", *CELLS[2:]]
    _, adata, notes = read(
        write_texts(tmp_path / "in", {**LAYOUTS["v3"], "features.tsv.gz": features, "barcodes.tsv.gz": cells})
    )
    assert adata.var_names.tolist() == [*names[:2], "ID2", *names[3:]]  # only what has no name is called by its id
    assert adata.obs_names.tolist() == cells
    assert any("'NA'" in note for note in notes)


def test_a_packed_file_is_told_by_its_content(tmp_path):
    folder = write_texts(tmp_path / "in", LAYOUTS["v3"])
    for name in ("matrix.mtx", "features.tsv"):  # as browsers unpack what they download, and keep the name
        (folder / f"{name}.gz").write_bytes(gzip.decompress((folder / f"{name}.gz").read_bytes()))
    np.testing.assert_array_equal(read(folder)[0], counts())


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({f"G_{sample}_{name}": [] for sample in "AB" for name in ("matrix.mtx", "genes.tsv", "barcodes.tsv")},
         ["2 samples", "'G_A_matrix.mtx', 'G_B_matrix.mtx'", "a folder of its own"]),
        ({"matrix.mtx": MATRIX, "barcodes.tsv": CELLS},
         ["'matrix.mtx'", "no list of features", "features.tsv (or genes.tsv)"]),
        ({"matrix.mtx": MATRIX, "features.tsv": CELLS}, ["no list of barcodes"]),
        ({"matrix.mtx": MATRIX}, ["no list of features and no list of barcodes"]),
        ({"spliced.mtx": [], "unspliced.mtx": [], "features.tsv": [], "barcodes.tsv": []},
         ["'spliced.mtx', 'unspliced.mtx'", "no lists of the same name", "one matrix.mtx"]),
        ({**LAYOUTS["v3"], "barcodes.tsv.gz": CELLS[:-1]},
         [f"{N_GENES} rows and {N_CELLS} columns", f"has {N_CELLS - 1} lines", "belong together"]),
        ({**LAYOUTS["v3"], "barcodes.tsv.gz": ["BC99-1", *CELLS]}, [f"has {N_CELLS + 1} lines"]),
        ({**LAYOUTS["v3"], "features.tsv.gz": []}, ["features.tsv.gz has 0 lines"]),
        ({**LAYOUTS["alevin"], "quants_mat.mtx.gz": mtx_lines(np.ones((6, 3), int)), "quants_mat_rows.txt": CELLS[:3],
          "quants_mat_cols.txt": ["g1", "g2", "g1-U", "g2-U", "g1-A", "g2-A"]},
         ["alevin-fry's USA mode", "add them up"]),
        ({"quants_mat.gz": [], "quants_mat_rows.txt": CELLS}, ["alevin's own format", "tximport"]),
    ],
)  # fmt: skip
def test_why_a_folder_is_refused(tmp_path, texts, words):
    message = reason(write_texts(tmp_path / "in", texts))
    for word in words:
        assert word in message
    assert "damaged" not in message


def test_a_file_that_a_link_lost_is_missing(tmp_path):
    folder = write_texts(tmp_path / "in", {**LAYOUTS["v3, unpacked"], "features.tsv": []})
    (folder / "features.tsv").unlink()
    (folder / "features.tsv").symlink_to("../gone.tsv")
    with pytest.raises(InputMissing, match=r"features\.tsv: no such file or directory"), open_dataset(folder):
        pass


@pytest.mark.parametrize("name", ["matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz"])
@pytest.mark.parametrize("what", ["cut", "changed"])
def test_a_packed_file_that_is_damaged(tmp_path, name, what):
    folder = write_texts(tmp_path / "in", LAYOUTS["v3"])
    content = bytearray((folder / name).read_bytes())
    content[-6] ^= 255  # in the checksum
    (folder / name).write_bytes(content[:-12] if what == "cut" else content)
    message = reason(folder)
    assert f"{name}: damaged or incomplete" in message


def test_a_list_that_is_not_utf8(tmp_path):
    folder = write_texts(tmp_path / "in", LAYOUTS["v3, unpacked"])
    (folder / "features.tsv").write_bytes("\n".join(FEATURES).replace("gene0", "gèn").encode("latin-1"))
    assert "features.tsv: it is not text in UTF-8; save it as UTF-8" in reason(folder)


@pytest.mark.parametrize("what", ["folder", "h5"])
def test_nothing_is_written_to_the_temporary_folder(tmp_path, what, monkeypatch):
    if what == "h5":
        write_ten_x_h5(tmp_path / "in", counts(), [tuple(line.split("\t")) for line in FEATURES])
    else:
        write_texts(tmp_path / "in", LAYOUTS["v3, unpacked"])

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("mkdtemp", "mkstemp", "TemporaryFile"):
        monkeypatch.setattr(tempfile, name, full)
    np.testing.assert_array_equal(read(tmp_path / "in")[0], counts())


# --- .h5


def write_v2(path, genomes):
    matrix = sparse.csr_matrix(counts(), dtype=np.int32)
    with h5py.File(path, "w") as file:
        for genome in genomes:
            group = file.create_group(genome)
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(matrix, name)
            group["shape"] = np.array(matrix.shape[::-1])
            for name, texts in (("barcodes", CELLS), ("genes", IDS), ("gene_names", GENES)):
                group[name] = np.array(texts, dtype="S")
    return path


@pytest.mark.parametrize("version", [2, 3])
def test_h5_as_scanpy_reads_it(tmp_path, version):
    path = tmp_path / "in.h5"
    if version == 2:
        write_v2(path, ["hg19"])
    else:
        types = ["Gene Expression"] * (N_GENES - 2) + ["Antibody Capture"] * 2
        write_ten_x_h5(path, counts(), list(zip(IDS, GENES, types, strict=True)))
        with h5py.File(path, "r+") as file:
            # A barnyard of two species, antibodies, and the indices of a real file.
            for name, texts in (("genome", ["GRCh38", "mm10"] * 8 + [""]), ("sequence", [""] * 15 + ["ACGT"] * 2)):
                if name in file["matrix/features"]:
                    del file["matrix/features"][name]
                file["matrix/features"][name] = np.array(texts, dtype="S")
            for name in ("indices", "indptr"):
                values = file["matrix"][name][:]
                del file["matrix"][name]
                file["matrix"].create_dataset(name, data=values.astype(np.int64), compression="gzip")
    values, adata, notes = read(path)
    np.testing.assert_array_equal(values, counts())
    assert notes == []
    assert_same(adata, scanpy.read_10x_h5(path, gex_only=False))


def test_two_genomes_of_cell_ranger_2_and_how_to_go_on(tmp_path):
    message = reason(write_v2(tmp_path / "in.h5", ["hg19", "mm10"]))
    assert "one matrix for each of 2 genomes ('hg19', 'mm10')" in message
    assert "--" not in message
    advice = message.rpartition("in Python: ")[2].replace("'hg19.h5ad'", repr(str(tmp_path / "hg19.h5ad")))
    exec(advice, {"scanpy": scanpy})
    np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "hg19.h5ad").X.toarray(), counts())


def test_h5_names_beyond_ascii(tmp_path):
    path = tmp_path / "in.h5"
    write_ten_x_h5(path, counts(), [tuple(line.split("\t")) for line in FEATURES])
    with h5py.File(path, "r+") as file:
        del file["matrix/features/name"]
        file["matrix/features/name"] = np.array([name.replace("gene", "gène").encode() for name in GENES])
    assert read(path)[1].var_names.tolist() == [name.replace("gene", "gène") for name in GENES]


def test_probes_are_not_genes(tmp_path):
    path = tmp_path / "raw_probe_bc_matrix.h5"
    write_ten_x_h5(path, counts(), [(f"ENSG1|A|{n}", "A", "Gene Expression") for n in range(N_GENES)])
    with h5py.File(path, "r+") as file:
        file["matrix/features/gene_id"] = np.array(["ENSG1"] * N_GENES, dtype="S")
    assert "it counts probes" in reason(path)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "barcodes",
            lambda values: values[:-1],
            f"{N_CELLS} cells, but it names {N_GENES} genes and {N_CELLS - 1} cells",
        ),
        ("indptr", lambda values: values[:-1], "not stored as expected (the indptr"),
        ("indices", lambda values: values + N_GENES, "column index out of range"),
    ],
)
def test_h5_whose_parts_do_not_match(tmp_path, name, change, words):
    path = tmp_path / "in.h5"
    write_ten_x_h5(path, counts(), [tuple(line.split("\t")) for line in FEATURES])
    with h5py.File(path, "r+") as file:
        values = change(file["matrix"][name][:])
        del file["matrix"][name]
        file["matrix"][name] = values
    assert words in reason(path)


def test_a_file_of_scipy(tmp_path):
    folder = write_texts(tmp_path / "in", {"features.tsv": FEATURES, "barcodes.tsv": CELLS})
    io.mmwrite(folder / "matrix.mtx", sparse.csr_matrix(counts().T / 4))
    np.testing.assert_array_equal(read(folder)[0], counts() / 4)
