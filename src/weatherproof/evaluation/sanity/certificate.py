"""The certificate that belongs beside every number under attack: signs that it is the model that resists, and not the
attack that fails (Carlini et al. 2019, "On evaluating adversarial robustness", section 3; Athalye et al. 2018).

A weak attack, or a model whose gradients lead nowhere, gives an accuracy that is too high. No list of checks can prove
that it is not; each of these has found one that was.
"""

import math
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from typing import Any

import torch

from weatherproof.attacks.checks import are_probabilities
from weatherproof.attacks.described import Facts, facts_of
from weatherproof.data import ImageSet
from weatherproof.evaluation.attacks.perturbation import median
from weatherproof.evaluation.sanity.bench import Bench, bench_of
from weatherproof.progress import phase
from weatherproof.protocols import Attack
from weatherproof.types import Images, Logits

SUBSET = 32  # images, 180 gradients each where the attack takes 20: 6,000, and PGD on 1,000 images takes 20,000
AGAIN = 8  # of them are attacked twice more, to see that nothing else is drawn
TOLERANCE = 0.02  # of the images, and at least one: what an attack that stops at its best iterate may lose by chance
_CHECKS = 9
_HONEST = (0.5, 2.0)  # a gradient tells the truth within a factor of 2

Check = dict[str, Any]  # {"claim": str, "passed": bool, "detail": str}


def sanity_certificate(
    classifier: Callable[[Images], Logits],
    images: ImageSet,
    attack: Attack,
    *,
    name: str = "the model",
    limit: int = SUBSET,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> list[Check]:
    """Nine checks of one attack on one classifier, on a few images: [{"claim", "passed", "detail"}].

    Args:
        classifier: images -> logits; a module is moved to `device`. Its modes and gradients are as before afterwards.
        images: with labels.
        attack: in a ball, or looking for the smallest perturbation; of one that does neither, the checks about sizes
            fail, since nobody can make them.
        limit: on at most so many images, evenly spaced; in one batch.
        seed: of the attack's draws.

    Raises:
        InputError: no images, or what the attack refuses.
    """
    found, facts = [], facts_of(attack)
    with phase(f"certificate of {attack!r}", _CHECKS, "checks") as meter:
        bench = bench_of(name, classifier, images, limit=limit, seed=seed, device=device)
        if facts.ball is not None:
            own = _in_a_ball(bench, facts)
        elif facts.smallest:
            own = _smallest(bench, facts)
        else:
            own = _unknown()
        for check in chain(own, _of_any(bench, facts, seed)):
            found.append(check)
            meter.advance()
    return found


def _check(claim: str, passed: bool, detail: str) -> Check:
    return {"claim": claim, "passed": bool(passed), "detail": detail}


ZERO, FALLS, HUGE, HELP, ENOUGH = (
    "eps 0 gives the clean accuracy",
    "accuracy falls as eps grows",
    "a huge eps leaves no image right",
    "more steps do not help the model",
    "more steps would not find much more",
)


def _in_a_ball(bench: Bench, facts: Facts) -> Iterator[Check]:
    attack, eps, clean = facts.attack, facts.eps or 0.0, bench.share(bench.clean)
    slack = _slack(bench)
    at_zero = bench.accuracy(facts.at(0.0))
    yield _check(ZERO, at_zero == clean, f"{_percent(at_zero)} at eps 0, {_percent(clean)} on clean images")

    largest = facts.largest(bench.images)
    around = [min(eps * factor, largest) for factor in (0.5, 1, 2)]
    levels = around if eps else facts.grid[1:4] or (largest / 4, largest)
    accuracies = [at_zero, *(bench.accuracy(attack if e == eps else facts.at(e)) for e in levels)]
    falls = all(after <= before + slack for before, after in pairwise(accuracies))
    detail = ", ".join(f"{_percent(a)} at {_eps(e)}" for e, a in zip((0.0, *levels), accuracies, strict=True))
    still = accuracies[-1] >= accuracies[1] > 0  # a ball four times as wide holds nothing more: it is not reached
    yield _check(FALLS, falls and not still, detail)

    huge = facts.at(largest / 2, reach=True)
    left = bench.accuracy(huge)
    yield _check(HUGE, left == 0, f"{_percent(left)} at {_eps(largest / 2)}, where every image can be made grey")
    long, detail = _with_more(facts)
    if long is None:
        yield from (_check(claim, False, detail) for claim in (HELP, ENOUGH))
        return
    accuracy, more = bench.accuracy(attack), bench.accuracy(long)
    detail = detail.format(_percent(accuracy), _percent(more))
    yield _check(HELP, more <= accuracy + slack, detail)
    yield _check(ENOUGH, more >= accuracy - slack, detail)


def _smallest(bench: Bench, facts: Facts) -> Iterator[Check]:
    distances = bench.distances(facts)
    zero, wrong = bench.share(distances <= 0), 1 - bench.share(bench.clean)
    detail = f"{_percent(zero)} of the images need no perturbation, {_percent(wrong)} are misclassified as they are"
    yield _check(ZERO, abs(zero - wrong) < 1e-9, detail)

    finite = distances[distances.isfinite()].double()
    edges = [float(finite.quantile(q)) for q in (0.25, 0.5, 1.0)] if len(finite) else []
    left = [1 - bench.share(distances <= edge) for edge in edges]
    detail = ", ".join(f"{_percent(a)} at {_eps(e)}" for e, a in zip(edges, left, strict=True)) or "no image was moved"
    yield _check(FALLS, bool(left) and left[-1] < 1, f"by its definition; {detail}")

    lost = bench.share(distances.isinf())
    yield _check(HUGE, lost == 0, f"{_percent(lost)} of the images were never misclassified")
    long, detail = _with_more(facts)
    if long is None:
        yield from (_check(claim, False, detail) for claim in (HELP, ENOUGH))
        return
    before, after = median(distances.cpu())[0], median(bench.distances(facts_of(long)).cpu())[0]
    detail = "median size " + detail.format(_eps(before), _eps(after))
    # a smaller median is a better attack; beyond a tenth the first one was far from done
    yield _check(HELP, after <= before * (1 + TOLERANCE), detail)
    yield _check(ENOUGH, after >= before * 0.9 or not math.isfinite(before + after), detail)


def _unknown() -> Iterator[Check]:
    for claim in (ZERO, FALLS, HUGE, HELP, ENOUGH):
        yield _check(claim, False, "not checked: this attack has neither a ball with an eps nor a norm")


def _of_any(bench: Bench, facts: Facts, seed: int) -> Iterator[Check]:
    yield _not_zero(bench, facts)
    yield _not_masked(bench, facts)
    yield _logits(bench)
    yield _disclosed(bench, facts, seed)


def _not_zero(bench: Bench, facts: Facts) -> Check:
    share = bench.share(bench.vanishing(facts))
    return _check("gradients are not zero", share == 0, f"{_percent(share)} of the images have none to follow")


def _not_masked(bench: Bench, facts: Facts) -> Check:
    """Neither does blind noise find what the attack does not, nor does the gradient promise what the model does not
    keep."""
    slope = bench.slope()
    detail = f"along its gradient the margin rises by {slope:.2f} of what the gradient says"
    beaten, started = 0, bench.started(facts)
    if started is not None:
        beaten = int((bench.right(bench.attacked(facts.attack)) & ~bench.right(started)).sum())
        detail += f"; noise of that size fools {beaten} of {len(bench)} images that the attack does not"
    elif facts.smallest and facts.norm == "l2":
        distances = bench.distances(facts)
        some = distances.isfinite() & bench.clean
        beaten = int((~bench.right(bench.noisy(distances.masked_fill(~some, 0.0))) & some).sum())
        detail += f"; noise of the size that the attack needs fools {beaten} of {len(bench)} images"
    return _check("gradients are not masked", beaten == 0 and _HONEST[0] <= slope <= _HONEST[1], detail)


def _logits(bench: Bench) -> Check:
    logits = bench.logits()
    low, high = (float(value) for value in torch.aminmax(logits))
    detail = f"outputs from {low:.3g} to {high:.3g}"
    return _check("outputs are logits, not probabilities", not are_probabilities(logits), detail)


def _disclosed(bench: Bench, facts: Facts, seed: int) -> Check:
    attack = facts.attack
    same_model = torch.equal(bench.logits(), bench.logits())
    few = (bench.model, bench.images[:AGAIN], bench.labels[:AGAIN], bench.keys[:AGAIN])
    same_attack = torch.equal(attack(*few), attack(*few))
    drawn = "the attack draws nothing" if facts.fixed else f"the attack draws by the image's own key, seed {seed}"
    if not same_model:
        drawn += "; the model answers the same images differently from time to time"
    elif not same_attack:
        drawn += ", and yet twice the same does not give the same"
    return _check("randomness is disclosed", same_model and same_attack, drawn)


def _with_more(facts: Facts) -> tuple[Attack | None, str]:
    """The attack with more steps, and words with two gaps for what both come to."""
    more = facts.with_more_steps()
    if more is None:
        return None, "not checked: this attack does not say its steps"
    long, name, few, many = more
    return long, f"{{}} after {few} {name if name == 'steps' else name + ' steps'}, {{}} after {many}"


def _slack(bench: Bench) -> float:
    return max(TOLERANCE, 1.001 / len(bench))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _eps(value: float) -> str:
    return f"{value:.3g}"
