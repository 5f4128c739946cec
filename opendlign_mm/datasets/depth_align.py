"""The training set of OpenDlign's authors: depth maps of ShapeNet and the images generated from them."""
import os
from pathlib import PurePosixPath
from typing import List, Tuple

from mmdet3d.registry import DATASETS
from mmengine.logging import print_log

from .released import DEPTH_SUFFIX, RELEASED_DATA
from .shape_dataset import ShapeDataset
from .source_files import read_lines


@DATASETS.register_module()
class DepthAlignedShapes(ShapeDataset):
    """``<data_root>/<dataset>/depth_map/<id>_dm.npy`` and ``<data_root>/<dataset>/depth_align_img/<id>/{0..9}.png``.

    Put ``LoadDepthViews`` and ``LoadDepthAlignedImages`` first in the pipeline. The objects have no class: alignment
    uses none. Objects with one half only are left out and counted in the log.

    Args:
        data_root: Folder of the released data.
        ann_file: Text file in ``<data_root>/<dataset>`` that lists the objects to train on, one id, or a path that ends
            in it, a line. Empty: all.
        dataset: Sub-folder of ``data_root``.
        num_views: Images of an object, V.
        kwargs: See :class:`ShapeDataset`.

    Raises:
        FileNotFoundError: A folder is missing; the message says how to get it.
        ValueError: No object has both depth map and images.
    """

    remedy = (f"ShapeNet's depth maps and depth-aligned images are part of {RELEASED_DATA}. Unpack them to "
              '<data_root>/shapenet/depth_map and <data_root>/shapenet/depth_align_img, or say where they are with '
              '--cfg-options data_root=DIR. configs/opendlign_h14_built_in.py trains without any download.')

    def __init__(self, data_root: str, ann_file: str = '', dataset: str = 'shapenet', num_views: int = 10,
                 **kwargs) -> None:
        self.dataset, self.num_views = dataset, num_views
        super().__init__(data_root=data_root, ann_file=f'{dataset}/{ann_file}' if ann_file else '', data_prefix=dict(
            depth=f'{dataset}/depth_map', img=f'{dataset}/depth_align_img'), **kwargs)

    def read_records(self) -> Tuple[None, List[dict]]:
        """One record an object."""
        depth, images = self.data_prefix['depth'], self.data_prefix['img']
        # Half a million paths: strings, since objects for them would take seconds.
        with_depth = {name[:-len(DEPTH_SUFFIX)] for name in os.listdir(depth) if name.endswith(DEPTH_SUFFIX)}
        with_images = {entry.name for entry in os.scandir(images) if entry.is_dir()}
        wanted = with_depth | with_images
        if self.ann_file:
            wanted = {PurePosixPath(line).name for line in read_lines(self.ann_file, self.remedy)}
        complete = sorted(wanted & with_depth & with_images)
        if not complete:
            raise ValueError(f'{depth} has {len(with_depth)} depth maps and {images} the images of {len(with_images)} '
                             f'objects, but none of the {len(wanted)} objects to train on has both. {self.remedy}')
        if len(complete) < len(wanted):
            missing = sorted(wanted - set(complete))
            print_log(f'{len(missing)} of {len(wanted)} objects lack depth map or images and are left out: '
                      f'{", ".join(missing[:3])}{", ..." * (len(missing) > 3)}', 'current')
        return None, [dict(sample_id=f'{self.dataset}/{name}', depth_path=os.path.join(depth, f'{name}{DEPTH_SUFFIX}'),
                           image_paths=[os.path.join(images, name, f'{view}.png') for view in range(self.num_views)])
                      for name in complete]
