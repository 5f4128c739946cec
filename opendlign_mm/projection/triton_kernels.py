"""Kernels in Triton of the contour-aware projection; :mod:`.triton_backend` describes the data and calls them.

Needs the package triton, which PyTorch for CUDA brings along; other modules import this one when it is used.
"""
import triton
import triton.language as tl

# Along which axis :func:`dilate` takes the maximum.
ACROSS, DOWN, ALONG = 0, 1, 2
# Neighboring columns whose weights are computed at once.
NEIGHBORS = 32


@triton.jit(do_not_specialize=['count'])
def dilate(columns, out, tops, slots, pixels, count, size: tl.constexpr, depth: tl.constexpr, reach: tl.constexpr,
           axis: tl.constexpr, block: tl.constexpr, lanes: tl.constexpr):
    """Take the maximum of ``2 * reach + 1`` voxels along an axis, for ``block`` columns; empty voxels are 0.

    Along the depth, the last of the three axes, the nearest surface of each column is written to ``tops`` as well.

    Args:
        columns: Values of all columns, float32 (count, depth).
        out: The maxima, of the same shape.
        tops: Nearest depth with a surface of each column, -1 for none, int32 (count,).
        slots: Number of the column of each pixel plus 1, 0 for none, int32 (images, size, size).
        pixels: Pixel of each column, int64 (count,).
        count: Number of columns.
        size: Height and width of an image.
        depth: Number of depths.
        reach: Voxels on each side.
        axis: 0 for the row of the image, 1 for its columns, 2 for the depth.
        block: Columns of one program, a power of two.
        lanes: Power of two that is at least ``depth``.
    """
    number = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    used = number < count
    k = tl.arange(0, lanes)
    pixel = tl.load(pixels + number, mask=used, other=0)
    best = tl.zeros([block, lanes], tl.float32)
    for step in range(-reach, reach + 1):
        if axis == 2:
            source, place = number, k + step
            inside = used
        else:
            place = k
            position = pixel % size if axis == 0 else pixel // size % size
            inside = used & (position + step >= 0) & (position + step < size)
            neighbor = pixel + step * (1 if axis == 0 else size)
            slot = tl.load(slots + neighbor, mask=inside, other=0).to(tl.int64)
            source = slot - 1
            inside = slot > 0
        mask = inside[:, None] & ((place >= 0) & (place < depth))[None, :]
        best = tl.maximum(best, tl.load(columns + source[:, None] * depth + place[None, :], mask=mask, other=0.))
    tl.store(out + number[:, None] * depth + k[None, :], best, mask=used[:, None] & (k < depth)[None, :])
    if axis == 2:
        surface = (best > 0) & (k < depth)[None, :]
        tl.store(tops + number, tl.max(tl.where(surface, k[None, :], -1), axis=1), mask=used)


@triton.jit
def _neighbors(slots, pixel, start, size: tl.constexpr, pad: tl.constexpr, neighbors: tl.constexpr):
    """Return the columns (-1 for none) of neighboring pixels, and their squared distances, -1 beyond the last one."""
    side: tl.constexpr = 2 * pad + 1
    n = start + tl.arange(0, neighbors)
    down, right = n // side - pad, n % side - pad
    row, column = pixel // size % size + down, pixel % size + right
    inside = (n < side * side) & (row >= 0) & (row < size) & (column >= 0) & (column < size)
    slot = tl.load(slots + pixel + down * size + right, mask=inside, other=0).to(tl.int64)
    return slot - 1, tl.where(n < side * side, down * down + right * right, -1)


@triton.jit
def _last(tops, slots, pixel, size: tl.constexpr, pad: tl.constexpr, neighbors: tl.constexpr):
    """Return the nearest depth with a surface in the neighborhood of a pixel, -1 for none."""
    last = -1
    for start in range(0, (2 * pad + 1) * (2 * pad + 1), neighbors):
        column, _ = _neighbors(slots, pixel, start, size, pad, neighbors)
        last = tl.maximum(last, tl.max(tl.load(tops + column, mask=column >= 0, other=-1), axis=0))
    return last


@triton.jit
def filter_runs(columns, tops, slots, pixels, views, space, precision, size: tl.constexpr, depth: tl.constexpr,
                reach: tl.constexpr, pad: tl.constexpr, neighbors: tl.constexpr, lanes: tl.constexpr):
    """Filter one column at the depths that can hold its largest value, and write its pixel.

    These are the run of the nearest surface's value, or, in a column without a surface, all depths near one. They have
    one value, so that the intensity weights are those of ``2 * reach + 1`` depths at once: across first, along last.

    Args:
        columns: See :func:`dilate`, as ``tops``, ``slots``, ``pixels``, ``size``, ``depth`` and ``reach``.
        tops: See there.
        slots: See there.
        pixels: See there.
        views: Depth views to write, float32 (images, size, size).
        space: 1 / (2 sigma^2) of the spatial weights, per squared voxel.
        precision: 1 / (2 sigma^2) of the intensity weights.
        size: See there.
        depth: See there.
        reach: See there.
        pad: Voxels on each side over which the filter reaches.
        neighbors: Columns whose weights are computed at once, a power of two.
        lanes: Depths that are computed at once, a power of two above ``2 * pad``.
    """
    number = tl.program_id(0).to(tl.int64)
    pixel = tl.load(pixels + number)
    top = tl.load(tops + number)
    center = tl.load(columns + number * depth + tl.maximum(top, 0))  # 0 in a column without a surface
    beyond = tl.minimum(_last(tops, slots, pixel, size, pad, neighbors) + pad + 1, depth)
    first = tl.where(top >= 0, tl.maximum(top - 2 * reach, 0), 0)
    end = tl.where(top >= 0, top + 1, beyond)

    lane = tl.arange(0, lanes)
    offset = lane[:, None] - lane[None, :]  # of the depth that is read from the one that is filtered
    along = tl.exp(-space * ((offset - pad) * (offset - pad)).to(tl.float32))
    along = tl.where((offset >= 0) & (offset <= 2 * pad), along, 0.)
    best = 0.
    for begin in range(first, end, lanes - 2 * pad):
        k = begin - pad + lane
        norm, total = tl.zeros([lanes], tl.float32), tl.zeros([lanes], tl.float32)
        for start in range(0, (2 * pad + 1) * (2 * pad + 1), neighbors):
            column, distance = _neighbors(slots, pixel, start, size, pad, neighbors)
            across = tl.where(distance >= 0, tl.exp(-space * distance.to(tl.float32)), 0.)
            mask = (column >= 0)[:, None] & ((k >= 0) & (k < depth))[None, :]
            value = tl.load(columns + column[:, None] * depth + k[None, :], mask=mask, other=0.)
            weight = across[:, None] * tl.exp(-precision * (value - center) * (value - center))
            norm += tl.sum(weight, axis=0)
            total += tl.sum(weight * value, axis=0)
        mean = tl.sum(along * total[:, None], axis=0) / tl.sum(along * norm[:, None], axis=0)
        filtered = begin + lane
        own = tl.load(columns + number * depth + filtered, mask=(lane < lanes - 2 * pad) & (filtered < end), other=-1.)
        best = tl.maximum(best, tl.max(tl.where(own == center, mean, 0.), axis=0))
    tl.store(views + pixel, 1 - best)


@triton.jit
def filter_all(columns, tops, slots, pixels, views, space, precision, size: tl.constexpr, depth: tl.constexpr,
               reach: tl.constexpr, pad: tl.constexpr, neighbors: tl.constexpr, lanes: tl.constexpr):
    """Filter one column at all depths near a surface, each compared with its own value, and write its pixel.

    Arguments as for :func:`filter_runs`.
    """
    number = tl.program_id(0).to(tl.int64)
    pixel = tl.load(pixels + number)
    end = tl.minimum(_last(tops, slots, pixel, size, pad, neighbors) + pad + 1, depth)
    lane = tl.arange(0, lanes)
    best = 0.
    for begin in range(0, end, lanes):
        filtered = begin + lane
        center = tl.load(columns + number * depth + filtered, mask=filtered < depth, other=0.)
        norm, total = tl.zeros([lanes], tl.float32), tl.zeros([lanes], tl.float32)
        for start in range(0, (2 * pad + 1) * (2 * pad + 1), neighbors):
            column, distance = _neighbors(slots, pixel, start, size, pad, neighbors)
            for step in range(-pad, pad + 1):
                spatial = tl.exp(-space * (distance + step * step).to(tl.float32))
                spatial = tl.where(distance >= 0, spatial, 0.)
                k = filtered + step
                mask = (column >= 0)[:, None] & ((k >= 0) & (k < depth))[None, :]
                value = tl.load(columns + column[:, None] * depth + k[None, :], mask=mask, other=0.)
                difference = value - center[None, :]
                weight = spatial[:, None] * tl.exp(-precision * difference * difference)
                norm += tl.sum(weight, axis=0)
                total += tl.sum(weight * value, axis=0)
        best = tl.maximum(best, tl.max(tl.where(filtered < end, total / norm, 0.), axis=0))
    tl.store(views + pixel, 1 - best)
