"""Linear evaluation as the papers of contrastive learning do it: SGD on a linear layer over a frozen encoder."""

from collections.abc import Callable
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from weatherproof import random
from weatherproof.errors import unknown
from weatherproof.operators import Chain
from weatherproof.progress import phase
from weatherproof.protocols import Operator
from weatherproof.training.optimizers import make_optimizer
from weatherproof.training.plan import Course, Plan
from weatherproof.views import HorizontalFlip, RandomResizedCrop

Embed = Callable[[int], tuple[Tensor, Tensor]]  # realization -> (features, labels)

_STD = 0.01  # of the layer's initial weights in all three codes; its bias starts at 0

# MoCo's main_lincls.py; PyContrast's linear evaluation; SimCLR's README for CIFAR-10, lr 0.1 B / 256 with B = 512 and
# its only schedule, the cosine. None decays weights. PyContrast's is what URRL's Table 4 rests on.
SCHEDULES = MappingProxyType(
    {
        "moco": Plan(100, 256, 30.0, optimizer="sgd", schedule="step", milestones=(60, 80)),
        "pycontrast": Plan(60, 256, 30.0, optimizer="sgd", schedule="step", milestones=(30, 40, 50), gamma=0.2),
        "simclr": Plan(100, 512, 0.2, optimizer="sgd", nesterov=True),
    }
)
_CROPS = {"moco": (0.08, 1.0), "pycontrast": (0.2, 1.0), "simclr": (0.08, 1.0)}


def schedule_of(name: str) -> Plan:
    """Epochs, batch and learning rates of a paper's linear evaluation: "moco", "pycontrast" or "simclr"."""
    if name not in SCHEDULES:
        raise unknown("linear evaluation", name, SCHEDULES)
    return SCHEDULES[name]


def evaluation_views(name: str, size: int) -> Operator:
    """What that evaluation trains on: a random crop, resized to size x size, and a flip."""
    schedule_of(name)
    return Chain(RandomResizedCrop(size, _CROPS[name]), HorizontalFlip())


def linear_evaluation(
    look: Embed, num_classes: int, plan: Plan, *, fixed: bool = False, seed: int = 0, device: str | torch.device = "cpu"
) -> nn.Linear:
    """The linear layer after `plan`: mean cross-entropy, weights from N(0, 0.01^2), bias 0, momentum SGD.

    Args:
        look: ``look(epoch)`` gives the frozen encoder's embeddings [n, features] of that epoch's views, and the labels.
        plan: one of `SCHEDULES`, or your own; an epoch's last batch may be smaller. Fewer images than a batch make one
            step an epoch.
        fixed: every epoch sees the same features (cached), so they are asked for once.
    """
    features, targets = (part.to(device) for part in look(0))
    head = nn.Linear(features.shape[1], num_classes)
    with random.framework_seed(seed), torch.no_grad():
        head.weight.normal_(std=_STD)
        head.bias.zero_()
    head.to(device)
    optimizer = make_optimizer(plan, head.parameters(), torch.device(device))
    batch = min(plan.batch_size, len(targets))
    steps = -(-len(targets) // batch)  # each epoch's
    course = Course(plan, steps * plan.batch_size)  # the same steps, as if the last one were whole
    with phase("linear evaluation", course.steps, "steps") as meter:
        for step in range(course.steps):
            epoch, part = divmod(step, steps)
            if part == 0:
                if epoch > 0 and not fixed:
                    features = look(epoch)[0].to(device)
                order = random.order(seed, epoch, len(targets)).to(features.device).split(batch)
            optimizer.param_groups[0]["lr"] = course.lr(step)
            optimizer.zero_grad()
            cross_entropy(head(features[order[part]]), targets[order[part]]).backward()
            optimizer.step()
            meter.advance()
    return head
