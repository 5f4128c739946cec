"""Visualizer of mmengine that draws predictions with the figures of this package: no display, no window, no network."""
from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmdet3d.registry import VISUALIZERS
from mmengine.dist import master_only
from mmengine.visualization import Visualizer
from PIL import Image

from ..atomic_files import atomic_write
from ..structures import ShapeDataSample
from .boxes import draw_scene_from_above
from .sheets import depth_contact_sheet

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmdet3d.structures import Det3DDataSample


@VISUALIZERS.register_module()
class FigureVisualizer(Visualizer):
    """Visualizer of detected scenes (boxes from above) and classified shapes (their depth views and best classes).

    Args:
        name: Name of the instance, by which mmengine finds it.
        max_boxes: Number of boxes to draw, best first.
        num_classes: Number of classes to name for a shape, best first.
        kwargs: Arguments of ``mmengine.visualization.Visualizer``.
    """

    def __init__(self, name: str = 'visualizer', max_boxes: int = 50, num_classes: int = 5, **kwargs) -> None:
        super().__init__(name, **kwargs)
        self.max_boxes, self.num_classes = max_boxes, num_classes

    def add_datasample(self,
                       name: str,
                       data_input: dict[str, torch.Tensor | np.ndarray],
                       data_sample: Det3DDataSample | ShapeDataSample | None = None,
                       draw_gt: bool = True,
                       draw_pred: bool = True,
                       show: bool = False,
                       wait_time: float = 0.,
                       out_file: str | Path | None = None,
                       o3d_save_path: str | Path | None = None,
                       vis_task: str = 'lidar_det',
                       pred_score_thr: float = .3,
                       show_pcd_rgb: bool = False,
                       step: int = 0) -> None:
        """Draw one sample. The arguments are those of mmdet3d's ``Det3DLocalVisualizer.add_datasample``.

        Args:
            name: Name of the sample, the title of the figure.
            data_input: ``points`` of a scene, float (N, >=3), or ``depth_views`` of a shape, (V, H, W), float in [0, 1]
                or uint8.
            data_sample: Predictions and annotations.
            draw_gt: Draw the annotations, if there are any.
            draw_pred: Draw the predictions.
            show: Also show the figure in a window.
            wait_time: Time in seconds for which it is shown; 0 waits for a key.
            out_file: PNG to write. Without one the figure goes to the visualizer's backends, unless it is shown.
            o3d_save_path: PNG to write, as ``out_file``.
            vis_task: Unused, since the sample says what it is.
            pred_score_thr: Lowest score of a box to draw.
            show_pcd_rgb: Unused: points that have colors are drawn in them.
            step: Number of the sample for the backends.

        Raises:
            ValueError: ``data_input`` has neither points nor depth views.
        """
        self._draw(name, data_input, data_sample, draw_gt, draw_pred, show, wait_time,
                   [path for path in (out_file, o3d_save_path) if path], pred_score_thr, step)

    @master_only
    def _draw(self, name, data_input, data_sample, draw_gt, draw_pred, show, wait_time, out_files, pred_score_thr,
              step) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'figure.png'
            if 'depth_views' in data_input:
                self._draw_shape(name, data_input['depth_views'], data_sample, path, draw_gt, draw_pred)
            elif 'points' in data_input:
                self._draw_scene(name, data_input['points'], data_sample, path, draw_gt, draw_pred, pred_score_thr)
            else:
                raise ValueError(f"{name} has neither 'points' nor 'depth_views' to draw, only {sorted(data_input)}")
            contents = path.read_bytes()
            image = np.asarray(Image.open(path).convert('RGB'))
        for out_file in out_files:
            with atomic_write(out_file) as unfinished:
                unfinished.write_bytes(contents)
        self.set_image(image)
        if show:
            self.show(image, win_name=name, wait_time=wait_time)
        elif not out_files:
            self.add_image(name, image, step)

    def _draw_scene(self, name: str, points: torch.Tensor | np.ndarray, sample: Det3DDataSample | None, path: Path,
                    draw_gt: bool, draw_pred: bool, pred_score_thr: float) -> None:
        predicted, labels, truth, true_labels = None, [], None, []
        if draw_pred and sample is not None and 'pred_instances_3d' in sample:
            found = sample.pred_instances_3d.cpu()
            found = found[found.scores_3d >= pred_score_thr]
            found = found[found.scores_3d.argsort(descending=True, stable=True)[:self.max_boxes]]
            names = _class_names(sample, self.dataset_meta)
            predicted = found.bboxes_3d
            labels = [f'{_name(names, label)} {score:.2f}'
                      for label, score in zip(found.labels_3d.tolist(), found.scores_3d.tolist(), strict=True)]
        annotations = getattr(sample, 'eval_ann_info', None) or {}
        if draw_gt and 'gt_bboxes_3d' in annotations:
            truth = annotations['gt_bboxes_3d']
            true_names = (self.dataset_meta or {}).get('classes', ())
            true_labels = [_name(true_names, int(label)) for label in annotations['gt_labels_3d']]
        draw_scene_from_above(torch.as_tensor(points), path, predicted, labels, truth, true_labels, name)

    def _draw_shape(self, name: str, views: torch.Tensor | np.ndarray, sample: ShapeDataSample | None, path: Path,
                    draw_gt: bool, draw_pred: bool) -> None:
        lines = [name]
        if draw_gt and sample is not None and sample.get('category'):
            lines.append(f'class: {sample.category}')
        if draw_pred and sample is not None and 'pred_scores' in sample:
            names = _class_names(sample, self.dataset_meta)
            best = sample.pred_scores.float().cpu().topk(min(self.num_classes, len(sample.pred_scores)))
            lines += [f'{_name(names, label)} {score:.3g}'
                      for score, label in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
        views = torch.as_tensor(views).cpu()
        views = views.float() / 255 if views.dtype == torch.uint8 else views.float()
        depth_contact_sheet(views[None], ['\n'.join(lines)], path)


def _class_names(sample: Det3DDataSample | ShapeDataSample, dataset_meta: dict | None) -> Sequence[str]:
    """Return the names that predicted labels index: the vocabulary of the model, or the classes of the dataset."""
    return sample.get('class_names') or (dataset_meta or {}).get('classes') or ()


def _name(names: Sequence[str], label: int) -> str:
    return names[label] if 0 <= label < len(names) else 'other' if label < 0 else f'class {label}'
