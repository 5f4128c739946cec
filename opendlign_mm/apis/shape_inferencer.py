"""Classify shapes in the words of the user, from files, arrays or tensors of points."""
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from mmengine.config import Config

from ..datasets.collate import collate_shapes
from ..datasets.transforms import ArrangePoints, PackPointInputs
from ..models import CLIPDepthBackbone, OpenDlign, TriModalAligner
from ..models.color_views import Views
from ..models.contrastive_head import object_features
from ..models.precision import Precision
from ..models.prompts import UnknownWordsWarning
from ..point_files import PointCloud, read_points
from ..point_files.shape_pose import UpAxisCheck, z_up
from ..projection import ColorProjection, build_projection
from ..structures import ShapeDataSample
from .named_configs import (
    choose_views,
    classifier_of,
    keep_text_features,
    projection_of,
    read_model_config,
    set_templates,
    steps_of_test,
    temperature_of,
)
from .point_inferencer import LoadedInput, PointInferencer, show_image
from .vocabulary import built_in_vocabulary, default_vocabulary, read_vocabulary, warn_of_unknown_names

DEFAULT_CLASSES = 'modelnet40'
Up = Literal['auto', 'z', 'y']


class ShapeInferencer(PointInferencer):
    """Zero-shot classifier of single objects.

    Args:
        model: Name of a model, path of a config of an ``OpenDlign`` (or of a detector with one) or of a
            ``TriModalAligner``, or the config itself.
        weights: Checkpoint; by default that of the named model.
        device: Device, by default the GPU if there is one.
        num_points: Largest number of points of a shape; of larger ones a random choice is taken, always the same.
        cfg_options: Changes to the config.
        show_progress: Whether to show a progress bar.
        precision: Precision of the frozen image tower, see :class:`CLIPDepthBackbone`; default: that of the config.
        views: What classifies: ``'depth'``, ``'color'`` or ``'both'``, see :class:`OpenDlign`; by default what the
            config says, depth. Shapes without colors are an error with ``'color'``.
        templates: Prompt templates in the place of the config's, see :func:`.named_configs.set_templates`.

    Raises:
        FileNotFoundError: The config or the checkpoint does not exist.
        ValueError: The name is unknown, or the config is that of another model.
    """

    title = 'shapes'
    preprocess_kwargs = {'up', 'dims'}
    forward_kwargs = {'classes', 'top_k', 'embed', 'return_views'}
    visualize_kwargs = {'return_vis', 'show', 'out_dir'}
    model: OpenDlign | TriModalAligner

    def __init__(self, model: str | Path | Config = 'opendlign-tiny', weights: str | Path | None = None,
                 device: str | torch.device | None = None, num_points: int = 10000, cfg_options: dict | None = None,
                 show_progress: bool = True, precision: Precision | None = None,
                 views: Views | None = None, templates: str | Path | Sequence[str] | None = None) -> None:
        self.views = views
        if num_points < 1:
            raise ValueError(f'num_points must be at least 1, got {num_points}')
        super().__init__(model, weights, device, cfg_options, show_progress, precision, templates)
        self.num_points, self.up_axes = num_points, UpAxisCheck()
        self.temperature = temperature_of(self.cfg)
        projection = projection_of(self.cfg)
        if projection.get('type', 'ContourAwareProjection') == 'ContourAwareProjection':
            # A point encoder takes no views; they are for the pictures.
            projection.setdefault('resolution', self.clip.image_size[0] if self.clip is not None else 224)
        elif 'normalize' in projection:  # the files of a benchmark are of one size, any others not
            projection['normalize'] = True
        self.projection = build_projection(projection)
        self.color_projection = ColorProjection(projection) if self._takes_colors else None
        self.point_steps = [] if isinstance(self.model, OpenDlign) else [
            kind(**{key: value for key, value in step.items() if key != 'type'})
            for kind in (ArrangePoints, PackPointInputs) for step in steps_of_test(self.cfg, kind.__name__)]

    @property
    def clip(self) -> CLIPDepthBackbone | None:
        """The CLIP that encodes class names; None where stored features of them take its place."""
        if isinstance(self.model, OpenDlign):
            return self.model.backbone
        return None if self.model.class_features_file is not None else self.model.text_encoder

    def _read_config(self, model: str | Path | Config, weights: str | Path | None, options: dict
                     ) -> tuple[Config, str | None]:
        cfg, checkpoint, _ = read_model_config(model, weights, options)
        classifier = classifier_of(cfg, points=True)
        choose_views(classifier, self.views)
        keep_text_features(classifier)
        set_templates(classifier, self.templates)
        self.shape_config = cfg
        return cfg, None if checkpoint is None else str(checkpoint)

    def _init_model(self, cfg: Config, weights: str | None, device: str = 'cpu'
                    ) -> OpenDlign | TriModalAligner:
        model = super()._init_model(cfg, weights, device)
        return getattr(model, 'classifier', model)  # type: ignore[arg-type]

    def __call__(  # type: ignore[override]  # classes come second, as in mmpretrain
            self, inputs: Any, classes: str | Path | Sequence[str] | None = None, batch_size: int = 8, top_k: int = 5,
            **kwargs) -> dict[str, list]:
        """Classify shapes.

        Args:
            inputs: Paths, folders, patterns, arrays or tensors (N, >=3), objects of Open3D or trimesh, or a list of any
                of these; see :func:`.point_files.read_points`.
            classes: Names, a text file, or the name of a vocabulary, see :func:`.vocabulary.read_vocabulary`. Default:
                ModelNet40's classes, of a small CLIP those that it was trained on.
            batch_size: Number of shapes at a time.
            top_k: Number of classes of each prediction, best first.
            kwargs: ``embed``: add the ``embedding``. ``return_views``: add the depth ``views``, uint8 (V, H, W).
                ``up``: ``'z'``, ``'y'`` or ``'auto'``, by the format's standard, otherwise z, with a warning if the
                shapes seem to lie. ``dims``: values of a point in .bin files. ``return_vis``: return images. ``show``:
                show them. ``out_dir``: folder of a picture of each shape and ``index.html`` with all.
                ``pred_out_file``: JSON file of the predictions.

        Returns:
            ``predictions``: for each input ``dict(input, labels, scores)``, scores in [0, 1], the softmax over
            ``classes``; ``dict(input, error)`` of one that cannot be used. ``visualization``: images, uint8 (H, W, 3).

        Raises:
            ValueError: The classes or an option cannot be used, or no input is found.
        """
        if top_k < 1:
            raise ValueError(f'top_k must be at least 1, got {top_k}')
        if classes is None:
            classes = (list(built_in_vocabulary(DEFAULT_CLASSES)) if self.clip is None
                       else default_vocabulary(DEFAULT_CLASSES, self.clip))
        return super().__call__(inputs, batch_size, classes=read_vocabulary(classes), top_k=top_k, **kwargs)

    def _check_options(self, up: Up = 'auto', **kwargs) -> None:
        if up not in get_args(Up):
            raise ValueError(f"up must be one of {', '.join(get_args(Up))}, got {up!r}")

    def _load(self, source: Any, up: Up = 'auto', dims: int | None = None) -> dict:  # type: ignore[override]
        """Return the packed depth views of one shape, with its points for a point encoder."""
        cloud = read_points(source, dims=dims, mesh_points=self.num_points)
        points = shape_points(cloud, self.num_points, up)
        if up == 'auto':
            self.up_axes.add(cloud, points)
        inputs = dict(depth_views=self.projection([torch.from_numpy(points)])[0])
        colors = None if cloud.colors is None else np.rint(
            cloud.colors[chosen_points(cloud, self.num_points)] * 255).astype(np.uint8)
        if self.color_projection is not None:
            inputs.update(self._color_inputs(cloud.name, points, colors))
        if self.point_steps:
            results: dict = dict(points=torch.from_numpy(points))
            if colors is not None:
                results['colors'] = colors
            for step in self.point_steps:
                results = step(results)
            inputs.update(results['inputs'])
        return dict(inputs=inputs, data_samples=ShapeDataSample())

    @property
    def _takes_colors(self) -> bool:
        return isinstance(self.model, OpenDlign) and self.model.color is not None

    def _color_inputs(self, name: str, points: np.ndarray, colors: np.ndarray | None) -> dict[str, torch.Tensor]:
        """Return the color views of one shape, white ones where it has no colors, and whether it has."""
        if colors is None and self.model.views == 'color':
            raise ValueError(f"{name} has no colors, which views='color' needs; take views='depth' or 'both'")
        cloud = torch.from_numpy(points if colors is not None else points[:0])
        assert self.color_projection is not None  # who calls this has looked
        views = self.color_projection([cloud], [cloud if colors is None else torch.from_numpy(colors)])[0]
        return dict(color_views=views, has_color=torch.tensor(colors is not None))

    @torch.no_grad()
    def forward(self, inputs: list[LoadedInput], classes: Sequence[str] = (), top_k: int = 5, embed: bool = False,
                return_views: bool = False) -> list[dict]:
        """Classify one batch; return a prediction of each input."""
        self._set_vocabulary(classes)
        readable = [each for each in inputs if not each.error]
        found = iter(self._classify(readable, top_k, embed, return_views) if readable else ())
        return [dict(input=each.name, error=each.error) if each.error else dict(input=each.name, **next(found))
                for each in inputs]

    def _class_names(self) -> tuple[str, ...]:
        return tuple(getattr(self.model.zero_shot_head, 'class_names', None) or ())

    def _set_vocabulary(self, classes: Sequence[str]) -> None:
        if self._class_names() == tuple(classes):
            return
        if self.clip is not None:
            warn_of_unknown_names(self.clip, classes)
        with warnings.catch_warnings():  # which names each word of the templates, too
            warnings.simplefilter('ignore', UnknownWordsWarning)
            self.model.set_vocabulary(classes)
            for kind in self.model.kinds_of_views:
                self.model.class_features(kind)

    def _classify(self, inputs: list[LoadedInput], top_k: int, embed: bool, return_views: bool) -> list[dict]:
        batch = self.model.data_preprocessor(collate_shapes([each.data for each in inputs]))
        views = batch['inputs']['depth_views']
        features: Any = None  # color views alone classify
        if not isinstance(self.model, OpenDlign):
            features = self.model.encode_inputs(batch['inputs'])['pretrained']
        elif embed or self.model.views != 'color':
            features = self.model.encode_for_classes(views)
        colors = ((self.model.encode_colors(batch['inputs']['color_views']), batch['inputs']['has_color'])
                  if self._takes_colors else ())
        probabilities = (self.model.class_logits_of(features, *colors) / self.temperature).softmax(dim=-1)
        names = self._class_names()
        best = probabilities.topk(min(top_k, len(names)), dim=-1)
        bytes_ = (views * 255).round().byte().cpu().numpy()
        embeddings = [] if not embed else (
            object_features(features) if isinstance(self.model, OpenDlign)
            else self.model.pool_views(dict(pretrained=features))).tolist()
        predictions = []
        for index, (scores, labels) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            prediction = dict(labels=[names[label] for label in labels], scores=scores, _views=bytes_[index],
                              _key=inputs[index].key)
            if embed:
                prediction['embedding'] = embeddings[index]
            if return_views:
                prediction['views'] = bytes_[index]
            predictions.append(prediction)
        return predictions

    def _begin(self, out_dir: str | Path = '', **kwargs) -> None:
        from ..visualization.shape_page import ShapePage
        self.up_axes = UpAxisCheck()
        self.page = ShapePage(Path(out_dir).expanduser()) if out_dir else None

    def _end(self, **kwargs) -> None:
        doubt = self.up_axes.doubt()
        if doubt:
            warnings.warn(doubt, stacklevel=3)
        if self.page is not None:
            self.page.write()

    def visualize(self, inputs: list[LoadedInput], preds: list[dict], return_vis: bool = False, show: bool = False,
                  out_dir: str | Path = '') -> list[np.ndarray | None]:
        """Draw one batch: a picture of each shape, and its row of the page."""
        images: list[np.ndarray | None] = []
        for prediction in preds:
            if self.page is not None:
                self.page.add(prediction)
            if not return_vis and not show:
                continue
            from ..visualization.shape_page import shape_picture
            image = shape_picture(prediction) if 'labels' in prediction else None
            if show and image is not None:
                show_image(image, prediction['input'])
            images.append(image)
        return images if return_vis else []


def chosen_points(cloud: PointCloud, num_points: int) -> np.ndarray:
    """Return the rows of at most ``num_points`` points, always the same, whatever else is read."""
    count = len(cloud.points)
    if count <= num_points:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, num_points, replace=False))


def shape_points(cloud: PointCloud, num_points: int, up: Up = 'auto') -> np.ndarray:
    """Return the points of a shape, float64 (N, 3), z up, at most ``num_points``."""
    points = cloud.points[chosen_points(cloud, num_points)]
    return z_up(points, 'y' if (cloud.up or 'z') == 'y' and up == 'auto' or up == 'y' else 'z')
