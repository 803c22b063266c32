"""Settings of a fine-tuning that a validation split chooses, kept like models under the text of what they are."""

from pathlib import Path
from typing import Any

import torch

from weatherproof.evaluation.finetune_search import FILE, Search, Setting
from weatherproof.objectives import parse_regularizer
from weatherproof.spec import component
from weatherproof.studies.lab.recipes import lasting, look_of
from weatherproof.studies.lab.sets import Images
from weatherproof.studies.lab.store import Recipe, Store
from weatherproof.texts import read_json
from weatherproof.training import Plan, RunFolder


@component
class Chosen:
    """The learning rate and the weights of these regularizers that `Search` chooses on a tenth of the images.

    Attributes:
        plan: of the whole training; its lr is where the search starts.
        regularizers: their texts.
        steps: as in `Finetuned`.
    """

    start: Recipe
    data: Images
    plan: Plan
    regularizers: tuple[str, ...] = ()
    augment: str | None = None
    steps: int | None = None

    def setting(self, store: Store) -> Setting:
        """What was chosen: from the store, or found now."""
        folder = store.home(self)
        kept = read_setting(folder)
        if kept is not None:
            return kept
        run = RunFolder.open(folder, {"recipe": repr(self)})
        try:
            train, plan = store.images(self.data), self.course(store)
            reading = {"device": store.device, "batch_size": plan.batch_size, "seed": plan.seed}
            search = Search(
                run, store.encoder(self.start), train, torch.arange(len(train)), "linear", look_of(self.augment), plan,
                "top1", reading,
            )  # fmt: skip
            given = tuple(map(parse_regularizer, self.regularizers))
            return search.choose(Setting(plan.lr, given), lr=True, weight=True)
        finally:
            run.close()

    def course(self, store: Store) -> Plan:
        """The plan for as many images as there are."""
        return lasting(store.plan(self.plan), self.steps, store.images(self.data))


def read_setting(folder: Path) -> Setting | None:
    """What a search chose; None where it has not finished."""
    if not (folder / FILE).is_file():
        return None
    found: dict[str, Any] | None = read_json(folder / FILE)["chosen"]
    return None if found is None else Setting(found["lr"], tuple(map(parse_regularizer, found["regularizers"])))
