"""Scenes that cannot be used, found before anything is computed from them."""
import logging

import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmengine.logging import print_log


@TRANSFORMS.register_module()
class CheckScenePoints(BaseTransform):
    """Stop scenes without points or with non-finite coordinates, which sampling and networks would choke on.

    Required keys: ``points`` (mmdet3d points); ``lidar_path`` names the scene.

    Args:
        broken (str): 'raise' an error, which ``SkipBrokenTestLoop`` and ``SkipBrokenValLoop`` turn into an entry of
            their list; or, for training, 'skip' the scene with a warning: mmengine's data sets then take another one at
            random.

    Raises:
        ValueError: such a scene, if ``broken`` is 'raise'; the message names it.
    """

    def __init__(self, broken: str = 'raise') -> None:
        if broken not in ('raise', 'skip'):
            raise ValueError(f"broken must be 'raise' or 'skip', got {broken!r}")
        self.broken = broken

    def transform(self, results: dict):
        """The scene as it is; None for a broken one that is to be skipped."""
        coordinates, name = results['points'].coord, results.get('lidar_path', 'scene')
        bad = int((~torch.isfinite(coordinates)).any(dim=1).sum())
        if len(coordinates) and not bad:
            return results
        problem = f'{bad} of {len(coordinates)} points have non-finite coordinates' if bad else 'there are no points'
        if self.broken == 'raise':
            raise ValueError(f'{name}: {problem}')
        print_log(f'left out of training: {name}: {problem}', 'current', logging.WARNING)
        return None

    def __repr__(self) -> str:
        return f'{type(self).__name__}(broken={self.broken!r})'
