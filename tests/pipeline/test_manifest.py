"""A manifest: every form in which tables come, and everything that is wrong with one named at once."""

import os

import pytest

from sccr_node.__main__ import main
from sccr_node.contract.batch import BatchParameters
from sccr_node.errors import InputMissing
from sccr_node.pipeline.manifest import LARGEST_MANIFEST, ManifestProblem, read_manifest

TWO_ROWS = "input,output,k_cell\na.h5ad,x.h5ad,5\nb.h5ad,y.zarr,\n"


def asked(path, **given):
    return BatchParameters(manifest=str(path), **given)


def rows_of(path, **given):
    return read_manifest(path, asked(path, **given))


def mistakes_of(path, text, **given):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ManifestProblem) as problem:
        rows_of(path, **given)
    assert problem.value.exit_code == 2
    return problem.value.mistakes


@pytest.fixture
def csv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "m.csv"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", TWO_ROWS.encode()),
        ("m.csv", TWO_ROWS.encode("utf-8-sig")),
        ("m.csv", TWO_ROWS.encode("utf-16")),
        ("m.csv", TWO_ROWS.replace("\n", "\r\n").encode()),
        ("m.csv", TWO_ROWS.replace("\n", "\r").encode()),
        ("m.csv", TWO_ROWS.replace("\n", "\n\n,,\n  \n").encode()),
        ("m.csv", TWO_ROWS.replace("a.h5ad", '"a.h5ad"').replace("input", '"input"').encode()),
        ("m.csv", TWO_ROWS.replace(",", " , ").encode()),
        ("m.csv", TWO_ROWS.replace(",\n", "\n").encode()),
        ("m.csv", TWO_ROWS.replace("\n", ",\n").encode()),
        ("m.csv", TWO_ROWS.rstrip("\n").encode()),
        ("m.tsv", TWO_ROWS.replace(",", "\t").encode()),
        ("m.TSV", TWO_ROWS.replace(",", "\t").encode()),
    ],
)  # fmt: skip
def test_one_table_in_every_form(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    first, second = rows_of(path)
    assert (first.number, str(first.source), str(first.output), first.params.k_cell) == (0, "a.h5ad", "x.h5ad", 5)
    assert (second.number, str(second.source), str(second.output), second.params.k_cell) == (
        1,
        "b.h5ad",
        "y.zarr",
        None,
    )
    assert (first.name, first.params.provenance, second.params.provenance) == (
        "row 0 (x)",
        "x.h5ad.record.json",
        "y.zarr.record.json",
    )


def test_quoted_cells_contain_separators_quotes_and_line_breaks(csv):
    csv.write_text('input,output,batch_key\n"a, ""b"".h5ad",o.h5ad,"donor\nid"\n')
    (row,) = rows_of(csv)
    assert str(row.source) == 'a, "b".h5ad'
    assert row.params.batch_key == "donor\nid"


def test_a_record_of_a_name_of_its_own(csv):
    csv.write_text("input,output,provenance\na.h5ad,x.h5ad,r.json\nb.h5ad,y.h5ad,\n")
    assert [row.params.provenance for row in rows_of(csv)] == ["r.json", "y.h5ad.record.json"]


def test_every_mistake_of_the_table_at_once(csv):
    text = (
        "input,output,kcell,k_cell,low_rank,k_cell,magic\n"
        "a.h5ad,x.h5ad,,0,3,,\n"
        "b.h5ad,x.h5ad,,many,,,\n"
        ",y.bam,,,,,\n"
        "c.h5ad,,,,,,,,more\n"
        "d.h5ad,a.h5ad,,,,,\n"
    )
    told = mistakes_of(csv, text)
    assert [mistake.split(" (given")[0] for mistake in told] == [
        "header: unknown column 'kcell'; did you mean 'k_cell'?",
        "header: the column 'k_cell' occurs more than once; keep one of them",
        "header: unknown column 'magic'; expected input, output and parameters of sccr impute",
        "row 0 (x), column k_cell: should be greater than or equal to 1",
        "row 1 (x), column k_cell: should be a valid integer, unable to parse string as an integer",
        "row 2 (y): no input is given",
        "row 2 (y), column output: cannot write y.bam: unknown format; use the extension .h5ad or .zarr",
        "row 3: has 9 cells, but the header has 7; put quotes around a cell that contains a separator",
        "row 3: no output is given",
        "row 1 (x): cannot write x.h5ad: it is also written by row 0 (x); give another name",
        "row 4 (a): cannot write a.h5ad: it is read by row 0 (x); give another name",
    ]


def test_every_contradiction_of_a_row_names_the_columns(csv):
    text = (
        "input,output,genes,n_top_genes,low_rank,k_gene\n"
        "a.h5ad,x.h5ad,all,5,3,\n"
        "b.h5ad,y.h5ad,,,,7\n"
        "c.h5ad,z.h5ad,all,5,none,\n"
    )
    assert mistakes_of(csv, text, method="scfp", target_sum=100, input_scale="log1p") == [
        "row 0 (x), columns n_top_genes and genes: n_top_genes requires genes top-variance, not genes all",
        "row 0 (x): --target-sum applies only to counts: it contradicts --input-scale log1p",
        "row 0 (x), column low_rank: low_rank requires --low-rank-share",
        "row 1 (y): --target-sum applies only to counts: it contradicts --input-scale log1p",
        "row 1 (y), column k_gene: k_gene requires --method sccr or scbfp: scfp does not have it",
        # A value that is wrong comes first: what it is meant to be is not known.
        "row 2 (z), column low_rank: should be a valid integer, unable to parse string as an integer (given: 'none')",
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("a.h5ad,./sub/../x.h5ad,\nb.h5ad,x.h5ad,", "cannot write x.h5ad: it is also written by row 0 (x)"),
        ("a.h5ad,link.h5ad,\nb.h5ad,x.h5ad,", "cannot write x.h5ad: it is also written by row 0 (link)"),
        ("a.h5ad,x.h5ad,r.json\nb.h5ad,y.h5ad,r.json", "cannot write r.json: it is also written by row 0 (x)"),
        ("a.h5ad,x.h5ad,x.h5ad", "cannot write x.h5ad: it is also written by row 0 (x)"),
        ("a.h5ad,x.zarr,\nb.h5ad,x.zarr/y.h5ad,", "x.zarr, which is written by row 0 (x)"),
        ("a.zarr,a.zarr/x.h5ad,", "a.zarr, which is read by row 0 (x)"),
        ("x.zarr/a.h5ad,x.zarr,", "which is read by row 0 (x)"),
        ("a.h5ad,x.h5ad,m.csv", "cannot write m.csv: it is the manifest"),
    ],
)
def test_rows_that_would_write_what_is_read_or_written(csv, rows, expected):
    (csv.parent / "link.h5ad").symlink_to("x.h5ad")
    told = mistakes_of(csv, f"input,output,provenance\n{rows}\n")
    assert any(expected in mistake for mistake in told), told


def test_a_default_that_all_rows_would_write(csv):
    told = mistakes_of(csv, TWO_ROWS, report="r.html")
    assert told == ["row 1 (y): cannot write r.html: it is also written by row 0 (x); give another name"]


def test_rows_can_share_the_folder_of_multiqc_but_not_a_sample(csv):
    csv.write_text("input,output\na.h5ad,x.h5ad\nb.h5ad,y.h5ad\n")
    assert len(rows_of(csv, multiqc="mq")) == 2
    (csv.parent / "sub").mkdir()
    told = mistakes_of(csv, "input,output\na.h5ad,x.h5ad\nb.h5ad,sub/x.h5ad\n", multiqc="mq")
    assert told and all("it is also written by row 0 (x)" in mistake for mistake in told)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no rows"),
        ("input,output\n", "no rows"),
        ("\n,,\n\n", "no rows"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"input,output\n\xe9.h5ad,x.h5ad\n", "not a text file"),
        ("input;output\na;b\n", "separated by semicolons"),
        ("input\toutput\na\tb\n", "separated by tabs (name the file .tsv)"),
        ('input,output\n"a,x.h5ad\nb,y.h5ad\n', "line 3: not a line of a table"),
        ("input,output\n" + "a" * 200_000 + ",x.h5ad\n", "line 2: not a line of a table"),
        ("input,output,\na,x.h5ad,5\n", "header: column 3 has no name"),
        ("input,output\na\0b,x.h5ad\n", "column input: should not contain the NUL character"),
        ("output\nx.h5ad\n", "there is no column 'input'"),
        ("input,output,manifest\na,x.h5ad,m\n", "unknown column 'manifest'"),
    ],
)  # fmt: skip
def test_what_is_not_a_manifest(csv, text, expected):
    told = mistakes_of(csv, text)
    assert any(expected in mistake for mistake in told), told


def test_a_file_that_is_too_large(csv):
    with csv.open("wb") as file:
        file.truncate(LARGEST_MANIFEST + 1)
    with pytest.raises(ManifestProblem, match="larger than 32 MiB: not a list of data sets"):
        rows_of(csv)


def test_a_pipe_or_a_device_is_not_waited_for(csv):
    os.mkfifo(csv)
    with pytest.raises(ManifestProblem, match="a pipe or a device, which can be read only once; give a file"):
        rows_of(csv)
    csv.unlink()
    csv.symlink_to("/dev/zero")
    with pytest.raises(ManifestProblem, match="a pipe or a device"):
        rows_of(csv)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.symlink_to(path)])
def test_a_manifest_that_is_missing(csv, make):
    make(csv)
    with pytest.raises(InputMissing, match="cannot read manifest"):
        rows_of(csv)


def test_the_command_tells_every_mistake_and_writes_nothing(csv, capsys):
    csv.write_text("input,output,k_cell\na.h5ad,x.h5ad,0\na.h5ad,y.h5ad,-1\n")
    assert main(["batch", "--manifest", "m.csv"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" should")[0] for line in lines] == [
        "sccr: error: manifest m.csv: row 0 (x), column k_cell:",
        "sccr: error: manifest m.csv: row 1 (y), column k_cell:",
        "sccr: error: manifest m.csv: 2 mistakes, named above; nothing was run",
    ]
    assert [path.name for path in csv.parent.iterdir()] == ["m.csv"]


def test_a_single_mistake_is_one_line(csv, capsys):
    csv.write_text("input,output,k_cell\na.h5ad,x.h5ad,0\n")
    assert main(["batch", "--manifest", "m.csv", "--log-format", "json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert '"message": "manifest m.csv: row 0 (x), column k_cell: should be' in line
    assert line.endswith('nothing was run", "exit_code": 2}')


def test_rows_at_remote_addresses(csv):
    csv.write_text(
        "input,output,genes\nhttps://host/a.h5ad,s3://bucket/x.h5ad,gs://other/genes.txt\nb.h5ad,az://c/y.zarr,\n"
    )
    first, second = rows_of(csv)
    assert (str(first.source), str(first.output), first.name) == (
        "https://host/a.h5ad",
        "s3://bucket/x.h5ad",
        "row 0 (x)",
    )
    assert (first.params.provenance, first.params.genes) == ("s3://bucket/x.h5ad.record.json", "gs://other/genes.txt")
    assert second.params.provenance == "az://c/y.zarr.record.json"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("a.h5ad,s3://b/x.h5ad,\nb.h5ad,s3://b/x.h5ad,", "cannot write s3://b/x.h5ad: it is also written by row 0 (x)"),
        ("s3://b/x.h5ad,s3://b/x.h5ad,", "cannot write s3://b/x.h5ad: it is read by row 0 (x)"),
        (
            "a.h5ad,s3://b/x.zarr,\nb.h5ad,s3://b/x.zarr/y.h5ad,",
            "it is inside s3://b/x.zarr, which is written by row 0 (x)",
        ),
        ("a.h5ad,x.h5ad,s3://b/r\nb.h5ad,y.h5ad,s3://b/r", "cannot write s3://b/r: it is also written by row 0 (x)"),
        ("a.h5ad,https://h/x.h5ad,", "column output: cannot write https://h/x.h5ad: https:// can only be read"),
        ("a.h5ad,x.h5ad,https://h/r", "column provenance: cannot write https://h/r: https:// can only be read"),
        ("s3://b,x.h5ad,", "column input: cannot use s3://b: give the address of a file or folder"),
        ("a.h5ad,s3://b/x.bam,", "column output: cannot write s3://b/x.bam: unknown format"),
    ],
)
def test_what_is_wrong_with_remote_addresses(csv, rows, expected):
    told = mistakes_of(csv, f"input,output,provenance\n{rows}\n")
    assert any(expected in mistake for mistake in told), told
