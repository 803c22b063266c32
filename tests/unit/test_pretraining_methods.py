"""MoCo, InstDis, PIRL and AugMix's consistency against their definitions, written out."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import entropy
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.encoders import load_encoder
from weatherproof.encoders.folder import save_encoder
from weatherproof.errors import InputError
from weatherproof.methods import PIRL, AugMixConsistency, InstDis, JigsawHead, MoCo
from weatherproof.methods.parts import AUGMENT, JIGSAW, NEGATIVES, OPERATOR, ORDER, SHUFFLE
from weatherproof.methods.split_norm import split_batch_norm
from weatherproof.objectives import jensen_shannon
from weatherproof.operators import GaussianNoise
from weatherproof.training import Plan, fit, state
from weatherproof.types import Images, Keys
from weatherproof.views import Twice

N = 8
PIXELS = torch.randint(0, 256, (24, 3, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
VIEWS = Twice(GaussianNoise(0.3))
QUEUE: dict[str, Any] = {"temperature": 0.2, "queue": 16, "momentum": 0.9, "groups": 2}
BANK: dict[str, Any] = {"images": 24, "temperature": 0.1, "negatives": 10, "momentum": 0.5}


class Net(nn.Module):
    """Convolution, batch normalisation, a classifier of its own that no loss reaches."""

    feature_dim = 6

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with random.framework_seed(seed):
            self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)).tanh().mean(dim=(2, 3))


def _projector() -> nn.Linear:
    with random.framework_seed(9):
        return nn.Linear(6, 5)


def _alone(rows: Tensor) -> Tensor:
    return rows


def _batch(n: int = N, start: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
    index = torch.arange(start, start + n)
    return PIXELS[index].float() / 255, index % 4, index, random.keys(3, index), _alone


def _nine(images: Images, keys: Keys) -> tuple[Images, ...]:
    """The cells of a 3 x 3 grid, with noise that says which keys came."""
    noisy = GaussianNoise(0.1, clip=False)(images, keys)
    return tuple(
        noisy[:, :, row : row + 3, column : column + 3].contiguous() for row in (0, 3, 6) for column in (0, 3, 6)
    )


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def _cross_entropy(positive: Tensor, negatives: Tensor) -> Tensor:
    logits = torch.cat([positive[:, None], negatives], dim=1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))


class TestSplitBatchNorm:
    @pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize("kind", [nn.BatchNorm2d, type("Own", (nn.BatchNorm2d,), {})])
    def test_is_a_norm_for_each_part(self, kind: type[nn.BatchNorm2d], memory: torch.memory_format) -> None:
        torch.manual_seed(0)
        rows = torch.randn(12, 6, 4, 4).contiguous(memory_format=memory).requires_grad_()
        norm = kind(6)
        with torch.no_grad():
            norm.weight.uniform_(0.5, 2)
            norm.bias.normal_()
        parts = [copy.deepcopy(norm) for _ in range(3)]
        expected = torch.cat([part(chunk) for part, chunk in zip(parts, rows.chunk(3), strict=True)])
        with split_batch_norm(norm, 3):
            found = norm(rows)
        torch.testing.assert_close(found, expected)
        weights = torch.randn_like(found)
        ours = torch.autograd.grad((found * weights).sum(), (rows, norm.weight, norm.bias))
        leaves = [rows, *(p for part in parts for p in part.parameters())]
        of_rows, *theirs = torch.autograd.grad((expected * weights).sum(), leaves)
        torch.testing.assert_close(ours, (of_rows, sum(theirs[::2]), sum(theirs[1::2])))
        for name in ("running_mean", "running_var"):
            mean = torch.stack([getattr(part, name) for part in parts]).mean(dim=0)
            torch.testing.assert_close(getattr(norm, name), mean)

    def test_leaves_nothing_behind(self) -> None:
        net = Net()
        names, inside = set(net.state_dict()), set(vars(net.norm))
        with pytest.raises(RuntimeError), split_batch_norm(net, 2):
            raise RuntimeError
        assert set(net.state_dict()) == names
        assert set(vars(net.norm)) == inside
        assert net.norm.momentum == 0.1

    def test_in_evaluation_mode_nothing_is_split(self) -> None:
        net, images = Net().eval(), _batch()[0]
        with split_batch_norm(net, 4):
            split = net(images)
        assert torch.equal(split, net(images))

    def test_norms_that_do_more_keep_doing_it(self) -> None:
        rows = torch.randn(8, 6, 4, 4)
        norm = BatchNormAct2d(6)
        with split_batch_norm(norm, 2):
            found = norm(rows)
        torch.testing.assert_close(found, torch.cat([norm(rows[:4]), norm(rows[4:])]))
        assert (found == 0).any()  # its ReLU


class TestMoCo:
    def test_two_steps_written_out(self) -> None:
        """The second step sees moved weights and the keys of the first."""
        net, projector = Net(), _projector()
        method = MoCo(net, VIEWS, projector, **QUEUE).train()
        queue, slow = method.queue.clone(), copy.deepcopy(nn.Sequential(net, projector))
        torch.testing.assert_close(queue.norm(dim=1), torch.ones(16))
        for step in range(2):
            batch = _batch(start=N * step)
            images, _, _, keys, _ = batch
            if step == 1:  # what an optimizer does
                with torch.no_grad():
                    for p in [*net.conv.parameters(), *projector.parameters()]:
                        p.add_(0.1)
            fast = copy.deepcopy(nn.Sequential(net, projector))  # with the running statistics of before
            for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
                a.data = 0.9 * a.data + 0.1 * b.data
            first, second = VIEWS(images, random.fold(keys, AUGMENT))
            order = random.fold(keys, SHUFFLE).argsort()
            query = _unit(torch.cat([fast(part) for part in first.chunk(2)]))
            before = copy.deepcopy(slow[0].norm)
            mixed = torch.cat([slow(part) for part in second[order].chunk(2)])
            key = torch.empty_like(mixed)
            key[order] = _unit(mixed)
            expected = _cross_entropy((query * key).sum(dim=1) / 0.2, query @ queue.T / 0.2)
            found = method(*batch)["loss"]
            torch.testing.assert_close(found, expected)
            queue = queue.clone()  # the backward pass below needs the old one
            queue[N * step : N * (step + 1)] = key.detach()
            torch.testing.assert_close(method.queue, queue)
            ours = torch.autograd.grad(found, net.conv.weight)[0]
            torch.testing.assert_close(ours, torch.autograd.grad(expected, fast[0].conv.weight)[0])
            copied = method.momentum_encoder.networks
            for (name, a), b in zip(slow.named_parameters(), copied.parameters(), strict=True):
                torch.testing.assert_close(b, a, msg=name)
            # sequential parts move the reference's statistics unevenly: ours by their mean
            means = torch.stack([slow[0].conv(part).mean(dim=(0, 2, 3)) for part in second[order].chunk(2)])
            torch.testing.assert_close(copied[0].norm.running_mean, 0.9 * before.running_mean + 0.1 * means.mean(0))
            slow[0].norm.load_state_dict(copied[0].norm.state_dict())
        assert int(method.cursor) == 0

    def test_keys_are_mixed_whatever_the_order_of_the_batch(self) -> None:
        """A key's part of the batch depends on the keys alone: not on the places that would tell of its query."""
        method = MoCo(Net(), VIEWS, _projector(), **QUEUE).train()
        images, labels, index, keys, gather = _batch()
        other = torch.tensor([3, 1, 6, 0, 7, 4, 2, 5])
        queues = []
        for order in (torch.arange(N), other):
            fresh = copy.deepcopy(method)
            fresh(images[order], labels[order], index[order], keys[order], gather)
            queues.append(fresh.queue[:N][order.argsort()])
        torch.testing.assert_close(*queues)

    def test_equal_seeds_give_equal_queues(self) -> None:
        queues = [MoCo(Net(), VIEWS, _projector(), queue=4, seed=seed).queue for seed in (0, 0, 1)]
        assert torch.equal(queues[0], queues[1])
        assert not torch.equal(queues[0], queues[2])

    @pytest.mark.parametrize(
        ("settings", "rows", "message"),
        [
            ({"queue": 20}, N, "the queue must be a multiple of the batch, got 20 keys and 8 images: try queue=16"),
            ({"queue": 16, "groups": 3}, N, "3 groups do not fit a batch of 8"),
            ({"queue": 16, "groups": 8}, N, "two images or more each"),
        ],
    )
    def test_batches_that_do_not_fit(self, settings: dict[str, Any], rows: int, message: str) -> None:
        with pytest.raises(InputError, match=message):
            MoCo(Net(), VIEWS, _projector(), **settings)(*_batch(rows))

    def test_the_encoder_that_is_kept_is_an_ordinary_one(self, tmp_path: Path) -> None:
        encoder = load_encoder("small(channels=3)@" + str(_weights(tmp_path)))
        method = MoCo(encoder, VIEWS, nn.Linear(128, 8), queue=16, groups=2)
        images = MemoryImages(torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8))
        fit(method, images, Plan(1.0, N, 0.1, optimizer="sgd", device="cpu"), progress=False)
        save_encoder(encoder, tmp_path / "run", provenance={})
        again = load_encoder(tmp_path / "run")
        assert again.options == {"width": 16, "channels": 3}
        for name, value in encoder.state().items():
            assert torch.equal(again.state()[name], value)


def _weights(folder: Path) -> Path:
    with pytest.warns(UserWarning, match="no weights"):
        save_encoder(load_encoder("small(channels=3)"), folder / "start", provenance={})
    return folder / "start" / "encoder.safetensors"


class TestInstDis:
    def test_a_step_written_out(self) -> None:
        """The bank is read before it is updated, also by the backward pass that comes after."""
        net, projector = Net(), _projector()
        method = InstDis(net, VIEWS, projector, **BANK).train()
        vectors = method.bank.vectors.clone()
        images, _, index, keys, _ = _batch(start=4)
        view = VIEWS(images, random.fold(keys, AUGMENT))[0]
        features = _unit(projector(copy.deepcopy(net)(view)))
        drawn = method.bank.draw(random.fold(keys, NEGATIVES))
        positive = (features * vectors[index]).sum(dim=1) / 0.1
        negatives = torch.einsum("bf,bkf->bk", features, vectors[drawn]) / 0.1
        expected = _cross_entropy(positive, negatives)
        found = method(*_batch(start=4))["loss"]
        torch.testing.assert_close(found, expected)
        found.backward()
        torch.testing.assert_close(projector.weight.grad, torch.autograd.grad(expected, projector.weight)[0])
        vectors[index] = _unit(0.5 * vectors[index] + 0.5 * features.detach())
        torch.testing.assert_close(method.bank.vectors, vectors)

    def test_negatives_are_uniform_and_belong_to_the_image(self) -> None:
        bank = InstDis(Net(), VIEWS, _projector(), images=24, negatives=24).bank
        keys = random.keys(0, torch.arange(4000))
        drawn = bank.draw(keys)
        assert drawn.shape == (4000, 24)
        assert torch.equal(bank.draw(keys[7:9]), drawn[7:9])
        counts = drawn.flatten().bincount(minlength=24)
        expected = drawn.numel() / 24
        assert len(counts) == 24
        assert ((counts - expected).square().sum() / expected).item() < 49.7  # chi-squared with 23 degrees, p = 0.001
        repeats = torch.tensor([len(row.unique()) for row in drawn]).float().mean().item()
        assert repeats == pytest.approx(24 * (1 - (23 / 24) ** 24), rel=0.01)  # with replacement

    def test_a_family_gives_its_single_look(self) -> None:
        class Family:
            def one(self, images: Images, keys: Keys) -> Images:
                return VIEWS(images, keys)[0]

            def __call__(self, images: Images, keys: Keys) -> tuple[Images, Images]:
                raise AssertionError

        losses = [InstDis(Net(), v, _projector(), **BANK)(*_batch())["loss"] for v in (Family(), VIEWS)]
        assert torch.equal(*losses)

    def test_a_subset_has_a_bank_of_its_own(self) -> None:
        images = MemoryImages(PIXELS).subset(torch.tensor([20, 3, 11, 7, 2, 23]))
        method = InstDis(Net(), VIEWS, _projector(), images=images.index, negatives=6)
        assert len(method.bank.vectors) == 6
        assert method.bank.rows(images.index).tolist() == [4, 1, 3, 2, 0, 5]
        with pytest.raises(InputError, match="no vector for image 21"):
            method.bank.rows(torch.tensor([3, 21]))

    def test_indices_are_learned_where_only_their_number_was_known(self) -> None:
        images = MemoryImages(PIXELS).subset(torch.tensor([20, 3, 11]))
        method = InstDis(Net(), VIEWS, _projector(), images=3, negatives=3)
        with pytest.raises(InputError, match=r"no vector for image 20.*images=images.index"):
            method.bank.rows(images.index)
        method.prepare(images)
        assert method.bank.rows(images.index).tolist() == [2, 0, 1]
        with pytest.raises(
            InputError, match="was made for 3 images, and memory has 24 or others: make the method anew"
        ):
            method.prepare(MemoryImages(PIXELS))
        with pytest.raises(InputError, match="make the method anew"):  # as many, but others
            method.prepare(MemoryImages(PIXELS).subset(torch.arange(3)))


class TestPIRL:
    def test_a_step_written_out(self) -> None:
        net, projector = Net(), _projector()
        with random.framework_seed(4):
            head = JigsawHead(6, 5)
        method = PIRL(net, VIEWS, _nine, projector, head, beta=0.25, **BANK).train()
        vectors = method.bank.vectors.clone()
        images, _, index, keys, _ = _batch()
        reference = copy.deepcopy(net)
        features = _unit(projector(reference(VIEWS(images, random.fold(keys, AUGMENT))[0])))
        embedded = reference(torch.cat(_nine(images, random.fold(keys, JIGSAW)))).view(9, N, 6)
        words = random.words(random.fold(keys, ORDER), (9,))
        puzzles = []
        for i, row in enumerate(words.tolist()):
            order = sorted(range(9), key=row.__getitem__)
            puzzles.append(head.puzzle(torch.cat([head.patch(embedded[patch, i]) for patch in order])))
        puzzle = _unit(torch.stack(puzzles))
        drawn = method.bank.draw(random.fold(keys, NEGATIVES))
        losses = [
            _cross_entropy(
                (each * vectors[index]).sum(dim=1) / 0.1, torch.einsum("bf,bkf->bk", each, vectors[drawn]) / 0.1
            )
            for each in (features, puzzle)
        ]
        terms = method(*_batch())
        torch.testing.assert_close(terms["loss"], 0.75 * losses[0] + 0.25 * losses[1])
        torch.testing.assert_close([terms["image_loss"], terms["jigsaw_loss"]], losses, check_stride=False)
        vectors[index] = _unit(vectors[index] + features.detach())  # of the images alone
        torch.testing.assert_close(method.bank.vectors, vectors)
        terms["loss"].backward()
        missing = {name for name, p in method.named_parameters() if p.requires_grad and p.grad is None}
        assert not missing

    def test_orders_differ_from_image_to_image(self) -> None:
        head = JigsawHead(6, 5)
        seen: list[Tensor] = []
        head.register_forward_hook(lambda _, args, __: seen.append(args[1]))
        PIRL(Net(), VIEWS, _nine, _projector(), head, **BANK)(*_batch())
        assert all(sorted(row) == list(range(9)) for row in seen[0].tolist())
        assert len({tuple(row) for row in seen[0].tolist()}) == N

    def test_a_puzzle_has_nine_patches(self) -> None:
        with pytest.raises(InputError, match="has 9 patches, got 2"):
            PIRL(Net(), VIEWS, VIEWS, _projector(), **BANK)(*_batch())


class TestAugMixConsistency:
    def test_is_cross_entropy_and_jensen_shannon(self) -> None:
        net, head = Net().train(), nn.Linear(6, 4)
        head.weight.data.mul_(20)  # so that the views disagree
        images, labels, index, keys, gather = _batch()
        flip = _Flip()
        method = AugMixConsistency(net, head, VIEWS, augment=flip, weight=12.0)
        reference = copy.deepcopy(net)
        terms = method(images, labels, index, keys, gather)
        clean = images.flip(-1)
        three = torch.cat([clean, *VIEWS(clean, random.fold(keys, OPERATOR))])
        logits = head(reference(three)).chunk(3)
        p = torch.stack(logits).softmax(dim=-1).detach().double().numpy()
        divergence = sum(entropy(each.T, p.mean(axis=0).T) for each in p).mean() / 3
        assert terms["divergence"].item() == pytest.approx(divergence, rel=1e-5)
        expected = F.cross_entropy(logits[0], labels).item() + 12 * divergence
        assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)
        assert torch.equal(flip.keys, random.fold(keys, AUGMENT))

    def test_sure_and_contrary_predictions_stay_finite(self) -> None:
        logits = [torch.tensor([[200.0, -200.0]]), torch.tensor([[-200.0, 200.0]]), torch.tensor([[200.0, -200.0]])]
        leaves = [each.requires_grad_() for each in logits]
        loss = jensen_shannon(leaves)
        loss.backward()
        expected = (2 * torch.tensor(1.5).log() + torch.tensor(3.0).log()) / 3
        torch.testing.assert_close(loss, expected)
        assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


class _Flip:
    def __call__(self, images: Images, keys: Keys) -> Images:
        self.keys = keys
        return images.flip(-1)


def test_a_momentum_encoder_is_part_of_the_checkpoint_and_not_of_the_fingerprint() -> None:
    method = MoCo(Net(), VIEWS, _projector(), **QUEUE)
    frozen = state.fingerprint(method)
    method.get_parameter("momentum_encoder.networks.0.conv.weight").data.add_(1)
    assert state.fingerprint(method) == frozen
    assert {"momentum_encoder.networks.0.conv.weight", "queue", "cursor"} <= state.trained(method).keys()
    assert "encoder.head.weight" not in state.trained(method)
    method.get_parameter("encoder.head.weight").data.add_(1)
    assert state.fingerprint(method) != frozen
