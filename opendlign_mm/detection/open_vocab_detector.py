"""Open-vocabulary 3D detection: boxes from anywhere, classes from prompts (OpenDlign, section 4.4)."""
import logging
from collections.abc import Sequence

import torch
from mmdet3d.models import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor

from ..box_ops.points_in_boxes import crop_points
from ..models.components import Component, build_component
from ..models.prompts import checked_class_names
from ..point_ops.checks import BrokenSceneError, check_points
from ..projection import build_projection
from .proposals.base import no_proposals


@MODELS.register_module()
class OpenVocabDetector3D(Base3DDetector):
    """Classifies the points in class-agnostic boxes through their depth views.

    Points in each proposed box -> depth views -> :class:`OpenDlign` cosines with the classes ->
    :class:`OpenVocabBBoxHead`.
    All boxes and views of a scene go through the encoder together, in batches of the classifier's
    ``encode_batch_size``.
    There is nothing to train here; a checkpoint of an aligned :class:`OpenDlign` loads.

    Args:
        proposals (dict | nn.Module): source of boxes: ``ThreeDETRProposals``, ``DetectorProposals``,
            ``ClusterProposals``, ``FileProposals``, ``GroundTruthProposals``, or any module
            ``(points, data_sample) -> InstanceData(bboxes_3d, objectness)``.
        classifier (dict | nn.Module): an ``OpenDlign`` with a zero-shot head.
        projection (dict, optional): arguments of :class:`ContourAwareProjection`; those of the classifier's alignment.
        bbox_head (dict | nn.Module, optional): an ``OpenVocabBBoxHead`` by default.
        background (Sequence[str]): words such as wall, floor and ceiling that compete with the vocabulary for a box
            but give no detections: they absorb what is no object. A word of the vocabulary is not background. None by
            default, as the paper names none.
        objectness_threshold (float): proposals with less objectness are dropped before anything is computed for them.
        max_proposals (int, optional): most proposals per scene, by objectness.
        box_margin (float): meters by which boxes are padded before their points are taken.
        min_points (int): boxes with fewer points are dropped; their number is ``num_dropped_proposals`` of the result's
            metainfo.
        broken_scenes (str): what :meth:`predict` does with a scene without points, with non-finite ones or without
            usable boxes: 'raise' an error, or give an 'empty' result with a warning that names the scene, so that one
            file does not end a test of thousands.
        data_preprocessor (dict, optional): mmdet3d's ``Det3DDataPreprocessor`` by default.
        init_cfg (dict, optional): mmengine initialization config.
    """

    def __init__(self,
                 proposals: Component,
                 classifier: Component,
                 projection: dict | None = None,
                 bbox_head: Component | None = None,
                 background: Sequence[str] = (),
                 objectness_threshold: float = 0.,
                 max_proposals: int | None = None,
                 box_margin: float = 0.,
                 min_points: int = 5,
                 broken_scenes: str = 'raise',
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None) -> None:
        super().__init__(data_preprocessor or dict(type='Det3DDataPreprocessor'), init_cfg)
        self.proposals = build_component(proposals)
        self.classifier = build_component(classifier)
        if getattr(self.classifier, 'zero_shot_head', None) is None:
            raise ValueError('the classifier needs a zero_shot_head, e.g. dict(type="ZeroShotHead")')
        self.bbox_head = build_component(bbox_head or dict(type='OpenVocabBBoxHead'))
        self.projection = build_projection(projection)
        if min_points < 1:
            raise ValueError(f'min_points must be >= 1, got {min_points}')
        if max_proposals is not None and max_proposals < 1:
            raise ValueError(f'max_proposals must be None or >= 1, got {max_proposals}')
        if box_margin < 0:
            raise ValueError(f'box_margin must be >= 0, got {box_margin}')
        if broken_scenes not in ('raise', 'empty'):
            raise ValueError(f"broken_scenes must be 'raise' or 'empty', got {broken_scenes!r}")
        self.box_margin, self.min_points, self.broken_scenes = box_margin, min_points, broken_scenes
        self.objectness_threshold, self.max_proposals = objectness_threshold, max_proposals
        self.background = checked_class_names(background) if len(background) else ()
        self._num_background = 0
        if self.class_names is not None:
            self.set_vocabulary(self.class_names)
        self.register_load_state_dict_pre_hook(_take_entries_of_classifier)

    def set_vocabulary(self, class_names: Sequence[str], templates: None | str | Sequence[str] = None) -> None:
        """Set the classes of the boxes at run time; label i is ``class_names[i]``.

        Raises:
            ValueError: empty vocabulary, a name twice, or a template without ``{}``.
        """
        class_names = checked_class_names(class_names)
        background = tuple(name for name in self.background if name not in class_names)
        self.classifier.set_vocabulary(class_names + background, templates)
        self._num_background = len(background)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The vocabulary without the background, None if none has been set."""
        names = self.classifier.zero_shot_head.class_names
        return None if names is None else names[:len(names) - self._num_background]

    def propose(self, points: Tensor, data_sample: Det3DDataSample | None = None) -> InstanceData:
        """Proposals of one scene above ``objectness_threshold``, best first, at most ``max_proposals``.

        Args:
            points (Tensor): float (N, >=3).
            data_sample (Det3DDataSample, optional): the scene's sample.

        Raises:
            BrokenSceneError: a scene without points, with non-finite ones, or without usable boxes.
        """
        check_points(points)
        proposals = self.proposals(points, data_sample)
        order = proposals.objectness.argsort(descending=True, stable=True)
        order = order[proposals.objectness[order] >= self.objectness_threshold]
        return proposals[order[:self.max_proposals]]

    def crop_proposals(self, points: Tensor, proposals: InstanceData) -> tuple[InstanceData, list[Tensor]]:
        """Drop proposals with fewer than ``min_points`` points; the points of the others, in the frame of their box.

        Args:
            points (Tensor): float (N, >=3).
            proposals (InstanceData): ``bboxes_3d`` and ``objectness`` of K boxes.

        Returns:
            tuple: proposals of K' <= K boxes, and K' tensors (N_i, 3).
        """
        crops = crop_points(points[:, :3], proposals.bboxes_3d, self.box_margin)
        kept = torch.tensor([len(crop) >= self.min_points for crop in crops], dtype=torch.bool, device=points.device)
        return proposals[kept], [crop for crop in crops if len(crop) >= self.min_points]

    def extract_feat(self, depth_views: Tensor) -> dict[str, Tensor]:
        """Depth views (K, V, H, W) -> dict branch -> (K, V, D), L2-normalized."""
        return self.classifier.encode_views(depth_views, self.classifier.backbone.branches)

    def class_probabilities(self, depth_views: Tensor) -> Tensor:
        """Depth views (K, V, H, W) -> probabilities (K, C) of the vocabulary; the background keeps its share."""
        probabilities = self.bbox_head.probabilities(self.classifier.mean_cosines(depth_views))
        return probabilities[:, :len(self.class_names)]

    def _forward(self,
                 batch_inputs_dict: dict,
                 batch_data_samples: list[Det3DDataSample] | None = None) -> list[tuple[InstanceData, Tensor]]:
        """Mode ``'tensor'``: for each scene its proposals (K boxes) and class probabilities (K, C)."""
        points_of_scenes = self._points_of_scenes(batch_inputs_dict)
        samples = batch_data_samples or [None] * len(points_of_scenes)
        results = []
        for index, (points, sample) in enumerate(zip(points_of_scenes, samples)):
            check_points(points, _name_of_scene(sample, index))
            proposals, crops = self.crop_proposals(points, self.propose(points, sample))
            results.append((proposals, self._classify(crops, points)))
        return results

    @torch.no_grad()
    def predict(self,
                batch_inputs_dict: dict,
                batch_data_samples: list[Det3DDataSample] | None = None,
                **kwargs) -> list[Det3DDataSample]:
        """Detect objects in scenes.

        Args:
            batch_inputs_dict (dict): ``points``: list of B float tensors (N_i, >=3), x y z in meters, z up.
            batch_data_samples (list[Det3DDataSample], optional): B samples; new ones are made if absent.

        Returns:
            list[Det3DDataSample]: with ``pred_instances_3d`` (``bboxes_3d``, ``scores_3d``, ``labels_3d``) and
            ``proposals_3d`` (``bboxes_3d``, ``objectness``, ``class_probabilities`` (K, C), whose rows sum to 1 less
            the share of the background); both are empty where nothing is proposed.

        Raises:
            BrokenSceneError: a ValueError, for a scene without points, with non-finite ones or without usable boxes,
                if ``broken_scenes`` is 'raise'.
            RuntimeError: no vocabulary has been set.
        """
        points_of_scenes = self._points_of_scenes(batch_inputs_dict)
        samples = batch_data_samples or [Det3DDataSample() for _ in points_of_scenes]
        detections = []
        for index, (points, sample) in enumerate(zip(points_of_scenes, samples)):
            try:
                check_points(points, _name_of_scene(sample, index))
                proposed = self.propose(points, sample)
            except BrokenSceneError as error:
                if self.broken_scenes == 'raise':
                    raise
                print_log(f'nothing is detected in {_name_of_scene(sample, index)}: {error}', 'current',
                          logging.WARNING)
                proposed = no_proposals(points)
            proposals, crops = self.crop_proposals(points, proposed)
            proposals.class_probabilities = self._classify(crops, points)
            detections.append(self.bbox_head.predict(proposals, proposals.class_probabilities))
            sample.proposals_3d = proposals
            sample.set_metainfo(dict(num_dropped_proposals=len(proposed) - len(proposals)))
        return self.add_pred_to_datasample(samples, detections)

    def loss(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs) -> dict:
        """There is none."""
        raise RuntimeError("OpenVocabDetector3D has nothing to train (mode='loss'). Align an OpenDlign model with "
                           'tools/train.py and give its checkpoint to tools/test.py with the config of this detector.')

    def _classify(self, crops: list[Tensor], points: Tensor) -> Tensor:
        """Probabilities (K, C) of K point sets, in one pass."""
        if self.class_names is None:
            raise RuntimeError('No vocabulary: give class_names to the zero-shot head in the config, add a '
                               'VocabularyFromDatasetHook, or call set_vocabulary([...]) first.')
        if not crops:
            return points.new_zeros(0, len(self.class_names))
        return self.class_probabilities(self.projection(crops))

    @staticmethod
    def _points_of_scenes(batch_inputs_dict: dict) -> list[Tensor]:
        if 'points' not in batch_inputs_dict:
            raise ValueError(f"inputs have no 'points', only {sorted(batch_inputs_dict)}: the pipeline needs "
                             "LoadPointsFromFile and Pack3DDetInputs(keys=['points'])")
        return batch_inputs_dict['points']


def _name_of_scene(sample: Det3DDataSample | None, index: int) -> str:
    return str(getattr(sample, 'lidar_path', None) or f'scene {index} of the batch')


def _take_entries_of_classifier(detector: OpenVocabDetector3D, state_dict: dict, prefix: str, *_) -> None:
    """Let the checkpoint of the classifier alone be that of the detector."""
    parts = tuple(f'{prefix}{name}.' for name in ('backbone', 'alignment_head', 'zero_shot_head'))
    for key in [key for key in state_dict if key.startswith(parts)]:
        state_dict[f'{prefix}classifier.{key[len(prefix):]}'] = state_dict.pop(key)
    # What only alignment uses has no place here.
    if detector.classifier.alignment_head is None:
        for key in [key for key in state_dict if key.startswith(f'{prefix}classifier.alignment_head.')]:
            del state_dict[key]
