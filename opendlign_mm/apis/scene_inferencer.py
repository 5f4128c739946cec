"""Detect objects in scenes in the words of the user, from files, arrays or tensors of points."""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ..models.color_views import Views
from ..models.precision import Precision
from ..models.prompts import UnknownWordsWarning
from ..structures import SceneDetections
from .loaded_scene import LoadedScene, Units, Up, load_scene
from .named_configs import (
    choose_views,
    classifier_of,
    detector_config,
    keep_text_features,
    read_model_config,
    set_templates,
)
from .point_inferencer import INPUT_ERRORS, LoadedInput, PointInferencer, reason_of, show_image
from .scene_features import load_scene_features, save_scene_features, settings_of
from .vocabulary import default_vocabulary, read_vocabulary, warn_of_unknown_names

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmengine.structures import InstanceData

    from ..detection import OpenVocabDetector3D

DEFAULT_CLASSES = 'scannet18'
NUM_CLASSES_SHOWN = 5


class SceneInferencer(PointInferencer):
    """Open-vocabulary detector of objects in scans of rooms.

    Args:
        model: Name of a model, path of a config of an ``OpenVocabDetector3D`` or an ``OpenDlign``, or the config.
        weights: Checkpoint; by default that of the named model.
        device: Device, by default the GPU if there is one.
        proposals: Source of boxes: ``'clusters'``, ``'3detr'``, a config such as
            ``dict(type='DetectorProposals', ...)`` or the path of one with ``model.proposals``. Default: those of a
            detector's config, clusters otherwise.
        views: What classifies the points of a box: ``'depth'``, ``'color'`` or ``'both'``, see :class:`OpenDlign`; by
            default what the config says, depth. Scenes without colors are an error with ``'color'``.
        labels_per_box: 1: each box has one label, and boxes of different labels do not overlap. None: each box has
            every label, as average precision rewards, and as the config of the detector says.
        cfg_options: Changes to the config.
        show_progress: Whether to show a progress bar.
        precision: Precision of the frozen image tower, see :class:`CLIPDepthBackbone`; default: that of the config.
        templates: Prompt templates in the place of the config's, see :func:`.named_configs.set_templates`.

    Raises:
        FileNotFoundError: The config or the checkpoint does not exist.
        ValueError: The name is unknown, or the config is that of another model.
    """

    title = 'scenes'
    preprocess_kwargs = {'up', 'units', 'dims'}
    forward_kwargs = {'classes', 'score_thr', 'max_boxes', 'return_views', 'save_features', 'load_features'}
    visualize_kwargs = {'return_vis', 'show', 'out_dir'}
    model: OpenVocabDetector3D

    def __init__(self, model: str | Path | Config = 'opendlign-tiny', weights: str | Path | None = None,
                 device: str | torch.device | None = None, proposals: str | dict | None = None,
                 labels_per_box: Literal[1] | None = 1, cfg_options: dict | None = None,
                 show_progress: bool = True, precision: Precision | None = None,
                 views: Views | None = None, templates: str | Path | Sequence[str] | None = None) -> None:
        if labels_per_box not in (None, 1):
            raise ValueError(f'labels_per_box must be 1 or None, got {labels_per_box}')
        self.proposals, self.labels_per_box, self.views = proposals, labels_per_box, views
        super().__init__(model, weights, device, cfg_options, show_progress, precision, templates)
        self._settings: dict | None = None

    def _read_config(self, model: str | Path | Config, weights: str | Path | None, options: dict
                     ) -> tuple[Config, str | None]:
        cfg, checkpoint, path = read_model_config(model, weights, options)
        cfg = detector_config(cfg, path, self.proposals)
        choose_views(classifier_of(cfg), self.views)
        keep_text_features(classifier_of(cfg))
        set_templates(classifier_of(cfg), self.templates)
        if self.labels_per_box == 1:
            head = cfg.model.get('bbox_head') or dict(type='OpenVocabBBoxHead')
            cfg.model.bbox_head = dict(head, labels_per_box=1, class_agnostic_nms=True)
        return cfg, None if checkpoint is None else str(checkpoint)

    def __call__(  # type: ignore[override]  # classes come second, as in mmpretrain
            self, inputs: Any, classes: str | Path | Sequence[str] | None = None, score_thr: float = 0., **kwargs
            ) -> dict[str, list]:
        """Detect objects in scenes, one after the other.

        Args:
            inputs: Paths, folders, patterns, arrays or tensors (N, >=3), objects of Open3D or trimesh, or a list of any
                of these; see :func:`.point_files.read_points`. Columns 4 to 6 of arrays are colors.
            classes: Names, a text file, or the name of a vocabulary, see :func:`.vocabulary.read_vocabulary`. Default:
                ScanNet's 18 classes, of a small CLIP those that it was trained on.
            score_thr: Lowest score of a box.
            kwargs: ``max_boxes``: largest number of boxes of a scene, best first. ``return_views``: add the depth
                ``views`` of each box, uint8 (V, H, W). ``up``: ``'auto'`` (finds the floor), ``'z'``, ``'y'`` or
                ``'-y'``. ``units``: ``'auto'``, ``'m'``, ``'cm'`` or ``'mm'``. ``dims``: values of a point in .bin
                files. ``save_features``: folder for the boxes and view features of each scene. ``load_features``: such
                a folder; another vocabulary then costs a matrix product. ``return_vis``: return images. ``show``: show
                them. ``out_dir``: folder of a page and pictures of each scene. ``pred_out_file``: JSON file of the
                predictions.

        Returns:
            ``predictions``: for each input ``dict(input, boxes, frame)``, and ``notes`` where points were left out;
            ``dict(input, error)`` of one that cannot be used. A box: ``bbox_3d``, center, sizes and yaw in the frame
            and unit of the input, ``label``, ``score`` in [0, 1] and ``num_points``, best first. Where the scene had to
            be turned level, also ``rotation`` (3, 3), whose columns are the axes of the box in the frame of the input;
            yaw is then that of the level frame. ``visualization``: images, uint8 (H, W, 3).

        Raises:
            ValueError: The classes or an option cannot be used, or no input is found.
        """
        if kwargs.get('save_features') and kwargs.get('load_features'):
            raise ValueError('give either save_features or load_features: loaded features are saved already')
        if not 0 <= score_thr <= 1:
            raise ValueError(f'score_thr must be from 0 to 1, got {score_thr}')
        if classes is None:
            classes = default_vocabulary(DEFAULT_CLASSES, self.model.classifier.backbone)
        return super().__call__(inputs, 1, classes=read_vocabulary(classes), score_thr=score_thr, **kwargs)

    def _check_options(self, up: str = 'auto', units: str = 'auto', **kwargs) -> None:
        for name, value, known in (('up', up, get_args(Up)), ('units', units, get_args(Units))):
            if value not in known:
                raise ValueError(f'{name} must be one of {", ".join(known)}, got {value!r}')

    def _load(self, source: Any, up: Up = 'auto', units: Units = 'auto',  # type: ignore[override]
              dims: int | None = None) -> LoadedScene:
        scene = load_scene(source, up, units, dims)
        return replace(scene, points=scene.points.to(self._device))

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.no_grad()
    def forward(self, inputs: list[LoadedInput], classes: Sequence[str] = (), score_thr: float = 0.,
                max_boxes: int | None = None, return_views: bool = False, save_features: str | Path = '',
                load_features: str | Path = '') -> list[dict]:
        """Detect objects in the scenes of one batch; return a prediction of each input."""
        self._set_vocabulary(classes)
        predictions = []
        for each in inputs:
            prediction = dict(input=each.name)
            try:
                if not each.error:
                    proposals = self._encoded(each, save_features, load_features)
                    prediction.update(self._detect(each, proposals, score_thr, max_boxes, return_views))
            except INPUT_ERRORS as error:
                each.error = reason_of(error)
            predictions.append(dict(input=each.name, error=each.error) if each.error else prediction)
        return predictions

    def _set_vocabulary(self, classes: Sequence[str]) -> None:
        if self.model.class_names == tuple(classes):
            return
        warn_of_unknown_names(self.model.classifier.backbone, classes)
        with warnings.catch_warnings():  # which names each word of the templates, too
            warnings.simplefilter('ignore', UnknownWordsWarning)
            self.model.set_vocabulary(classes)
            for kind in self.model.classifier.kinds_of_views:
                self.model.classifier.class_features(kind)

    def _encoded(self, scene: LoadedInput, save_features: str | Path, load_features: str | Path) -> InstanceData:
        """Return the proposals of one scene with their view features, read or computed."""
        if not save_features and not load_features:
            return self.model.encode_scene(scene.data.points, scene.name)
        if self._settings is None:
            self._settings = settings_of(self.model, self.cfg)
        if load_features:
            return load_scene_features(load_features, scene.data.points, self._settings, scene.name)
        proposals = self.model.encode_scene(scene.data.points, scene.name)
        save_scene_features(save_features, scene.key, proposals, scene.data.points, self._settings)
        return proposals

    def _detect(self, scene: LoadedInput, proposals: InstanceData, score_thr: float, max_boxes: int | None,
                return_views: bool) -> dict:
        """Return the boxes of one scene."""
        probabilities = self.model.classify_encoded(proposals)
        found = self.model.bbox_head.predict(proposals, probabilities)
        found = found[found.scores_3d >= score_thr][:max_boxes]
        indices, names = found.proposal_indices, self.model.class_names or ()
        local = torch.cat([found.bboxes_3d.gravity_center, found.bboxes_3d.dims, found.bboxes_3d.yaw[:, None]], dim=1)
        boxes = []
        for row, label, score, index in zip(scene.data.boxes_in_file(local), found.labels_3d.tolist(),
                                            found.scores_3d.tolist(), indices.tolist(), strict=True):
            boxes.append(dict(row, label=names[label], score=score, num_points=int(proposals.num_points[index])))
        if return_views:
            for box, views in zip(boxes, self._views(scene.data, proposals, indices), strict=True):
                box['views'] = (views * 255).round().byte().cpu().numpy()
        notes = dict(notes=list(scene.data.notes)) if scene.data.notes else {}
        return dict(boxes=boxes, frame=scene.data.frame.description, **notes, _found=found, _proposals=proposals,
                    _probabilities=probabilities, _scene=scene)

    def _views(self, scene: LoadedScene, proposals: InstanceData, indices: Tensor) -> Tensor:
        """Return the depth views (D, V, H, W) of some proposals, made again where they were not kept."""
        if 'depth_views' in proposals:
            return proposals.depth_views[indices]
        _, crops = self.model.crop_proposals(scene.points, proposals[indices])
        return self.model.depth_views(crops)

    def visualize(self, inputs: list[LoadedInput], preds: list[dict], return_vis: bool = False, show: bool = False,
                  out_dir: str | Path = '') -> list[np.ndarray | None]:
        """Draw the scenes of one batch: a page, the boxes from above, and the depth views of each box."""
        images: list[np.ndarray | None] = []
        for prediction in preds:
            image = None
            if 'error' not in prediction and (out_dir or return_vis or show):
                image = self._draw(prediction, out_dir, return_vis or show)
            if show and image is not None:
                show_image(image, prediction['input'])
            images.append(image)
        return images if return_vis else []

    def _draw(self, prediction: dict, out_dir: str | Path, needs_image: bool) -> np.ndarray | None:
        from ..visualization.scene_page import draw_scene, scene_picture
        scene = self._scene_of(prediction)
        if out_dir:
            draw_scene(scene, Path(out_dir).expanduser(), self_contained=True)
        return scene_picture(scene) if needs_image else None

    def _scene_of(self, prediction: dict, max_boxes: int = 30) -> SceneDetections:
        """Return what a page shows of a scene, in its level frame."""
        loaded, found = prediction['_scene'], prediction['_found'][:max_boxes]
        names, classes = self.model.class_names or (), []
        for row in prediction['_probabilities'][found.proposal_indices]:
            best = row.topk(min(NUM_CLASSES_SHOWN, len(names)))
            classes.append([(names[label], value) for value, label in zip(best.values.tolist(), best.indices.tolist(),
                                                                          strict=True)])
        labels = [f'{box["label"]} {box["score"]:.2f}' for box in prediction['boxes'][:max_boxes]]
        views = self._views(loaded.data, prediction['_proposals'], found.proposal_indices) if len(found) else None
        return SceneDetections(loaded.key, loaded.data.points, found.bboxes_3d, labels, classes, [''] * len(found),
                               views, None, [])
