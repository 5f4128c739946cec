"""The compiled hierarchical clustering: the tree of scikit-learn, with its order of equal costs."""
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.cluster import AgglomerativeClustering

from opendlign_mm.detection.proposals.clusters import _connected, _neighbor_graph
from opendlign_mm.detection.proposals.ward_tree import ward_tree


def graph_of(edges, num):
    rows, columns = np.array(edges).T
    graph = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(num, num))
    return graph.maximum(graph.T)


@pytest.mark.parametrize('grid, seed', [(False, 0), (False, 1), (True, 0)])
def test_the_tree_is_that_of_scikit_learn(grid, seed):
    """Random points, and a grid of points, where most costs are equal."""
    rng = np.random.default_rng(seed)
    xyz = np.stack(np.meshgrid(*[np.arange(6.)] * 3), -1).reshape(-1, 3) if grid else rng.random((700, 3))
    features = np.concatenate([xyz, rng.normal(size=(len(xyz), 2)) * (not grid)], axis=1)
    graph = _connected(_neighbor_graph(xyz, 6, 1.), features)
    expected = AgglomerativeClustering(
        n_clusters=1, linkage='ward', compute_full_tree=True, connectivity=graph).fit(features).children_
    assert np.array_equal(ward_tree(features, graph), expected)


def test_a_chain_by_hand():
    """0 and 1 are nearest; then 3 and 4; a point alone joins the pair whose mean is nearer."""
    x = np.array([[0.], [1], [3.5], [7], [8.5]])
    children = ward_tree(x, graph_of([(0, 1), (1, 2), (2, 3), (3, 4)], 5))
    assert [sorted(pair) for pair in children.tolist()] == [[0, 1], [3, 4], [2, 5], [6, 7]]


def test_a_star_has_more_candidates_than_edges():
    """Each union with the middle has all other points as neighbors."""
    x = np.arange(60.)[:, None]**2
    children = ward_tree(x, graph_of([(0, number) for number in range(1, 60)], 60))
    expected = [[0, 1]] + [[number, 58 + number] for number in range(2, 60)]
    assert [sorted(pair) for pair in children.tolist()] == expected


def test_one_point_and_separate_parts():
    assert ward_tree(np.zeros((1, 2)), csr_matrix((1, 1))).shape == (0, 2)
    with pytest.raises(ValueError, match='several connected parts'):
        ward_tree(np.zeros((4, 1)), graph_of([(0, 1), (2, 3)], 4))


def test_parts_are_joined_at_their_closest_points():
    """Of three parts each pair gets the edge that all distances together give."""
    rng = np.random.default_rng(5)
    xyz = np.concatenate([rng.random((count, 3)) + [place, 0, 0] for count, place in ((150, 0), (230, 4), (90, 9))])
    part = np.repeat([0, 1, 2], [150, 230, 90])
    graph = _neighbor_graph(xyz, 6, 1.)
    added = (_connected(graph, xyz) - graph).tocoo()
    distances = np.linalg.norm(xyz[:, None] - xyz[None], axis=2)
    expected = set()
    for first, second in ((0, 1), (0, 2), (1, 2)):
        between = np.where((part[:, None] == first) & (part[None] == second), distances, np.inf)
        row, column = np.unravel_index(between.argmin(), between.shape)
        expected |= {(row, column), (column, row)}
    assert set(zip(added.row, added.col, strict=True)) == expected
