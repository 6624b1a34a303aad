"""Parameters that ``sccr tune`` found before: whether its verdicts hold for the data at hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sccr_node.contract.impute import ImputeParameters
from sccr_node.contract.imputing import MethodParameters
from sccr_node.contract.tuned import TunedBefore
from sccr_node.data.dataset import Dataset
from sccr_node.data.preparation import Preparation
from sccr_node.evaluation.verdicts import Tuning, answer_of
from sccr_node.pipeline.plan import Batch, Plan
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
        data=_digest_of_data(data, preparation, batches), parameters=_digest_of_parameters(found), **tuning.noted()
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
    against = answer_of(before.values).warns
    if before.data != _digest_of_data(plan.data, plan.preparation, plan.batches):
        advice = "; imputing those was advised against" if against else ""
        text = (
            f"the parameters were tuned on other data ({quantity(before.n_cells, 'cell')}){advice}: sccr tune tells "
            "whether they help here"
        )
        console.show([Finding(text, warning=against)])
        return plan
    if before.parameters != _digest_of_parameters(asked):
        text = "not all parameters are those that were tuned: the verdicts of sccr tune do not hold for them"
        console.show([Finding(text)])
        return plan
    answers = {"values": before.values, "neighborhoods": before.neighborhoods}
    short = [answer_of(name).short.lower() for name in answers.values()]
    console.say(
        f"parameters tuned on these data: values: {short[0]}; neighbourhoods: {short[1]}",
        explained=before.explained,
        neighbors_change=before.neighbors_change,
        **answers,
    )
    warned = zip(answers.values(), before.verdicts, strict=True)
    console.show([Finding(text, warning=True) for name, text in warned if answer_of(name).warns])
    return replace(plan, tuned_before=before)


def _digest_of_data(data: Dataset, preparation: Preparation, batches: Sequence[Batch]) -> str:
    """Return a digest of counts and their preparation: sums of whole numbers are the same in every format."""
    digest = hashlib.sha256()
    names = [str(name) for name in data.gene_names[preparation.genes]]
    digest.update(json.dumps([names, preparation.normalize_by, preparation.target_sum]).encode())
    for sums in (preparation.summary.cell_totals, preparation.summary.gene_sums):
        digest.update(np.ascontiguousarray(sums, "<f8").tobytes())
    for batch in batches:
        digest.update(np.ascontiguousarray(batch.cells, "<i8").tobytes())
    return digest.hexdigest()


def _digest_of_parameters(asked: MethodParameters) -> str:
    settings = {"method": asked.method, **asked.method_parameters(), **asked.blend_parameters()}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
