"""What sccr tune found reaches the run that reads its config, but only if data and parameters are those it is about."""

import json

import anndata
import numpy as np
import pytest
import yaml
from scipy import sparse

from tests.support.simulated import simulated


def _write(path, *, helps):
    """Counts so few that neighbours help; or of genes that have nothing to do with each other."""
    adata = simulated(n_cells=240, n_genes=120, n_types=4, n_batches=2, depth=120)
    adata.X = adata.layers["complete_counts"].copy()
    del adata.layers["complete_counts"]
    if not helps:
        noise = np.random.default_rng(0).poisson(0.6, adata.shape).astype(np.float32)
        adata.X = sparse.csr_matrix(noise)
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tuned")


@pytest.fixture(scope="module")
def source(folder):
    return _write(folder / "counts.h5ad", helps=True)


@pytest.fixture
def config(source, folder, sccr):
    path = folder / "tuned.yaml"
    if not path.exists():
        assert sccr("tune", source, "-o", path)[0] == 0
    return path


def test_verdicts_are_said_recorded_and_reported(sccr, source, config, tmp_path):
    record, page = tmp_path / "record.json", tmp_path / "page.html"
    options = ("--config", config, "--provenance", record, "--report", page)
    code, _, err = sccr("impute", source, tmp_path / "out.h5ad", *options)
    assert code == 0
    assert "parameters tuned on these data: values: closer to the truth; neighbourhoods: " in err
    told, found = json.loads(record.read_text())["tuning"], yaml.safe_load(config.read_text())["tuning"]
    assert told == {name: value for name, value in found.items() if name not in ("data", "parameters")}
    assert "Does it help?" in page.read_text() and "Closer to the truth" in page.read_text()
    # The record brings them to a page that is written later, too.
    assert sccr("report", tmp_path / "out.h5ad", "-o", page, "--provenance", record, "--force")[0] == 0
    assert "Does it help?" in page.read_text()
    # What is said of the parameters does not change the result, or parts would not be gathered to the same bytes.
    plain = tmp_path / "plain.yaml"
    numbers = yaml.safe_load(config.read_text())
    plain.write_text(yaml.safe_dump({name: value for name, value in numbers.items() if name != "tuning"}))
    assert sccr("impute", source, tmp_path / "plain.h5ad", "--config", plain)[0] == 0
    assert (tmp_path / "plain.h5ad").read_bytes() == (tmp_path / "out.h5ad").read_bytes()


def _split_and_imputed(sccr, source, folder, *options):
    """Impute the parts of a data set; return them, and what was said."""
    assert sccr("split", source, "--batch-key", "batch", "--outdir", folder / "parts")[0] == 0
    imputed, said = [], []
    depth = (folder / "parts" / "target_sum.txt").read_text().strip()
    for part in sorted((folder / "parts").glob("*.h5ad")):
        imputed.append(folder / f"imputed_{part.name}")
        where = ("--genes", folder / "parts" / "genes.txt", "--target-sum", depth)
        code, _, err = sccr("impute", part, imputed[-1], *where, *options)
        assert code == 0
        said.append(err)
    return imputed, said


@pytest.mark.parametrize("kind", ["h5ad", "zarr", "layer", "promoted", "gathered"])
def test_the_config_brings_the_verdicts_to_a_report_on_a_result(sccr, source, config, tmp_path, kind):
    adata, output, options = anndata.read_h5ad(source), tmp_path / "out.h5ad", []
    if kind == "gathered":
        config, options = tmp_path / "batches.yaml", ["--batch-key", "batch"]
        assert sccr("tune", source, "-o", config, *options)[0] == 0
        imputed, _ = _split_and_imputed(sccr, source, tmp_path, "--config", config)
        assert sccr("gather", source, output, *imputed)[0] == 0
    else:
        if kind == "layer":
            adata.layers["raw"], options = adata.X, ["--layer", "raw"]
        output = output.with_suffix(".zarr") if kind == "zarr" else output
        adata.write_h5ad(tmp_path / "in.h5ad")
        assert sccr("impute", tmp_path / "in.h5ad", output, "--config", config, *options)[0] == 0
    if kind == "promoted":
        assert sccr("promote", output, tmp_path / "promoted.h5ad", "--layer", "sccr")[0] == 0
        output = tmp_path / "promoted.h5ad"
    code, _, err = sccr("report", output, "-o", tmp_path / "page.html", "--config", config)
    assert code == 0 and "parameters tuned on these data: values: closer to the truth; neighbourhoods: " in err
    page = (tmp_path / "page.html").read_text()
    assert "Does it help?" in page and "Closer to the truth" in page and "made without its verdicts" not in page


def test_a_report_without_verdicts_says_how_to_add_them(sccr, source, config, tmp_path):
    page = tmp_path / "page.html"
    out = tmp_path / "out.h5ad"
    assert sccr("impute", source, out, "--config", config, "--beta", 0.123)[0] == 0
    code, _, err = sccr("report", out, "-o", page, "--config", config)
    assert code == 0 and "the verdicts of sccr tune do not hold for them" in err
    assert 'id="helps"' not in page.read_text()
    assert "this page was made without its verdicts: <code>sccr report</code> adds them" in page.read_text()
    assert sccr("impute", source, tmp_path / "other.h5ad", "--config", config, "--n-top-genes", 60)[0] == 0
    code, _, err = sccr("report", tmp_path / "other.h5ad", "-o", page, "--config", config, "--force")
    assert code == 0 and "the parameters were tuned on other data (240 cells)" in err
    options = ("--config", config, "--write", "recovered", "--key-added", "r")
    assert sccr("impute", source, tmp_path / "recovered.h5ad", *options)[0] == 0
    code, _, err = sccr("report", tmp_path / "recovered.h5ad", "-o", page, "--config", config, "--force")
    assert code == 0 and "are about denoised expression, and this result contains none" in err


def test_a_report_does_not_need_the_column_of_the_batches(sccr, source, tmp_path):
    config, page = tmp_path / "batches.yaml", tmp_path / "page.html"
    assert sccr("tune", source, "-o", config, "--batch-key", "batch")[0] == 0
    assert sccr("impute", source, tmp_path / "out.h5ad", "--batch-key", "batch", "--config", config)[0] == 0
    adata = anndata.read_h5ad(tmp_path / "out.h5ad")
    del adata.obs["batch"]
    adata.write_h5ad(tmp_path / "without.h5ad")
    code, _, err = sccr("report", tmp_path / "without.h5ad", "-o", page, "--config", config)
    assert code == 0 and "whether the verdicts of sccr tune hold for this result is not known: " in err
    assert "no column 'batch'" in err and "Does it help?" not in page.read_text()


def test_a_config_of_a_report_is_checked(refused, sccr, source, config, tmp_path):
    assert sccr("impute", source, tmp_path / "out.h5ad", "--config", config)[0] == 0
    values = yaml.safe_load(config.read_text())
    command = ("report", tmp_path / "out.h5ad", "-o", tmp_path / "page.html", "--config", tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({**values, "labels": "x"}))
    refused(2, ["bad.yaml", "unknown key 'labels'"], *command)
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({**values, "tuning": 3}))
    refused(2, ["bad.yaml", "tuning is not as sccr tune writes it"], *command)
    (tmp_path / "bad.yaml").write_text("beta: 0.5\n")
    refused(2, ["bad.yaml", "unknown key 'beta'"], *command)
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({**values, "batch_key": "batch", "n_top_genes": 2000}))
    assert sccr(*command)[0] == 0
    assert "Coloured by batch" in (tmp_path / "page.html").read_text()


def test_parts_of_the_tuned_data_are_known(sccr, source, tmp_path):
    config, record = tmp_path / "batches.yaml", tmp_path / "record.json"
    assert sccr("tune", source, "-o", config, "--batch-key", "batch")[0] == 0
    _, said = _split_and_imputed(sccr, source, tmp_path, "--config", config, "--provenance", record, "--force")
    for err in said:
        assert "parameters tuned on the whole data set that this part is of: values: closer to the truth" in err
        assert "other data" not in err and "warning: the parameters" not in err
    # What was judged is the mean over all parts: it is not said of one of them.
    assert json.loads(record.read_text())["tuning"] is None
    given = ("--config", config, "--beta", 0.123)
    _, _, err = sccr("impute", tmp_path / "parts" / "batch_1.h5ad", tmp_path / "one.h5ad", *given)
    assert "the verdicts of sccr tune do not hold for them" in err
    # Cells were removed from a part; other programs keep what uns says of it.
    fewer = anndata.read_h5ad(tmp_path / "parts" / "batch_1.h5ad")[5:].copy()
    fewer.write_h5ad(tmp_path / "fewer.h5ad")
    _, _, err = sccr("impute", tmp_path / "fewer.h5ad", tmp_path / "fewer_imputed.h5ad", "--config", config)
    assert "the parameters were tuned on other data" in err
    other = anndata.read_h5ad(source)[20:].copy()
    other.write_h5ad(tmp_path / "other.h5ad")
    (tmp_path / "other").mkdir()
    _, said = _split_and_imputed(sccr, tmp_path / "other.h5ad", tmp_path / "other", "--config", config)
    assert all("the parameters were tuned on other data" in err for err in said)


@pytest.mark.parametrize("kind", ["zarr", "layer", "a default given"])
def test_the_same_counts_elsewhere_are_the_same_data(sccr, source, config, tmp_path, kind):
    adata, options = anndata.read_h5ad(source), []
    if kind == "layer":
        adata.layers["raw"], options = adata.X, ["--layer", "raw"]
        adata.X = adata.X.toarray()
    path = tmp_path / ("again.zarr" if kind == "zarr" else "again.h5ad")
    adata.write_zarr(path) if kind == "zarr" else adata.write_h5ad(path)
    options += ["--genes", "top-variance"] if kind == "a default given" else []
    code, _, err = sccr("impute", path, tmp_path / "out.h5ad", "--config", config, *options)
    assert code == 0 and "parameters tuned on these data" in err


@pytest.mark.parametrize("change", ["fewer cells", "other counts", "other genes", "batches"])
def test_other_data_have_no_verdict(sccr, source, config, tmp_path, change):
    adata, options, record = anndata.read_h5ad(source), [], tmp_path / "record.json"
    if change == "fewer cells":
        adata = adata[:200].copy()
    elif change == "other counts":
        adata.X[0, 0] = 7
    else:
        options = ["--n-top-genes", 60] if change == "other genes" else ["--batch-key", "batch"]
    adata.write_h5ad(tmp_path / "other.h5ad")
    options = [*options, "--config", config, "--provenance", record]
    code, _, err = sccr("impute", tmp_path / "other.h5ad", tmp_path / "out.h5ad", *options)
    assert code == 0 and "tuned on these data" not in err
    assert "the parameters were tuned on other data (240 cells): sccr tune tells whether they help here" in err
    assert json.loads(record.read_text())["tuning"] is None


@pytest.mark.parametrize("given", [["--beta", 0.123], ["--k-cell", 9], ["--low-rank-share", 0]])
def test_other_parameters_have_no_verdict(sccr, source, config, tmp_path, given):
    record = tmp_path / "record.json"
    options = ("--config", config, *given, "--provenance", record)
    code, _, err = sccr("impute", source, tmp_path / "out.h5ad", *options)
    assert code == 0 and "the verdicts of sccr tune do not hold for them" in err
    assert json.loads(record.read_text())["tuning"] is None


def test_recovered_expression_and_tuning_anew_have_nothing_to_do_with_it(sccr, source, config, tmp_path):
    for number, option in enumerate((["--write", "recovered"], ["--tune"])):
        code, _, err = sccr("impute", source, tmp_path / f"{number}.h5ad", "--config", config, *option)
        assert code == 0 and "tuned on these data" not in err and "do not hold" not in err


def test_advice_against_imputing_is_a_warning_whatever_is_asked_for(sccr, source, tmp_path):
    noise, config, record = _write(tmp_path / "noise.h5ad", helps=False), tmp_path / "noise.yaml", tmp_path / "r.json"
    assert sccr("tune", noise, "-o", config)[0] == 0
    options = ("--config", config, "--quiet", "--provenance", record)
    code, _, err = sccr("impute", noise, tmp_path / "out.h5ad", *options)
    assert code == 0 and err.startswith("sccr: warning: values: do not impute: ")
    assert json.loads(record.read_text())["tuning"]["values"] == "no help"
    code, _, err = sccr("impute", source, tmp_path / "other.h5ad", "--config", config, "--quiet")
    assert code == 0 and "tuned on other data (240 cells); imputing those was advised against" in err
    manifest = tmp_path / "samples.csv"
    manifest.write_text(f"input,output\n{noise},{tmp_path / 'row.h5ad'}\n")
    code, _, err = sccr("batch", "--manifest", manifest, "--config", config)
    assert code == 0 and "imputed although tuning says: do not impute: 'row 0 (row)'" in err


def test_every_command_that_imputes_takes_the_config(sccr, source, config, tmp_path):
    assert sccr("tune", source, "--config", config, "-o", tmp_path / "again.yaml")[0] == 0
    again = yaml.safe_load((tmp_path / "again.yaml").read_text())
    assert again["beta"] == yaml.safe_load(config.read_text())["beta"]
    (tmp_path / "tuned.json").write_text(json.dumps(yaml.safe_load(config.read_text())))
    code, _, err = sccr("impute", source, tmp_path / "out.h5ad", "--config", tmp_path / "tuned.json")
    assert code == 0 and "parameters tuned on these data" in err


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (lambda found: found.pop("values"), "tuning.values"),
        (lambda found: found.update(data="00"), "tuning.data"),
        (lambda found: found["curve"].update(beta="much"), "tuning.curve.beta"),
        (lambda found: found.update(verdicts=["one"]), "tuning.verdicts.1"),
        (lambda found: found.update(more=1), "tuning.more"),
        (lambda found: found.update(n_cells=-5), "tuning.n_cells"),
        (lambda found: found["curve"]["beta"].pop(), "tuning.curve"),
        (lambda found: found["verdicts"].__setitem__(0, "a\x1b[31m line\nand another"), "tuning.verdicts.0"),
    ],
)
def test_what_tuning_did_not_write_is_refused(refused, source, config, tmp_path, damage, where):
    values = yaml.safe_load(config.read_text())
    damage(values["tuning"])
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(values))
    command = ("impute", source, tmp_path / "out.h5ad", "--config", tmp_path / "bad.yaml")
    refused(2, ["bad.yaml", f"{where} is not as sccr tune writes it", "delete 'tuning'"], *command)


def test_what_it_says_is_text_on_the_page(sccr, source, config, tmp_path):
    values = yaml.safe_load(config.read_text())
    values["tuning"].update(values="<script>alert(1)</script>", verdicts=["<script>alert(2)</script>"] * 2)
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(values))
    options = ("--config", tmp_path / "odd.yaml", "--report", tmp_path / "page.html")
    assert sccr("impute", source, tmp_path / "out.h5ad", *options)[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert "&lt;script&gt;alert(2)" in page and "<script>alert" not in page


@pytest.mark.parametrize("text", ["", "# sccr tune: cut off after its first li"])
def test_a_config_without_parameters_is_a_warning(sccr, source, tmp_path, text):
    (tmp_path / "cut.yaml").write_text(text)
    code, _, err = sccr("impute", source, tmp_path / "out.h5ad", "--config", tmp_path / "cut.yaml", "--quiet")
    assert code == 0 and "cut.yaml sets no parameter: was it cut off?" in err


def test_a_section_that_is_no_mapping_is_refused(refused, source, tmp_path):
    (tmp_path / "bad.yaml").write_text("tuning: yes\n")
    command = ("impute", source, tmp_path / "out.h5ad", "--config", tmp_path / "bad.yaml")
    refused(2, ["bad.yaml", "tuning is not as sccr tune writes it"], *command)
