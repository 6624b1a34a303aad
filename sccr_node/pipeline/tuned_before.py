"""Parameters that ``sccr tune`` found before: whether its verdicts hold for the data at hand, or for a result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np

from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.imputing import MethodParameters
from sccr_node.contract.methods import METHODS
from sccr_node.contract.tuned import TUNING_KEY, TunedBefore
from sccr_node.data.dataset import Dataset
from sccr_node.data.guard import reading
from sccr_node.data.parts import digest_of_whole
from sccr_node.data.preparation import Preparation
from sccr_node.errors import InputProblem
from sccr_node.evaluation.verdicts import Tuning, answer_of
from sccr_node.pipeline.plan import Batch, Plan, batches_of, blend_of
from sccr_node.results import Result
from sccr_node.runtime.console import Console, Finding
from sccr_node.runtime.words import quantity


def note_of(
    tuning: Tuning, data: Dataset, preparation: Preparation, batches: Sequence[Batch], asked: MethodParameters
) -> TunedBefore:
    """Return what a config file carries of tuning, beside the parameters.

    Parameters
    ----------
    tuning
        What tuning found.
    data, preparation, batches
        What was tuned on.
    asked
        The parameters as they were asked for.
    """
    found = asked.model_copy(update=tuning.parameters)
    return TunedBefore(
        data=digest_of_data(data, preparation, batches), parameters=_digest_of_parameters(found), **tuning.noted()
    )


def with_tuning_before(plan: Plan, asked: ImputeParameters, console: Console) -> Plan:
    """Return the plan with what was found when its parameters were tuned, if that holds for it, and say so.

    Parameters
    ----------
    plan
        The plan.
    asked
        The parameters, with what their config file says of tuning.
    console
        Shows the verdicts, or why they do not hold; advice against imputing is a warning in any case.
    """
    before = asked.tuned_before
    # Tuning anew has its own verdicts, and what was found is about the denoised expression.
    if before is None or asked.tune or asked.write == "recovered":
        return plan
    data = digest_of_data(plan.data, plan.preparation, plan.batches)
    holds = _holds(before, data, _digest_of_parameters(asked), digest_of_whole(plan.data), console)
    return replace(plan, tuned_before=before) if holds else plan


def take_tuning_before(result: Result, before: TunedBefore | None, console: Console) -> None:
    """Add what tuning found to what a result says of itself, if it holds for it, and say so.

    Parameters
    ----------
    result
        The result; one that was tuned in its own run keeps what was found then.
    before
        What tuning found.
    console
        Shows the verdicts, or why they do not hold.
    """
    if before is None or TUNING_KEY in result.about:
        return
    params = result.params
    if params.get("write") == "recovered":
        text = "the verdicts of sccr tune are about denoised expression, and this result contains none"
        console.show([Finding(text)])
        return
    with reading(result.data.path, f"uns[{result.key!r}]"):
        parameters = _digest_of_recorded(params)
    try:
        batches = batches_of(result.data, params.get("batch_key"))
    except InputProblem as problem:  # of a column that was changed since: the page does not need it
        console.show([Finding(f"whether the verdicts of sccr tune hold for this result is not known: {problem}")])
        return
    data = digest_of_data(result.data, result.preparation(console.progress), batches)
    if _holds(before, data, parameters, digest_of_whole(result.data), console):
        result.about = {**result.about, TUNING_KEY: before.noted()}


def _holds(before: TunedBefore, data: str, parameters: str, whole: str | None, console: Console) -> bool:
    """Return whether what tuning found is about these data and parameters, and say so, or why it is not.

    Parameters
    ----------
    before
        What tuning found.
    data, parameters
        Digests of the data at hand, and of the parameters.
    whole
        Digest of the data set that the data at hand were split from; None if they are no part.
    console
        Shows it.
    """
    against = answer_of(before.values).warns
    if before.data not in (data, whole):
        advice = "; imputing those was advised against" if against else ""
        text = (
            f"the parameters were tuned on other data ({quantity(before.n_cells, 'cell')}){advice}: sccr tune tells "
            "whether they help here"
        )
        console.show([Finding(text, warning=against)])
        return False
    if before.parameters != parameters:
        text = "not all parameters are those that were tuned: the verdicts of sccr tune do not hold for them"
        console.show([Finding(text)])
        return False
    answers = {"values": before.values, "neighborhoods": before.neighborhoods}
    short = [answer_of(name).short.lower() for name in answers.values()]
    where = "these data" if before.data == data else "the whole data set that this part is of"
    console.say(
        f"parameters tuned on {where}: values: {short[0]}; neighbourhoods: {short[1]}",
        explained=before.explained,
        neighbors_change=before.neighbors_change,
        **answers,
    )
    warned = zip(answers.values(), before.verdicts, strict=True)
    console.show([Finding(text, warning=True) for name, text in warned if answer_of(name).warns])
    # The averages that were judged are those of all parts together.
    return before.data == data


def digest_of_data(data: Dataset, preparation: Preparation, batches: Sequence[Batch]) -> str:
    """Return a digest of counts and their preparation: sums of whole numbers are the same in every format."""
    digest = sha256()
    names = [str(name) for name in data.gene_names[preparation.genes]]
    digest.update(json.dumps([names, preparation.normalize_by, preparation.target_sum]).encode())
    for sums in (preparation.summary.cell_totals, preparation.summary.gene_sums):
        digest.update(np.ascontiguousarray(sums, "<f8").tobytes())
    for batch in batches:
        digest.update(np.ascontiguousarray(batch.cells, "<i8").tobytes())
    return digest.hexdigest()


def _digest_of_parameters(asked: MethodParameters) -> str:
    return _digest_of({"method": asked.method, **asked.method_parameters(), **asked.blend_parameters()})


def _digest_of_recorded(params: Mapping[str, Any]) -> str:
    """Return the same for the parameters that a result records; of a method that only another version knows, none."""
    method = METHODS.get(params["method"])
    if method is None:
        return ""
    settings = method.complete({name: params.get(name) for name in method.settings})
    blend = blend_of(params)
    blended = {} if blend is None else {"low_rank_share": blend.share, "low_rank": blend.rank}
    return _digest_of({"method": method.name, **settings, **blended})


def _digest_of(settings: Mapping[str, Any]) -> str:
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
