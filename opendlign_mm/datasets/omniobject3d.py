"""OmniObject3D, point clouds of real scans."""
from mmdet3d.registry import DATASETS

from .shape_folder import ShapeFolder


@DATASETS.register_module()
class OmniObject3D(ShapeFolder):
    """``<category>/<object>.ply``: real scans of 216 categories, which are the names of the folders.

    Args:
        data_root: Folder of the categories.
        up_axis: 'z' or 'y', the axis that points up in the files.
        kwargs: Further arguments of :class:`ShapeFolder`.
    """

    benchmark = 'OmniObject3D'
    remedy = ('OmniObject3D publishes clouds of 1,024, 4,096 and 16,384 points as <category>/<object>.ply; the paper '
              'uses 4,096. Point to that folder with --cfg-options data_root=DIR.')

    def __init__(self, data_root: str, up_axis: str | None = 'z', **kwargs) -> None:
        kwargs.setdefault('extensions', ('.ply', ))
        super().__init__(data_root=data_root, up_axis=up_axis, name='omniobject3d', **kwargs)
