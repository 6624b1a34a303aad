"""The verdicts: every answer from numbers that call for it, in sentences that are true."""

import math

import pytest

from sccr_node.evaluation.tuning import Choice, Neighborhoods, ScoredSetting
from sccr_node.evaluation.verdicts import HARM, NO_HARM, Tuning, on_neighborhoods, on_values


def candidate(name, explained, error=1.0, **numbers):
    names = ("beta", "n_denoising_iterations", "low_rank", "low_rank_share")
    return ScoredSetting(name, *(numbers.get(each) for each in names), error, explained, 0, 0)


def choice(chosen, unimputed=-1.5, *, error=0.5, means=1.0):
    best = candidate("blend", chosen, error, beta=0.8, n_denoising_iterations=2, low_rank=15, low_rank_share=0.4)
    baselines = [
        candidate("unimputed", unimputed, 3.0),
        candidate("gene mean", 0.0, means),
        candidate("published", 0.65),
        candidate("PCA", 0.7, low_rank=10),
    ]
    return Choice(best, (best,), {each.name: each for each in baselines})


@pytest.mark.parametrize(
    ("made", "answer", "said"),
    [
        (
            choice(0.79),
            "help",
            "imputation with the chosen parameters explains 79% (no imputation: less than the gene means;",
        ),
        (
            choice(0.9, 0.95),
            "no help",
            "values: do not impute: the unimputed values already explain 95% of the predictable variation, imputation "
            "with the chosen parameters 90% (published strength: 65%; ",
        ),
        (choice(-0.1, 0.2), "no help", "with the chosen parameters less than the gene means ("),
        (choice(-0.1), "no help", "values: do not impute: of the predictable variation, imputation"),
        (choice(0.999, 0.998), "little", "values: little to gain"),
        (choice(math.nan), "little", "better than the gene means, but most variation is noise"),
        (choice(math.nan, error=1.2), "no help", "do not impute: no setting predicts better"),
    ],
)
def test_values(made, answer, said):
    verdict = on_values(made)
    assert verdict.answer == answer and said in verdict.text
    assert "nan" not in verdict.text


@pytest.mark.parametrize(
    ("change", "answer", "said"),
    [
        (-0.02, "no harm seen", "2.00% better than those found before"),
        (0.0, "no harm seen", "equally well"),
        (NO_HARM + 1e-6, "cannot tell", "worse"),
        (HARM + 1e-6, "prefer unimputed", "prefer the principal components of the unimputed data"),
        (math.nan, "cannot tell", "too few cells or genes"),
    ],
)
def test_neighborhoods(change, answer, said):
    verdict = on_neighborhoods(Neighborhoods(change, 26.4))
    assert verdict.answer == answer and said in verdict.text and "about 26 cells or fewer" in verdict.text
    # What no average can show is not said as if it were a harm that was found, whatever the answer beside it.
    average = "averaged over all cells, ", "about 26 cells or fewer are blurred together does not show in this average"
    assert all((words in verdict.text) == math.isfinite(change) for words in average)
    assert "about 1 cell or fewer" in on_neighborhoods(Neighborhoods(change, 0.9)).text


def test_advice_against_imputing_is_a_warning_and_a_tuning_reads_as_sentences():
    tuning = Tuning(choice(0.9, 0.95), Neighborhoods(HARM * 2, 30), 100, 100, 0)
    assert [finding.warning for finding in tuning.findings] == [True, True]
    fine = Tuning(choice(0.8), Neighborhoods(0, 30), 100, 100, 0)
    assert [finding.warning for finding in fine.findings] == [False, False]
    assert repr(fine).splitlines()[0] == "Tuning(beta=0.8, n_denoising_iterations=2, low_rank_share=0.4, low_rank=15)"
    assert len(repr(fine).splitlines()) == 3 and len(repr(fine)) < 600
