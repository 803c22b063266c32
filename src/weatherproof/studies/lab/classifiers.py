"""How classifiers come about, as components: what `Store.get` makes of them answers images with logits."""

from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from weatherproof import attacks, operators, restoration
from weatherproof.evaluation.class_sets import class_fit, head_of
from weatherproof.evaluation.finetune_search import Setting
from weatherproof.methods import FeatureSettings
from weatherproof.objectives import InputGradient, parse_regularizer
from weatherproof.protocols import Operator
from weatherproof.readouts import (
    LOGISTIC,
    Classifier,
    Fit,
    OwnHead,
    Readout,
    adaptation,
    classifier_of,
    finetune_encoder,
    fit_probe,
)
from weatherproof.readouts.adaptation import Adapting as AdaptingModule
from weatherproof.readouts.finetuning import new_head
from weatherproof.readouts.mlp import MLPHead
from weatherproof.restoration import Restored as RestoredModule
from weatherproof.spec import component
from weatherproof.studies.lab.chosen import Chosen
from weatherproof.studies.lab.recipes import labelled, lasting, look_of, stretched
from weatherproof.studies.lab.sets import Images
from weatherproof.studies.lab.store import Measure, Recipe, Store, Trained
from weatherproof.training import Plan, RunFolder, check_own_head, train_classifier

Begins = Literal["random", "zero", "probe"]


class NoNumber(Exception):
    """A model that cannot answer these images: its cell stays empty."""


@component
class Labelled:
    """A copy of the start and a linear layer, trained end to end on labels.

    Attributes:
        method: of `methods.LABELLED`.
        head: "new", or "own": the start's own classifier goes on.
        operator: damage.
        labels: the fraction of labels that is used.
        same_steps: with fewer labels as many steps, instead of as many epochs.
        tikhonov: a penalty on the gradients by the pixels.
        attack: what "adversarial" is trained on.
        settings: of feature contrastive learning and its rivals; None: the published ones for such images.
        steps: for so many steps instead of the plan's epochs.
    """

    start: Recipe
    data: Images
    plan: Plan
    method: str = "supervised"
    head: Literal["new", "own"] = "new"
    operator: str | None = None
    augment: str | None = None
    labels: float = 1.0
    same_steps: bool = True
    tikhonov: InputGradient | None = None
    attack: str | None = None
    settings: FeatureSettings | None = None
    steps: int | None = None

    def make(self, store: Store) -> Classifier:
        return _classifier(store, *store.trained(self, lambda run: self._train(store, run)))

    def _train(self, store: Store, run: RunFolder) -> Trained:
        train = store.images(self.data)
        few = labelled(train, self.labels, self.plan.seed)
        encoder, head = train_classifier(
            store.encoder(self.start), train if few is None else train.subset(few), plan=self.course(store),
            method=self.method, settings=self.settings, head=self.head,
            operator=None if self.operator is None else operators.parse(self.operator), augment=look_of(self.augment),
            tikhonov=self.tikhonov,
            attack=None if self.attack is None else attacks.parse(self.attack), run=run,
        )  # fmt: skip
        return encoder, Readout(head.cpu(), train.classes, "end-to-end", label_fraction=self.labels)

    def course(self, store: Store) -> Plan:
        """The plan for as many images as there are."""
        return course(store, self.plan, self.data, self.labels, self.same_steps, self.steps)


@component
class Finetuned:
    """A copy of the start and a new classifier, trained together on labels.

    Attributes:
        head: as in `finetune_encoder`.
        labels, same_steps, steps: as in `Labelled`.
        regularizers: texts of `objectives.REGULARIZERS`, after those that were chosen.
        chosen: how the learning rate and further regularizers are; None: the plan's, and no others.
        begins: the weights of head "mlp" at the start: "random"; "zero": those of its second layer are 0; "probe": the
            first layer passes embeddings on as they are, the second is a linear layer fitted on the frozen start.
    """

    start: Recipe
    data: Images
    plan: Plan
    head: Literal["mlp", "linear"] = "mlp"
    augment: str | None = None
    labels: float = 1.0
    same_steps: bool = True
    regularizers: tuple[str, ...] = ()
    chosen: Chosen | None = None
    steps: int | None = None
    begins: Begins = "random"

    def make(self, store: Store) -> Classifier:
        return _classifier(store, *store.trained(self, lambda run: self._train(store, run)))

    def _train(self, store: Store, run: RunFolder) -> Trained:
        train, setting = store.images(self.data), self.setting(store)
        encoder, head = finetune_encoder(
            store.encoder(self.start), train, plan=self.course(store), head=self._head(store, len(train.classes)),
            regularizers=setting.regularizers, labels=labelled(train, self.labels, self.plan.seed),
            augment=look_of(self.augment), run=run,
        )  # fmt: skip
        return encoder, Readout(head.cpu(), train.classes, "end-to-end", label_fraction=self.labels)

    def _head(self, store: Store, classes: int) -> str | nn.Module:
        if self.begins == "random":
            return self.head
        head = new_head("mlp", store.encoder(self.start).feature_dim, classes, self.plan.seed)
        assert isinstance(head, MLPHead)
        with torch.no_grad():
            for weight in head.second.parameters():
                weight.zero_()
            if self.begins == "probe":
                fitted = store.get(Probed(self.start, self.data, labels=self.labels, seed=self.plan.seed)).head
                assert isinstance(fitted, nn.Linear)
                head.first.weight.copy_(torch.eye(head.first.in_features))
                head.first.bias.zero_()
                head.second.load_state_dict(fitted.state_dict())
        return head

    def setting(self, store: Store) -> Setting:
        """The learning rate and all regularizers."""
        regularizers = tuple(map(parse_regularizer, self.regularizers))
        if self.chosen is None:
            return Setting(self.plan.lr, regularizers)
        found = self.chosen.setting(store)
        return Setting(found.lr, (*found.regularizers, *regularizers))

    def course(self, store: Store) -> Plan:
        """The plan for as many images as there are, with the learning rate that was chosen."""
        plan = course(store, self.plan, self.data, self.labels, self.same_steps, self.steps)
        return replace(plan, lr=self.setting(store).lr)


@component
class Probed:
    """A frozen encoder and a linear layer that is fitted on its embeddings.

    Attributes:
        fit: of the layer.
        operator: what happens to the images before; augmentation included.
        labels: the fraction of labels that is used.
        workers: processes that decode images.
    """

    start: Recipe
    data: Images
    fit: Fit = LOGISTIC
    operator: str | None = None
    augment: str | None = None
    labels: float = 1.0
    seed: int = 0
    workers: int = 0

    def make(self, store: Store) -> Classifier:
        readout = store.fitted(self, lambda: self._fit(store))
        return _classifier(store, store.body(self.start), readout)

    def _fit(self, store: Store) -> Readout:
        train = store.images(self.data)
        head = fit_probe(
            store.body(self.start), train, num_classes=len(train.classes), fit=self.fit, operator=self._looks,
            labels=labelled(train, self.labels, self.seed), seed=self.seed, device=store.device, workers=self.workers,
        )  # fmt: skip
        return Readout(head, train.classes, label_fraction=self.labels)

    @property
    def draws(self) -> int:
        """How often each image goes through the encoder, at most."""
        return 1 if self._looks is None else self.fit.draws

    @property
    def _looks(self) -> Operator | None:
        parts = [look for look in (look_of(self.augment), self.operator and operators.parse(self.operator)) if look]
        return operators.Chain(*parts) if len(parts) > 1 else parts[0] if parts else None


@component
class Validated:
    """Of several trainings, which differ in a setting, that which validation images say is best.

    Attributes:
        trials: classifiers of one seed, that are compared.
        models: those of this seed, in the same order; of these one is taken.
        measure: on all of its conditions alike the most accurate trial is chosen.
        data: validation images.
    """

    trials: tuple[Recipe, ...]
    models: tuple[Recipe, ...]
    measure: Measure
    data: Images

    def make(self, store: Store) -> nn.Module:
        return store.get(self.models[self.chosen(store)])

    def chosen(self, store: Store) -> int:
        """Its place among them."""
        return store.best(self.trials, self.measure, self.data, name="a trial")


@component
class Headed:
    """The encoder of one recipe under the head of a classifier of another."""

    encoder: Recipe
    head: Recipe

    def make(self, store: Store) -> Classifier:
        head = store.get(self.head).head
        assert isinstance(head, nn.Module)
        return Classifier(store.get(self.encoder), head)


@component
class Own:
    """An encoder under its own classifier.

    Attributes:
        data: images whose classes must be those of the classifier, else there is no number.
        among: or some of them: a right answer is then one among all.
    """

    of: Recipe
    data: Images
    among: bool = False

    def make(self, store: Store) -> nn.Module:
        encoder = store.encoder(self.of)
        fit = class_fit(head_of(encoder), store.images(self.data))
        if not fit.believed or (fit.among is not None and not self.among):
            raise NoNumber(fit.why)
        return fit.classifier(OwnHead(encoder))


@component
class OwnLinear:
    """An encoder under the linear classifier that it brings, with which a training with head "own" begins."""

    of: Recipe
    data: Images

    def make(self, store: Store) -> Classifier:
        encoder = store.encoder(self.of).clone().eval()
        check_own_head(encoder, len(store.images(self.data).classes))
        assert encoder.head is not None
        return Classifier(encoder, encoder.head).to(store.device)


@component
class Restored:
    """A classifier of images that are restored first."""

    restoration: str
    of: Recipe

    def make(self, store: Store) -> nn.Module:
        return RestoredModule(restoration.parse(self.restoration), store.get(self.of))


@component
class Adapting:
    """A classifier that adapts to each batch of test images by itself.

    Attributes:
        adaptation: text of one of `readouts.adaptation`.
    """

    adaptation: str
    of: Recipe

    def make(self, store: Store) -> nn.Module:
        return AdaptingModule(adaptation.parse(self.adaptation), store.get(self.of))


def course(store: Store, plan: Plan, data: Images, labels: float, same_steps: bool, steps: int | None) -> Plan:
    """The plan on this store's device, for as many images as there are."""
    images = store.images(data)
    own = lasting(store.plan(plan), steps, images)
    return stretched(own, images, labelled(images, labels, plan.seed)) if same_steps else own


def _classifier(store: Store, encoder: nn.Module, readout: Readout | None) -> Classifier:
    assert readout is not None
    return classifier_of(encoder, readout).to(store.device)
