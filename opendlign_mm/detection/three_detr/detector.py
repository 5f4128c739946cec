"""3DETR and 3DETR-m as detectors of mmdet3d."""
import torch
from mmdet3d.models import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ...point_ops import furthest_point_sample, gather_points
from ...point_ops.coordinates import check_points, localize_boxes, move_boxes, scene_offset, to_local
from .box_coder import BoxBranches, SceneBounds, decode_boxes
from .criterion import SceneTargets, SetCriterion
from .inference import is_inference
from .selection import BoxSelection
from .set_abstraction import SetAbstraction, pointwise_mlp
from .transformer import FourierPositions, PointEncoder, QueryDecoder


@MODELS.register_module()
class ThreeDETR(Base3DDetector):
    """3DETR and, with a masked encoder, 3DETR-m.

    Misra et al., "An End-to-End Transformer Model for 3D Object Detection", ICCV 2021.
    Points -> set abstraction -> encoder -> queries at furthest points -> decoder -> classes and boxes. Only x, y, z are
    used, in meters and without normalization.

    Args:
        num_classes: Number of classes without the background.
        num_angle_bins: 1 for axis-aligned boxes (ScanNet), 12 for boxes rotated about z (SUN RGB-D).
        class_agnostic: Whether all annotated boxes are of class 0; requires ``num_classes=1``.
        num_queries: Number of queries, which is the largest number of boxes per scene.
        encoded_queries: Whether queries start from the encoded features of their points. The published models start
            from zeros; models with encoded queries learn the places of boxes in far fewer iterations.
        set_abstraction: Arguments of :class:`SetAbstraction`; its last width is that of the whole model.
        encoder: Arguments of :class:`PointEncoder`.
        decoder: Arguments of :class:`QueryDecoder`.
        memory_layers: Layers of the projection from encoder to decoder: 3 in 3DETR, 2 in 3DETR-m.
        branch_dropout: Dropout probability in the networks that predict boxes.
        criterion: Arguments of :class:`SetCriterion`.
        selection: Arguments of :class:`BoxSelection`.
        data_preprocessor: mmdet3d's ``Det3DDataPreprocessor`` by default.
        init_cfg: Initialization config of mmengine.
        train_cfg: Not used; mmdet3d's inferencers set it.
        test_cfg: Not used.

    Raises:
        ValueError: A number is below 1, or a class-agnostic model has several classes.
    """

    def __init__(self,
                 num_classes: int,
                 num_angle_bins: int = 1,
                 class_agnostic: bool = False,
                 num_queries: int = 256,
                 encoded_queries: bool = False,
                 set_abstraction: dict | None = None,
                 encoder: dict | None = None,
                 decoder: dict | None = None,
                 memory_layers: int = 3,
                 branch_dropout: float = 0.3,
                 criterion: dict | None = None,
                 selection: dict | None = None,
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None,
                 train_cfg: dict | None = None,
                 test_cfg: dict | None = None) -> None:
        super().__init__(data_preprocessor or dict(type='Det3DDataPreprocessor'), init_cfg)
        if min(num_classes, num_angle_bins, num_queries, memory_layers) < 1:
            raise ValueError('num_classes, num_angle_bins, num_queries and memory_layers must be >= 1, '
                             f'got {num_classes}, {num_angle_bins}, {num_queries} and {memory_layers}')
        if class_agnostic and num_classes != 1:
            raise ValueError(f'class_agnostic=True needs num_classes=1, got {num_classes}')
        self.num_classes, self.num_angle_bins, self.class_agnostic = num_classes, num_angle_bins, class_agnostic
        self.class_names: tuple[str, ...] | None = None  # VocabularyFromDatasetHook knows them
        self.num_queries, self.encoded_queries = num_queries, encoded_queries
        defaults = dict(num_points=2048, radius=0.2, num_samples=64, channels=(64, 128, 256))
        self.set_abstraction = SetAbstraction(**dict(defaults, **(set_abstraction or {})))
        channels = self.set_abstraction.out_channels
        self.encoder = PointEncoder(channels, **(encoder or {}))
        self.memory_projection = pointwise_mlp([channels] * (memory_layers + 1))
        self.position_features = FourierPositions(channels)
        self.query_projection = pointwise_mlp([channels] * 3, norm=False)
        self.decoder = QueryDecoder(channels, **(decoder or {}))
        self.branches = BoxBranches(channels, num_classes, num_angle_bins, branch_dropout)
        self.criterion = SetCriterion(**(criterion or {}))
        self.selection = BoxSelection(**(selection or {}))
        self.register_load_state_dict_pre_hook(_refuse_other_models)

    def extract_feat(self, points: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Encode scenes.

        Args:
            points: B scenes, float (N_i, >=3).

        Returns:
            xyz (B, M, 3) in meters and features (B, M, C) of the encoded points.
        """
        return self.encoder(*self.set_abstraction.of_sets([scene[:, :3] for scene in points]))

    def predict_layers(self, points: list[Tensor], last: int | None = None
                       ) -> tuple[dict[str, Tensor], SceneBounds]:
        """Predict boxes after each decoder layer.

        Args:
            points: B scenes, float (N_i, >=3).
            last: Number of last layers whose boxes are predicted; default: all.

        Returns:
            The predictions of :func:`decode_boxes`, (L, B, K, ...) each, and the bounds of the scenes.
        """
        bounds = SceneBounds.of([scene[:, :3] for scene in points])
        xyz, features = self.extract_feat(points)
        memory = self.memory_projection(features.transpose(1, 2)).transpose(1, 2)
        chosen = furthest_point_sample(xyz, self.num_queries, self.set_abstraction.skip_near_origin)
        query_xyz = gather_points(xyz, chosen)
        query_positions = self.position_features(bounds.normalize(query_xyz))
        query_positions = self.query_projection(query_positions.transpose(1, 2)).transpose(1, 2)
        content = gather_points(memory, chosen) if self.encoded_queries else None
        queries = self.decoder(memory, query_positions, self.position_features(bounds.normalize(xyz)), content)
        return decode_boxes(self.branches(queries[-(last or 0):]), query_xyz, bounds), bounds

    def predict_boxes(self, points: Tensor | list[Tensor]) -> dict[str, Tensor]:
        """Predict the boxes of the last decoder layer, without selection.

        Args:
            points: Float (B, N, >=3), x, y, z first, in meters, z up; or a list of B tensors (N_i, >=3).

        Returns:
            ``cls_logits`` (B, K, classes + 1), the background last; ``center`` (B, K, 3), the gravity center, and
            ``size`` (B, K, 3), in meters; ``angle`` (B, K), radians in (-pi, pi] from +x towards +y; ``objectness``
            (B, K) in [0, 1].

        Raises:
            TypeError: A scene is not a floating point tensor.
            ValueError: A scene is of another shape, empty, or has non-finite points.
        """
        local, offsets = self._localize(points)
        boxes = self._predict_local(local)
        if offsets.any():
            boxes['center'] = boxes['center'] + offsets[:, None]
        return boxes

    def _predict_local(self, points: list[Tensor]) -> dict[str, Tensor]:
        """Predict the boxes of :meth:`predict_boxes` in the local coordinates of each scene."""
        # In training BatchNorm sees the queries of all layers.
        predictions, _ = self.predict_layers(points, last=1 if is_inference(self.branches) else None)
        return {name: predictions[name][-1] for name in ('cls_logits', 'center', 'size', 'angle', 'objectness')}

    def _forward(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample] | None = None) -> dict:
        """Return :meth:`predict_boxes` (mode ``'tensor'``)."""
        return self.predict_boxes(batch_inputs_dict['points'])

    def loss(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs) -> dict[str, Tensor]:
        """Compute the losses of a batch, see :class:`SetCriterion`.

        Args:
            batch_inputs_dict: ``points``: list of B float tensors (N_i, >=3).
            batch_data_samples: B samples with ``gt_instances_3d``: ``bboxes_3d`` and ``labels_3d``.
            **kwargs: Not used.
        """
        local, offsets = self._localize(batch_inputs_dict['points'], batch_data_samples)
        predictions, bounds = self.predict_layers(local)
        targets = []
        for scene, sample in enumerate(batch_data_samples):
            boxes = localize_boxes(sample.gt_instances_3d.bboxes_3d, offsets[scene])
            targets.append(SceneTargets.of(boxes, sample.gt_instances_3d.labels_3d, bounds, scene, self.num_classes,
                                           self.num_angle_bins, self.class_agnostic))
        return self.criterion(predictions, targets)

    @torch.no_grad()
    def propose(self,
                points: list[Tensor],
                samples: list[Det3DDataSample] | None = None) -> list[InstanceData]:
        """Return the boxes of each scene that pass :class:`BoxSelection`.

        Args:
            points: B scenes, float (N_i, >=3), x, y, z first, in meters, z up.
            samples: B samples; their ``lidar_path`` names the scenes in error messages.

        Returns:
            ``bboxes_3d``, ``objectness`` and ``class_probabilities`` of each scene, see :class:`BoxSelection`.
        """
        selected, offsets = self._select(points, samples)
        for proposals, offset in zip(selected, offsets, strict=True):
            proposals.bboxes_3d = move_boxes(proposals.bboxes_3d, offset)
        return selected

    def predict(self,
                batch_inputs_dict: dict,
                batch_data_samples: list[Det3DDataSample] | None = None,
                **kwargs) -> list[Det3DDataSample]:
        """Detect objects.

        Args:
            batch_inputs_dict: ``points``: list of B float tensors (N_i, >=3).
            batch_data_samples: B samples; new ones by default.
            **kwargs: Not used.

        Returns:
            The samples with ``pred_instances_3d``, which contain each box once for every class, and ``proposals_3d``,
            which contain each box once (``bboxes_3d``, ``objectness``, ``class_probabilities``). Both may be empty.
            ``class_names`` in the meta information, if known, are the names that labels index; 'object' for
            class-agnostic boxes.
        """
        points = batch_inputs_dict['points']
        samples = batch_data_samples or [Det3DDataSample() for _ in points]
        selected, offsets = self._select(points, samples)
        detections = [self.selection.to_detections(proposals) for proposals in selected]
        for sample, proposals, found, offset in zip(samples, selected, detections, offsets, strict=True):
            for boxes in (proposals, found):
                boxes.bboxes_3d = move_boxes(boxes.bboxes_3d, offset)
            sample.proposals_3d = proposals
            names = ('object', ) if self.class_agnostic else self.class_names
            if names is not None:
                sample.set_metainfo(dict(class_names=names))
        return self.add_pred_to_datasample(samples, detections)

    @torch.no_grad()
    def _select(self, points: list[Tensor],
                samples: list[Det3DDataSample] | None) -> tuple[list[InstanceData], Tensor]:
        """Return the selected boxes of each scene in its local coordinates, and the offsets float64 (B, 3)."""
        local, offsets = self._localize(points, samples)
        predicted = self._predict_local(local)
        selected = [self.selection(scene, {name: value[number] for name, value in predicted.items()},
                                   with_yaw=self.num_angle_bins > 1) for number, scene in enumerate(local)]
        return selected, offsets

    @staticmethod
    def _localize(points: list[Tensor] | Tensor,
                  samples: list[Det3DDataSample] | None = None) -> tuple[list[Tensor], Tensor]:
        """Check scenes and return their points in local coordinates, and the offsets float64 (B, 3)."""
        local, offsets = [], []
        for number, scene in enumerate(points):
            name = getattr(samples[number], 'lidar_path', None) if samples else None
            name = str(name or f'scene {number} of the batch')
            check_points(scene, name)
            offsets.append(scene_offset(scene))
            local.append(to_local(scene[:, :3], offsets[-1], name))
        return local, torch.stack(offsets)


def _refuse_other_models(model: ThreeDETR, state_dict: dict, prefix: str, *_) -> None:
    """Refuse a checkpoint without a single entry of the model, of which mmengine would only warn."""
    if not prefix and not any(name in state_dict for name in model.state_dict()):
        some = ', '.join(list(state_dict)[:3]) or 'nothing'
        raise RuntimeError(f'the checkpoint is of another model: none of its {len(state_dict)} entries ({some}, ...) '
                           'belongs to ThreeDETR. Convert released checkpoints of 3DETR first: '
                           '`python tools/convert_checkpoint.py 3detr SRC DST --config CONFIG`')
