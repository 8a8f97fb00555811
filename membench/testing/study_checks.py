"""Checks of studies: what `membench reproduce` needs of them before anything is trained.

An analysis reads what training has given, so `membench reproduce` alone runs it. Imports no torch.
"""

from __future__ import annotations

import inspect

from membench.planning.study_plan import plan_arms
from membench.studies import SCALES
from membench.studies import Study
from membench.testing.check import Fault
from membench.testing.check import source_location
from membench.testing.subject import Subject


def says_its_claim(subject: Subject) -> None:
    """Check that the claim is a sentence."""
    claim = _study(subject).claim
    if len(claim.split()) < 3:
        raise Fault(f"claim must be a sentence that can be false, not {claim!r}")


def plans(subject: Subject) -> str:
    """Check that each scale can be planned: all names are known, and recipes are sound."""
    study = _study(subject)
    sizes = []
    for scale in study.arms:
        if scale not in SCALES:
            raise Fault(f"scale {scale!r} is none of {', '.join(SCALES)}")
        registry = subject.registry.for_study(study.name)
        arms = plan_arms(study, scale, registry, lambda dataset: "", lambda *names: None)
        sizes.append(f"{scale}: {sum(len(arm.cells) for arm in arms)} cells")
    return ", ".join(sizes)


def fits(subject: Subject) -> None:
    """Check that a batch is no larger than what an arm trains on, and that its cells are some."""
    study = _study(subject)
    for scale, arms in study.arms.items():
        names = [arm.name for arm in arms]
        if len(set(names)) < len(names):
            raise Fault(f"{scale}: two arms have one name: {', '.join(names)}")
        for arm in arms:
            if not (arm.seeds and arm.signals and arm.architectures and arm.regularizers):
                raise Fault(f"{scale}/{arm.name} has no cells")
            if arm.recipe.steps(arm.split.trained) == 0:
                raise Fault(
                    f"{scale}/{arm.name}: {arm.split.trained} training images fill no batch of "
                    f"{arm.recipe.batch}"
                )


def analyses(subject: Subject) -> None:
    """Check that `analyse` takes the results, and nothing else."""
    analyse = _study(subject).analyse
    try:
        inspect.signature(analyse).bind("results")
    except TypeError:
        raise Fault(
            f"analyse is called with (results), and takes {inspect.signature(analyse)}",
            source_location(analyse),
        ) from None


def _study(subject: Subject) -> Study:
    study: Study = subject.records[0]
    return study
