"""Classical image processing on 8-bit levels, many images at once: Canny's edges, and the distance to them.

The fields lie height x width x batch, in a frame that leaves room for the neighbours of the border: then whatever lies
so many rows and columns away lies a fixed number of values on, and a shift is one slice of one long line, however small
the images are.
"""

import math

import torch
from jaxtyping import Bool, Float, Int16
from torch import Tensor

Levels = Int16[Tensor, "height width batch"]
Mask = Bool[Tensor, "height width batch"]
Line = Int16[Tensor, "_"]  # a field, row after row

TANGENT = math.tan(math.pi / 8)  # a direction is one of four: within 22.5 degrees

# Costs of a step along a side, along a diagonal and of a knight's move, in the 5 x 5 chamfer distance (Borgefors 1986):
# OpenCV's 1, 1.4 and 2.1969 pixels, in units of which a knight's move is a whole number to the sixth decimal.
UNIT = 645
SIDE, DIAGONAL, KNIGHT = 645, 903, 1417
MOVES = ((0, 1, SIDE), (1, 0, SIDE), (1, 1, DIAGONAL), (1, -1, DIAGONAL)) + tuple(
    (down, right, KNIGHT) for down, right in ((1, 2), (2, 1), (1, -2), (2, -1))
)


def canny(levels: Levels, low: int, high: int) -> Mask:
    """Canny's edges (1986) as OpenCV finds them: 3 x 3 Sobel, |dx| + |dy|, four directions, hysteresis.

    Args:
        levels: 0 .. 255.
        low: an edge pixel's magnitude is above it.
        high: a chain of edge pixels, neighbours along sides or diagonals, has one whose magnitude is above it.
    """
    height, width, batch = levels.shape
    row, pixel = (width + 2) * batch, batch
    x, y = _slopes(_framed(levels, repeat=True), row, pixel)
    sizes = _framed((x.abs() + y.abs()).view(height, width + 2, batch)[:, :width], repeat=False)
    size = sizes[row + pixel :][: len(x)]
    # A shift spreads the sign of a difference over all bits: a third of the time of a comparison.
    weak = (_to_exceed(sizes, x, y, row, pixel).clamp_(min=low) - size).bitwise_right_shift_(15)
    strong = (high - size).bitwise_right_shift_(15).bitwise_and_(weak)
    return _linked(strong.bool(), weak.bool(), row, pixel).view(height, width + 2, batch)[:, :width]


def _framed(field: Levels, repeat: bool) -> Line:
    """The field in a frame of one pixel, its border repeated or zeros. With two more pixels at the end, what is
    computed from 3 x 3 neighbours makes `height` rows of width + 2."""
    height, width, batch = field.shape
    line = field.new_zeros(((height + 2) * (width + 2) + 2) * batch)
    framed = line[: -2 * batch].view(height + 2, width + 2, batch)
    framed[1:-1, 1:-1] = field
    if repeat:
        framed[0], framed[-1] = framed[1], framed[-2]
        framed[:, 0], framed[:, -1] = framed[:, 1], framed[:, -2]
    return line


def _slopes(levels: Line, row: int, pixel: int) -> tuple[Line, Line]:
    """Sobel's along x and along y."""
    across, down = _pairs(_pairs(levels, pixel), pixel), _pairs(_pairs(levels, row), row)
    return down[2 * pixel :] - down[: -2 * pixel], across[2 * row :] - across[: -2 * row]


def _pairs(line: Line, step: int) -> Line:
    return line[step:] + line[:-step]


def _to_exceed(sizes: Line, x: Line, y: Line, row: int, pixel: int) -> Line:
    """What a magnitude must exceed to be a maximum across its edge. Of equal neighbours along a side the first one
    wins; along a diagonal both must be smaller. Nothing lies beyond the border. `x` and `y` are overwritten."""

    def beside(line: Line, down: int, right: int) -> Line:
        return line[(1 + down) * row + (1 + right) * pixel :][: len(x)]

    less = sizes - 1
    across = torch.maximum(beside(sizes, 0, -1), beside(less, 0, 1))
    down = torch.maximum(beside(sizes, -1, 0), beside(less, 1, 0))
    falling = torch.maximum(beside(sizes, -1, -1), beside(sizes, 1, 1))
    rising = torch.maximum(beside(sizes, -1, 1), beside(sizes, 1, -1))
    diagonal = _chosen((x ^ y).bitwise_right_shift_(15), rising, falling)
    wide, tall = x.abs_(), y.abs_()
    return _chosen(_above(tall, wide), _chosen(_above(wide, tall), diagonal, down), across)


def _above(one: Line, other: Line) -> Line:
    """Where `one` is more than `other` times the tangent; both at least 0."""
    return other.float().mul_(TANGENT).to(torch.int16).sub_(one).bitwise_right_shift_(15)


def _chosen(mask: Line, yes: Line, no: Line) -> Line:
    """`yes` where all bits of the mask are set, `no` where none is. `yes` is overwritten."""
    return yes.bitwise_xor_(no).bitwise_and_(mask).bitwise_xor_(no)


def _linked(strong: Bool[Tensor, "_"], weak: Bool[Tensor, "_"], row: int, pixel: int) -> Bool[Tensor, "_"]:
    """The weak pixels that a chain of weak neighbours, along sides or diagonals, joins to a strong one."""
    while True:
        wider = strong.clone()
        wider[pixel:].bitwise_or_(strong[:-pixel])
        wider[:-pixel].bitwise_or_(strong[pixel:])
        grown = wider.clone()
        grown[row:].bitwise_or_(wider[:-row])
        grown[:-row].bitwise_or_(wider[row:])
        grown.bitwise_and_(weak)
        if torch.equal(grown, strong):  # a GPU waits for this answer: chains are short, the rounds a handful
            return grown
        strong = grown


def distance(edges: Mask, limit: int) -> Float[Tensor, "height width batch"]:
    """Chamfer distance of each pixel to the nearest edge, at most `limit`, which is at most 25.

    The distance is the cheapest sum of moves along eight lines. Sums do not depend on the order of the moves, so that
    each line is dealt with by itself, and by doubling: whoever has looked r moves far both ways looks 2 r + 1 far by
    looking once more, r + 1 moves away. All look 2/5 of the limit far to begin with, farther if some pixel needs it.
    """
    height, width, batch = edges.shape
    row = width + limit  # what would run from one row into the next costs more than the limit on the way
    near = torch.ones(height, row, batch, dtype=torch.int16, device=edges.device)
    inside, line = near[:, :width], near.view(-1)
    inside.copy_(~edges)
    line.mul_(limit * UNIT)
    farther = torch.empty_like(line)
    reach = [0] * len(MOVES)
    for bound in (limit * 2 // 5, limit * 4 // 5, limit):
        for i, (down, right, cost) in enumerate(MOVES):
            most = math.ceil(bound * UNIT / cost) - 1
            while reach[i] < most:
                step = min(reach[i] + 1, most - reach[i])
                _look(line, (down * row + right) * step * batch, step * cost, farther)
                reach[i] += step
        if inside.amax() <= bound * UNIT:
            break
    return inside.float().mul_(1 / UNIT)


def _look(near: Line, away: int, cost: int, farther: Line) -> None:
    """Nearer edges that are seen from so many places away, either way; `farther` is scratch."""
    if away < len(near):
        torch.add(near, cost, out=farther)
        torch.minimum(near[away:], farther[:-away], out=near[away:])
        torch.minimum(near[:-away], farther[away:], out=near[:-away])
