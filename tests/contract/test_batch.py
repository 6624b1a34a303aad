"""The parameters of ``sccr batch``: defaults for rows, cells that beat them, and the index of a job array."""

import pytest
from pydantic import BaseModel

from sccr_node.contract.batch import INDEX_VARIABLES, BatchParameters, array_index
from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.settings import merge
from sccr_node.errors import UsageProblem


def row_of(asked, **cells):
    return asked.of_row(cells, {name: f"column {name}" for name in cells})


def test_cells_beat_flags_that_beat_the_environment_that_beats_the_config(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("manifest: m.csv\nk_cell: 3\nk_gene: 3\nbeta: 0.3\nalpha: 0.3\n")
    environ = {"SCCR_K_GENE": "4", "SCCR_BETA": "0.4", "SCCR_ALPHA": "0.4"}
    flags = {"beta": "0.5", "alpha": "0.5", "method": None}
    asked = merge(BatchParameters, flags, config=config, environ=environ).validated()
    params = row_of(asked, alpha="0.6").validated()
    assert (params.k_cell, params.k_gene, params.beta, params.alpha, params.n_top_genes) == (3, 4, 0.5, 0.6, 2000)
    assert params.source_of("alpha") == "column alpha"
    assert params.source_of("k_cell") == f"config file {config}: k_cell"
    assert config in params.files_read()


def test_a_row_is_the_same_as_the_command_with_the_same_words():
    asked = merge(BatchParameters, {"manifest": "m.csv", "k_cell": "5", "max_memory": "8GB"}, environ={}).validated()
    alone = merge(
        ImputeParameters, {"k_cell": "5", "max_memory": "8GB", "tune": "true", "target_sum": "1e4"}, environ={}
    ).validated()
    row = row_of(asked, tune="true", target_sum="1e4").validated()
    assert (row.model_dump(), row.model_fields_set) == (alone.model_dump(), alone.model_fields_set)


def test_a_cell_settles_what_the_defaults_leave_contradictory():
    asked = merge(BatchParameters, {"manifest": "m.csv", "low_rank": "5"}, environ={}).validated()
    assert row_of(asked).problems() == ["--low-rank requires --low-rank-share"]
    assert row_of(asked, low_rank_share="0.2").validated().blend_parameters() == {"low_rank_share": 0.2, "low_rank": 5}


def test_no_check_of_contradictions_is_left_to_the_defaults():
    """A validator of its own would refuse defaults that a cell settles."""
    checks = {
        name
        for model in BatchParameters.__mro__
        if issubclass(model, BaseModel)
        for name in getattr(model, "__pydantic_decorators__", BaseModel.__pydantic_decorators__).model_validators
    }
    assert checks == {"_no_contradictions"}


def test_all_contradictions_are_told():
    asked = merge(BatchParameters, {"manifest": "m.csv"}, environ={}).validated()
    cells = {"genes": "all", "n_top_genes": "5", "low_rank": "3", "input_scale": "log1p", "target_sum": "100"}
    assert row_of(asked, **cells).problems() == [
        "--n-top-genes requires --genes top-variance, not --genes all",
        "--target-sum applies only to counts: it contradicts --input-scale log1p",
        "--low-rank requires --low-rank-share",
    ]


def test_all_that_is_wrong_is_told_one_line_per_parameter():
    asked = merge(BatchParameters, {"manifest": "m.csv"}, environ={}).validated()
    problems = row_of(asked, k_cell="0", target_sum="many", write="all").problems()
    named = {problem.split(":")[0] for problem in problems}
    assert named == {"column k_cell", "column target_sum", "column write"}
    assert len(problems) == 3


@pytest.mark.parametrize("variable", INDEX_VARIABLES)
def test_the_index_of_each_provider(variable):
    assert array_index({variable: "7", "OTHER": "1"}) == (variable, 7)


def test_without_an_array_there_is_no_index():
    assert array_index({"AWS_BATCH_JOB_ATTEMPT": "1", "SLURM_ARRAY_TASK_ID": ""}) is None


def test_variables_that_agree_and_variables_that_differ():
    assert array_index({"BATCH_TASK_INDEX": "2", "SLURM_ARRAY_TASK_ID": "2"}) == ("BATCH_TASK_INDEX", 2)
    with pytest.raises(UsageProblem, match=r"different indices \(BATCH_TASK_INDEX = 2, SLURM_ARRAY_TASK_ID = 3\)"):
        array_index({"BATCH_TASK_INDEX": "2", "SLURM_ARRAY_TASK_ID": "3"})


@pytest.mark.parametrize("text", ["-1", "one", "1.5", "٣", "9" * 5000])
def test_a_variable_that_is_no_index(text):
    with pytest.raises(UsageProblem, match=r"^JOB_COMPLETION_INDEX: should be the number of a row"):
        array_index({"JOB_COMPLETION_INDEX": text})
