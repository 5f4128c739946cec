"""Result of fitting a projection: what it means in words, as a config, as a table and as a picture."""
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..atomic_files import atomic_write
from ..projection import ContourAwareProjection
from .view_matching import Pose

# Digits behind the point in the config; differences below them change no view visibly.
DIGITS = dict(elevation=2, object_ratio=4, depth_bias=3, sigma_space=3, sigma_intensity=4)


@dataclass
class FittedProjection:
    """Result of :func:`.fit_projection.fit_projection`.

    Attributes:
        pose: How the objects stand in the given views, with the fitted elevation and azimuths.
        projection: The fitted projection.
        views: Its views, float (K, V, H, H), mirrored if the given ones are.
        errors: Mean absolute difference from the given views over the pixels with a surface, float (K, V).
        tolerance: Error that half a step of a constant makes: half a degree, half a pixel of the frame, or a bin.
        sampling_error: Error between the views of two halves of the points: other points of the same surface.
        alternatives: Other poses, in words, that fit within ``tolerance``, as the objects are too symmetric.
        around: For each constant a step, and the errors with the constant one step lower and one step higher; 1 where
            that is out of range.
    """
    pose: Pose
    projection: ContourAwareProjection
    views: Tensor
    errors: Tensor
    tolerance: float
    sampling_error: float
    alternatives: list[str]
    around: dict[str, tuple[float, float, float]]

    @property
    def fits(self) -> bool:
        """Whether the error is one of a small change of the constants, or of other points of the surface."""
        return bool(self.errors.mean() <= max(self.tolerance, self.sampling_error))

    def verdict(self) -> str:
        """Return a sentence that says whether the projection fits, and by what measure."""
        error = self.errors.mean().item()
        half_step = f'the {self.tolerance:.4f} of half a step of a constant'
        if error <= self.tolerance:
            return f'fits: the mean error {error:.4f} is within {half_step}'
        points = f'the {self.sampling_error:.4f} between two halves of the points'
        if error <= self.sampling_error:
            return (f'fits as well as other points of the same surface: the mean error {error:.4f} is above '
                    f'{half_step}, but within {points}')
        return (f'does not fit: the mean error {error:.4f} is above {half_step} and above {points}. The views are of '
                'another projection or of other objects')

    def remarks(self) -> list[str]:
        """Return what a config of the projection cannot say: the up axis, mirroring, and what is not determined."""
        remarks = []
        if self.pose.up == 'y':
            remarks.append("y points up in the points: set up_axis='y' where they are loaded")
        elif self.pose.up != 'z':
            remarks.append(f'{self.pose.up} points up in the points: turn them so that z does')
        if self.pose.mirrored:
            remarks.append('left and right are exchanged in the given views; no projection here does so')
        if not self.pose.regular:
            remarks.append('the azimuths have no equal steps; each was fitted by itself')
        if self.alternatives:
            remarks.append('the objects are too symmetric to tell these views from ' + ' and '.join(self.alternatives))
        return remarks

    def config(self) -> str:
        """Return the fitted projection as lines of a config, with the verdict as a comment."""
        constants = [f'{name}={round(getattr(self.projection, name), digits)!r}' for name, digits in DIGITS.items()]
        angles = [round(angle % 360, 2) for angle in self.projection.view_angles]
        comments = [f'# This projection {self.verdict()}.', *(f'# {remark[0].upper()}{remark[1:]}.'
                                                              for remark in self.remarks())]
        return '\n'.join([*comments, 'projection = dict(', "    type='ContourAwareProjection',",
                          f'    resolution={self.projection.resolution},',
                          f'    depth_bins={self.projection.depth_bins},',
                          *(f'    {constant},' for constant in constants), f'    view_angles={angles})', ''])

    def table(self) -> str:
        """Return the error of each view, and of the constants around the fitted ones."""
        lines = ['view  azimuth   error']
        lines += [f'{view:4d} {angle % 360:8.1f} {error:7.4f}' for view, (angle, error) in enumerate(
            zip(self.projection.view_angles, self.errors.mean(0).tolist(), strict=True))]
        lines.append('constant          step   error below   error above')
        lines += [f'{name:16s} {step:5.3f} {_shown(below):>13s} {_shown(above):>13s}'
                  for name, (step, below, above) in self.around.items()]
        return '\n'.join(lines)

    def save(self, folder: str | Path, given: Tensor, names: Sequence[str]) -> None:
        """Write ``projection.py``, ``fit.json`` and ``comparison.png``.

        Args:
            folder: Folder to write, created if needed.
            given: The given views, float (K, V, H, H).
            names: Names of the K objects.
        """
        from ..visualization.sheets import depth_contact_sheet
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        facts = dict(fits=self.fits, verdict=self.verdict(), remarks=self.remarks(), pose=self.pose._asdict(),
                     projection=dict(vars(self.projection)), tolerance=self.tolerance,
                     sampling_error=self.sampling_error, around=self.around,
                     errors={name: row.tolist() for name, row in zip(names, self.errors, strict=True)})
        for name, text in (('projection.py', self.config()), ('fit.json', json.dumps(facts, indent=1))):
            with atomic_write(folder / name) as unfinished:
                Path(unfinished).write_text(text)
        rows = torch.stack((given, self.views, 1 - (given - self.views).abs()), 1).flatten(0, 1)
        titles = [f'{name[-24:]}\n{what}' for name, error in zip(names, self.errors.mean(1).tolist(), strict=True)
                  for what in ('given', 'fitted', f'difference, mean {error:.4f}')]
        depth_contact_sheet(rows, titles, folder / 'comparison.png')


def _shown(error: float) -> str:
    return f'{error:.4f}' if error < 1 else 'out of range'
