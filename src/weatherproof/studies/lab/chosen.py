"""Settings of a fine-tuning that a validation split chooses, kept like models under the text of what they are."""

import torch

from weatherproof.evaluation.finetune_search import Search, Setting
from weatherproof.objectives import parse_regularizer
from weatherproof.spec import component
from weatherproof.studies.lab.recipes import lasting, look_of
from weatherproof.studies.lab.sets import Images
from weatherproof.studies.lab.store import Recipe, Store
from weatherproof.training import Plan, RunFolder


@component
class Chosen:
    """The learning rate and the weights of these regularizers that `Search` chooses on a tenth of the images.

    Attributes:
        plan: of the whole training; its lr is where the search starts.
        regularizers: their texts.
        steps: as in `Finetuned`.
        judged: the same images as test images are, where those that are trained on are whole, for a crop; None: these.
    """

    start: Recipe
    data: Images
    plan: Plan
    regularizers: tuple[str, ...] = ()
    augment: str | None = None
    steps: int | None = None
    judged: Images | None = None

    def setting(self, store: Store) -> Setting:
        """What was chosen: from the store, or found now."""
        return store.settled(self, lambda run: self._search(store, run))

    def _search(self, store: Store, run: RunFolder) -> Setting:
        train, plan = store.images(self.data), self.course(store)
        reading = {"device": store.device, "batch_size": plan.batch_size, "seed": plan.seed}
        search = Search(
            run, store.encoder(self.start), train, torch.arange(len(train)), "linear", look_of(self.augment), plan,
            "top1", reading, judged=None if self.judged is None else store.images(self.judged),
        )  # fmt: skip
        return search.choose(self.first, lr=True, weight=True)

    @property
    def first(self) -> Setting:
        """Where the search starts."""
        return Setting(self.plan.lr, tuple(map(parse_regularizer, self.regularizers)))

    def course(self, store: Store) -> Plan:
        """The plan for as many images as there are."""
        return lasting(store.plan(self.plan), self.steps, store.images(self.data))
