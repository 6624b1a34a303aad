"""Files: targets are checked before any work, written completely, and the exit code says what happened."""

import json

import pytest

from sccr_node.__main__ import main
from sccr_node.contract.record import read_record
from sccr_node.errors import InputProblem, OutputProblem
from sccr_node.reports.multiqc import multiqc_target

from .conftest import HOSTILE, record_of

pytestmark = pytest.mark.usefixtures("without_umap")


def test_the_command_writes_page_and_multiqc(made, record_file, tmp_path, capfd):
    scores = tmp_path / "scores.tsv"
    scores.write_text("method\tmae\nsccr\t0.2\n")
    page, folder = tmp_path / "report.html", tmp_path / "multiqc"
    arguments = ["report", str(made.path), "-o", str(page), "--provenance", str(record_file), "--scores", str(scores)]
    assert main([*arguments, "--label-key", "label", "--batch-key", "number", "--multiqc", str(folder)]) == 0
    text = page.read_text()
    assert "sample 1" in text and 'id="evaluation"' in text and 'id="resources"' in text
    assert len(text) < 300_000
    assert len(list(folder.glob("sample_1.*_mqc.json"))) == 5
    assert "error:" not in capfd.readouterr().err.lower()

    assert main(arguments) == 73  # exists
    assert "--force" in capfd.readouterr().err
    assert main([*arguments, "--force", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "--output"),
        (["--multiqc", "DIR", "--scores", "x"], 2, "--output"),
        (["-o", "DIR/r.html", "--label-key", "cell_type"], 65, "'label'"),
        (["-o", "DIR/r.html", "--key-added", "magic"], 65, "'sccr'"),
        (["-o", "DIR/r.html", "--provenance", "DIR/absent.json"], 66, "absent.json"),
        (["-o", "DIR/r.html", "--scores", "DIR/absent.tsv"], 66, "absent.tsv"),
        (["--numbers", "DIR/n.tsv", "--scores", "x"], 2, "--output"),
        (["--numbers", "DIR/n.tsv", "--label-key", "label"], 2, "--label-key would have no effect: cells are shown"),
        (["--numbers", "DIR/n.tsv", "--label-key", "no", "--batch-key", "b"], 2, "--label-key, --batch-key would have"),
        (["--multiqc", "DIR/m", "--batch-key", "number"], 2, "the HTML report (--output FILE); omit it"),
        (["--numbers", ""], 2, "numbers"),
        (["--numbers", "DIR/n.tsv", "--key-added", "magic"], 65, "'sccr'"),
        (["-o", "DIR/r", "--numbers", "DIR/r"], 2, "two different outputs"),
        (["--numbers", "DIR/no/n.tsv"], 73, "does not exist; create it first"),
        (["-o", "DIR/no/r.html"], 73, "does not exist; create it first"),
        (["-o", "DIR"], 73, "DIR"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing(made, tmp_path, capfd, arguments, code, said):
    arguments = [argument.replace("DIR", str(tmp_path)) for argument in arguments]
    assert main(["report", str(made.path), *arguments]) == code
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if "error:" in line] == lines[-1:]
    assert said.replace("DIR", str(tmp_path)) in lines[-1]
    assert not list(tmp_path.iterdir())


def test_a_label_without_a_page_is_named_as_it_was_given(made, tmp_path, capfd, monkeypatch):
    table = ["report", str(made.path), "--numbers", str(tmp_path / "n.tsv")]
    monkeypatch.setenv("SCCR_LABEL_KEY", "label")
    assert main(table) == 2
    assert "SCCR_LABEL_KEY would have no effect: " in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main([*table, "-o", str(tmp_path / "r.html")]) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_the_result_itself_is_never_a_target(made, capfd):
    before = made.path.read_bytes()
    assert main(["report", str(made.path), "-o", str(made.path), "--force"]) == 2
    assert f"cannot write {made.path}: it is the input; give another name" in capfd.readouterr().err
    assert made.path.read_bytes() == before


def test_a_record_that_is_none_is_refused(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps({"tool": "other"}))
    with pytest.raises(InputProblem, match="is not a run record"):
        read_record(tmp_path / "r.json")


def test_samples_share_a_multiqc_folder(made, hostile, tmp_path):
    folder = tmp_path / "multiqc"

    def write_multiqc(path, *options):
        return main(["report", str(path), "--multiqc", str(folder), "--quiet", *options])

    assert write_multiqc(made.path) == write_multiqc(hostile.path) == 0
    assert len(list(folder.iterdir())) == 8  # without a record there are no stages
    (folder / "notes.txt").write_text("mine")
    target = multiqc_target("sample 1", folder)
    with pytest.raises(OutputProblem, match="already exists"):
        target.check(force=False)
    target.check(force=True)
    assert write_multiqc(made.path) == 73
    assert write_multiqc(made.path, "--force") == 0
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "notes.txt").unlink()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputProblem, match="not a folder"):
        multiqc_target("sample 1", tmp_path / "file").check(force=True)
    assert HOSTILE not in "".join(path.read_text() for path in folder.iterdir())


def test_the_numbers_are_written_without_the_page(made, record_file, tmp_path, capfd):
    table = tmp_path / "numbers.tsv"
    arguments = ["report", str(made.path), "--numbers", str(table), "--provenance", str(record_file)]
    assert main(arguments) == 0
    assert f"wrote {table}" in capfd.readouterr().err
    lines = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == ["number", "value", "meaning"]
    assert {len(line) for line in lines} == {3}
    values = {line[0]: line[1] for line in lines}
    assert (values["Method"], values["Cells"], values["Memory (GB)"]) == ("scCR", str(len(made.before)), "0.512")
    assert list(tmp_path.iterdir()) == [table]

    assert main(arguments) == 73  # exists
    assert "--force" in capfd.readouterr().err
    assert main([*arguments, "--force", "--quiet"]) == 0


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_a_record_with_a_number_that_is_none_is_refused(made, tmp_path, sccr, number):
    record = record_of(made)
    record["resources"]["total_seconds"] = "SECONDS"
    (tmp_path / "record.json").write_text(json.dumps(record).replace('"SECONDS"', number))
    page = tmp_path / "page.html"
    code, _, said = sccr("report", made.path, "-o", page, "--provenance", tmp_path / "record.json")
    assert (
        code == 65 and "is not a run record of sccr impute: resources.total_seconds should be a finite number" in said
    )
    assert not page.exists()
