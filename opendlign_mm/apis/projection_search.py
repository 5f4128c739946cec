"""Search for the constants of the contour-aware projection in one pose of the objects."""
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from ..projection import ContourAwareProjection
from .view_matching import Pose, turned_up

Constants = dict[str, float]

# Constants that are searched, with the sides of the first simplex around them; of sigmas in their logarithm.
GEOMETRY = dict(elevation=6., azimuth=4., azimuth_step=2., object_ratio=.04, depth_bias=.08)
SMOOTHING = dict(sigma_space=.3, sigma_intensity=.4)
FIRST_SMOOTHING = [dict(depth_bins=bins, sigma_space=space, sigma_intensity=intensity)
                   for bins in (16, 32, 64, 128) for space in (1., 2.5) for intensity in (.05, .15, .4)]
LIMITS = dict(elevation=(-89., 89.), object_ratio=(.05, 1.), depth_bias=(0., 5.), sigma_space=(.05, 20.),
              sigma_intensity=(.005, 20.))
VIEWS_SEARCHED = 4  # of each object
ROUNDS, EVALUATIONS = 6, 150
DENSIFYING = 3  # pixels that densifying adds on each side of the surface


def view_error(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean absolute difference of depth views (..., H, W) over the pixels where one has a surface: (...)."""
    surface = ((first < 1) | (second < 1)).sum((-2, -1)).clamp(min=1)
    return (first - second).abs().sum((-2, -1)) / surface


class ProjectionSearch:
    """Search for the constants whose views differ least from given ones.

    Args:
        clouds: Points of K objects, float (N_i, 3).
        views: Their depth views, float (K, V, H, H) in [0, 1].
        pose: How the objects stand in them.
        on_evaluation: Called with the smallest error so far whenever a set of constants was tried.

    Attributes:
        constants: The best constants so far; ``azimuth`` is added to all ``angles``, float (V,) in degrees, and
            ``azimuth_step`` once for each view after the middle one, and taken off for each before it.
    """

    def __init__(self, clouds: Sequence[Tensor], views: Tensor, pose: Pose,
                 on_evaluation: Callable[[float], object] | None = None) -> None:
        self.pose, self.say = pose, on_evaluation or (lambda error: None)
        self.clouds = [turned_up(cloud, pose.up) for cloud in clouds]
        self.views = views.flip(-1) if pose.mirrored else views
        self.angles = np.array(pose.angles)
        self.chosen = np.unique(np.linspace(0, len(self.angles) - 1, VIEWS_SEARCHED).round().astype(int))
        self.constants: Constants = dict(elevation=pose.elevation, azimuth=0., azimuth_step=0., object_ratio=.8,
                                         depth_bias=.2, depth_bins=64, sigma_space=1.5, sigma_intensity=.1)
        self.lowest = np.inf

    def projection(self, chosen: np.ndarray | slice = slice(None), **changes: float) -> ContourAwareProjection:
        """Return the projection after changes of the constants, for all or some of the views."""
        constants: dict[str, Any] = {**self.constants, **changes}
        places = np.arange(len(self.angles)) - (len(self.angles) - 1) / 2
        angles = self.angles + constants.pop('azimuth') + constants.pop('azimuth_step') * places
        return ContourAwareProjection(self.views.shape[-1], int(constants.pop('depth_bins')),
                                      view_angles=angles[chosen].tolist(), **constants)

    def error(self, **changes: float) -> float:
        """Return the mean error of the searched views after changes of the constants; 1 outside their limits."""
        constants = {**self.constants, **changes}
        if any(not low <= constants[name] <= high for name, (low, high) in LIMITS.items()):
            return 1.
        ours = self.projection(self.chosen, **changes)(self.clouds)
        error = view_error(ours, self.views[:, self.chosen]).mean().item()
        self.lowest = min(self.lowest, error)
        self.say(self.lowest)
        return error

    def find_geometry(self) -> float:
        """Find the constants of the geometry, and return the error."""
        self._estimate_object_ratio()
        self._estimate_depth_bias()
        self._refine(self._geometry, 1., EVALUATIONS)
        if not self.pose.regular:
            self._refine_each_azimuth()
        return self.error()

    def find_all(self) -> None:
        """Find all constants, beginning with those of :meth:`find_geometry`."""
        self.constants.update(min(FIRST_SMOOTHING, key=lambda start: self.error(**start)))
        last = self._refine_bins()
        for turn in range(ROUNDS):
            self._refine({**self._geometry, **SMOOTHING}, .5**(turn + 1), EVALUATIONS)
            error = self._refine_bins()
            if error > .9 * last and turn:
                break
            last = error

    def take_constants(self, other: 'ProjectionSearch') -> None:
        """Take the constants that the search in another pose found, and refine the elevation and the azimuth."""
        pose = {name: self.constants[name] for name in ('elevation', 'azimuth', 'azimuth_step')}
        self.constants = {**other.constants, **pose}
        self._refine(dict(elevation=2., azimuth=2.), 1., EVALUATIONS // 4)

    def steps(self) -> Constants:
        """Return a step of each constant: a degree, a pixel of the frame, a hundredth, a bin, a tenth of a sigma."""
        return dict(elevation=1., azimuth=1., object_ratio=1 / max(self.views.shape[-1] - 1, 1), depth_bias=.01,
                    depth_bins=1, sigma_space=.1 * self.constants['sigma_space'],
                    sigma_intensity=.1 * self.constants['sigma_intensity'])

    @property
    def _geometry(self) -> Constants:
        has_step = self.pose.regular and len(self.angles) > 1
        return {name: side for name, side in GEOMETRY.items() if name != 'azimuth_step' or has_step}

    def _estimate_object_ratio(self) -> None:
        """Estimate the object ratio from the bounding boxes of the surfaces."""
        theirs, ours = (_longest_sides(views) - 2 * DENSIFYING
                        for views in (self.views, self.projection()(self.clouds)))
        ratio = self.constants['object_ratio'] * (theirs.clamp(min=1).sum() / ours.clamp(min=1).sum()).item()
        self.constants['object_ratio'] = float(np.clip(ratio, .1, .99))

    def _estimate_depth_bias(self) -> None:
        """Estimate the depth bias b from the values of the views.

        With d = 1 - n for a nearness n = (z + b) / (1 + b), d (1 + b) = 1 - z: b d is the difference from the view
        without a bias, and b its least-squares solution.
        """
        ours = self.projection(depth_bias=0.)(self.clouds)
        inside = (ours < 1) & (self.views < 1)
        theirs, difference = self.views[inside], (ours - self.views)[inside]
        bias = (theirs @ difference / (theirs @ theirs).clamp(min=1e-9)).item()
        self.constants['depth_bias'] = float(np.clip(bias, 0, 3))

    def _refine(self, steps: Constants, scale: float, evaluations: int) -> None:
        """Lower the error by the Nelder-Mead method over the constants in ``steps``, the sides of the first simplex."""
        names = list(steps)

        def constants_at(place: np.ndarray) -> Constants:
            return {name: float(np.exp(value)) if name in SMOOTHING else float(value)
                    for name, value in zip(names, place, strict=True)}

        start = np.array([np.log(self.constants[name]) if name in SMOOTHING else self.constants[name]
                          for name in names])
        simplex = np.vstack([start, start + np.diag([steps[name] * scale for name in names])])
        found = minimize(lambda place: self.error(**constants_at(place)), start, method='Nelder-Mead',
                         options=dict(initial_simplex=simplex, maxfev=evaluations, xatol=1e-4, fatol=1e-6,
                                      adaptive=True))
        self.constants.update(constants_at(found.x))

    def _refine_bins(self) -> float:
        """Step through the depth bins, in ever smaller steps, and return the error of the best."""
        error, step = self.error(), max(int(self.constants['depth_bins']) // 2, 1)
        while step:
            bins = int(self.constants['depth_bins'])
            nearby, best = min((self.error(depth_bins=other), other) for other in (max(bins - step, 2), bins + step))
            if nearby < error:
                error, self.constants['depth_bins'] = nearby, best
            else:
                step //= 2
        return error

    def _refine_each_azimuth(self) -> None:
        """Turn each view towards its own smallest error, in ever smaller steps; for azimuths of no order."""
        for step in (8., 4., 2., 1., .5, .25):
            errors = [view_error(self.projection(azimuth=self.constants['azimuth'] + turn)(self.clouds),
                                 self.views).mean(0) for turn in (-step, 0., step)]
            self.angles = self.angles + step * (torch.stack(errors).argmin(0).numpy() - 1)


def _longest_sides(views: Tensor) -> Tensor:
    """Return the longer side of the bounding box of the surface in views (K, V, H, W), in pixels: (K, V)."""
    surface = views < 1
    return torch.maximum(_span(surface.any(-1)), _span(surface.any(-2)))


def _span(hit: Tensor) -> Tensor:
    places = torch.arange(hit.shape[-1]).expand_as(hit)
    return places.masked_fill(~hit, -1).amax(-1) - places.masked_fill(~hit, hit.shape[-1]).amin(-1) + 1.
