"""Hierarchical clustering of points along a graph by Ward's criterion, compiled.

The tree is that of scikit-learn's ``AgglomerativeClustering(linkage='ward', connectivity=graph)``, node for node, whose
loop in Python takes twenty times as long.
"""
import numpy as np
from scipy.sparse import csr_matrix

from ...compiled import compiled


def ward_tree(features: np.ndarray, graph: csr_matrix) -> np.ndarray:
    """Merge the two neighboring clusters whose union adds the least variance, until one cluster is left.

    Args:
        features: Float64 (N, F), N > 0, the space in which variance is measured.
        graph: Symmetric adjacency matrix (N, N) of one connected part, without loops.

    Returns:
        Int64 (N - 1, 2), the two clusters of each union. Points are clusters 0 to N - 1, union number i is cluster
        N + i. Of equal variances the pair of the lowest numbers is merged first, where each pair begins with the
        higher of its two numbers.

    Raises:
        ValueError: The graph has several parts.
    """
    children = _merge(np.ascontiguousarray(features, dtype=np.float64), graph.indptr.astype(np.int64),
                      graph.indices.astype(np.int64))
    if len(children) and children[-1, 0] < 0:
        raise ValueError('the graph has several connected parts: there is no single tree; join them first')
    return children


@compiled()
def _merge(features, starts, neighbors):
    """Return the result of :func:`ward_tree` for the rows ``neighbors[starts[i]:starts[i + 1]]`` of the graph."""
    num, width = features.shape
    nodes = 2 * num - 1
    size = np.ones(nodes)
    total, mean = np.zeros((nodes, width)), np.zeros((nodes, width))
    total[:num] = features
    mean[:num] = features
    # Neighbors of a cluster: a chain of entries, so that those of two clusters are joined at once.
    entry, following = neighbors.copy(), np.arange(1, len(neighbors) + 1)
    head, tail = np.full(nodes, -1), np.full(nodes, -1)
    owner = np.arange(nodes)  # the union that a cluster is part of; paths are shortened as they are followed
    seen = np.full(nodes, -1)
    # A heap of (added variance, pair); a pair is one number that orders as its two.
    costs, pairs = np.empty(2 * len(neighbors) + 1), np.empty(2 * len(neighbors) + 1, np.int64)
    count = 0
    for i in range(num):
        if starts[i] < starts[i + 1]:
            head[i], tail[i] = starts[i], starts[i + 1] - 1
            following[tail[i]] = -1
        for n in range(starts[i], starts[i + 1]):
            if neighbors[n] < i:
                count = _push(costs, pairs, count, _cost(size, mean, i, neighbors[n]), i * nodes + neighbors[n])

    children = np.full((num - 1, 2), -1)
    for k in range(num, nodes):
        first, second = np.int64(-1), np.int64(-1)
        while count > 0:
            pair = pairs[0]
            count = _pop(costs, pairs, count)
            if owner[pair // nodes] == pair // nodes and owner[pair % nodes] == pair % nodes:
                first, second = pair // nodes, pair % nodes
                break
        if first < 0:
            break
        children[k - num, 0], children[k - num, 1] = second, first
        owner[first] = owner[second] = k
        size[k] = size[first] + size[second]
        for f in range(width):
            total[k, f] = total[first, f] + total[second, f]
            mean[k, f] = total[k, f] / size[k]
        head[k], tail[k] = head[first], tail[second]
        following[tail[first]] = head[second]
        seen[k] = k
        before, n = np.int64(-1), head[k]
        while n >= 0:  # each neighboring cluster once; further entries of it are taken out of the chain
            other = _owner(owner, entry[n])
            if seen[other] != k:
                seen[other] = k
                entry[n] = other
                if before < 0:
                    head[k] = n
                else:
                    following[before] = n
                before = n
                if count == len(costs):
                    costs, pairs = np.append(costs, costs), np.append(pairs, pairs)
                count = _push(costs, pairs, count, _cost(size, mean, k, other), k * nodes + other)
            n = following[n]
        tail[k] = before
        if before < 0:
            head[k] = -1
        else:
            following[before] = -1
    return children


@compiled()
def _cost(size, mean, i, j):
    """Return how much variance the union of two clusters adds."""
    squared = 0.
    for f in range(mean.shape[1]):
        difference = mean[i, f] - mean[j, f]
        squared += difference * difference
    return squared * (size[i] * size[j] / (size[i] + size[j]))


@compiled()
def _owner(owner, i):
    """Return the cluster of now that ``i`` is part of."""
    while owner[i] != i:
        owner[i] = owner[owner[i]]
        i = owner[i]
    return i


@compiled()
def _push(costs, pairs, count, cost, pair):
    """Add an entry to the heap; return the new number of entries."""
    place = count
    while place > 0:
        above = (place - 1) // 2
        if costs[above] < cost or (costs[above] == cost and pairs[above] < pair):
            break
        costs[place], pairs[place] = costs[above], pairs[above]
        place = above
    costs[place], pairs[place] = cost, pair
    return count + 1


@compiled()
def _pop(costs, pairs, count):
    """Take the lowest entry off the heap; return the new number of entries."""
    count -= 1
    cost, pair = costs[count], pairs[count]
    place = 0
    while 2 * place + 1 < count:
        below = 2 * place + 1
        right = below + 1
        if right < count and (costs[right] < costs[below]
                              or (costs[right] == costs[below] and pairs[right] < pairs[below])):
            below = right
        if cost < costs[below] or (cost == costs[below] and pair < pairs[below]):
            break
        costs[place], pairs[place] = costs[below], pairs[below]
        place = below
    costs[place], pairs[place] = cost, pair
    return count
