"""The numbers of a pretrained encoder, beside those of the encoder that it started as."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from weatherproof.data import ImageSet, label_fraction
from weatherproof.encoders import Encoder
from weatherproof.evaluation import Watch, alignment, uniformity
from weatherproof.evaluation.readings import Head
from weatherproof.evaluation.record import make_record, protocol_facts
from weatherproof.protocols import Views
from weatherproof.readouts import Readout, fit_linear, knn
from weatherproof.types import Embeddings, Logits
from weatherproof.verbs.inputs import measurable
from weatherproof.verbs.measure import Measurement
from weatherproof.verbs.options import Feed

_L2 = 1e-2  # as `fit_probe`
_K, _BANK, _FEWEST = 200, 50_000, 5  # MoCo's notebook takes 200 neighbours of CIFAR-10's 50,000 images
_TEMPERATURE = 0.1  # the same


def neighbours_of(images: int) -> int:
    """How many neighbours vote: 200 of 50,000 images, of fewer in proportion, though no less than 5."""
    return max(_FEWEST, min(_K, images * _K // _BANK))


class Neighbours(nn.Module):
    """Embeddings to class scores: the weighted vote of the nearest of some labelled embeddings; -inf without a vote."""

    def __init__(self, features: Embeddings, labels: Tensor, classes: int) -> None:
        super().__init__()
        self.features, self.labels, self.classes = features, labels, classes

    def forward(self, embeddings: Embeddings) -> Logits:
        k = neighbours_of(len(self.labels))
        votes = knn(self.features, self.labels, embeddings, k, num_classes=self.classes, temperature=_TEMPERATURE)
        return votes.where(votes > 0, -torch.inf)


def require_measurable(train: ImageSet, test: ImageSet, fractions: Sequence[float], seed: int) -> bool:
    """Whether accuracies mean something (`measurable`), and can be measured with these fractions of the labels.

    Raises:
        InputError: a fraction of the labels that cannot be drawn.
    """
    if not measurable(train, test):
        return False
    for fraction in fractions:
        label_fraction(train.labels, fraction, seed)
    return True


def measure_accuracy(
    measurement: Measurement, encoders: Mapping[str, Encoder], train: ImageSet, fractions: Sequence[float]
) -> None:
    """Accuracy of a linear probe with each fraction of the labels, and of the nearest neighbours' vote with all."""
    s = measurement.feed
    for name, encoder in encoders.items():
        features, labels = measurement.embedded(name, encoder, train)
        classes = len(train.classes)
        features, labels = features.to(s["device"]), labels.to(s["device"])
        for fraction in sorted(fractions, reverse=True):
            few = label_fraction(labels, fraction, s["seed"]).to(features.device)
            head = fit_linear(features[few], labels[few], classes, l2=_L2, seed=s["seed"])
            readout = Readout(head, train.classes, "probe", label_fraction=fraction)
            measurement.readout(readout, {name: encoder})
        vote = Head(Neighbours(features, labels, classes))
        measurement.accuracy({name: encoder}, vote, readout="knn", fraction=1.0)


def measure_geometry(measurement: Measurement, encoders: Mapping[str, Encoder], family: Views) -> None:
    """Alignment of two views, and uniformity, of the test images' embeddings (Wang & Isola 2020), with the views that
    the log's numbers are of."""
    s, test = measurement.feed, measurement.images
    watch = Watch(test, test, seed=s["seed"], batch_size=s["batch_size"], workers=s["workers"])
    measurement.keep_clean = True
    measurement.encoders |= encoders
    drawn = protocol_facts(test, None, (s["seed"],), None, views=repr(family))
    for name, encoder in encoders.items():
        clean = measurement.clean(name)["embedding"]
        found = [("alignment", alignment(*watch.pair(encoder, family, test)), drawn)]
        if len(clean) > 1:
            found.append(("uniformity", uniformity(clean), protocol_facts(test, None, (), None)))
        measurement.records += [
            make_record(metric, [value], len(clean), name, s["seed"], facts, trained_on=measurement.trained_on)
            for metric, value, facts in found
        ]


def log_watch(train: ImageSet, test: ImageSet, family: Views, every: int, feed: Feed) -> Watch:
    """What is watched while the method trains."""
    limit = 2000
    return Watch(
        train, test, every=every, limit=limit, k=neighbours_of(min(limit, len(train))), temperature=_TEMPERATURE,
        views=family, seed=feed["seed"], batch_size=feed["batch_size"], workers=feed["workers"],
    )  # fmt: skip
