"""Open-vocabulary 3D detection: class-agnostic boxes and classes from prompts (OpenDlign, section 4.4)."""
from collections.abc import Sequence

import torch
from mmdet3d.models import Base3DDetector
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ..datasets.class_names import BACKGROUNDS, vocabulary_of
from ..models.prompts import checked_class_names
from ..models.zero_shot_model import Component, build_component
from ..point_ops.coordinates import check_points, localize_boxes, move_boxes, scene_offset, to_local
from .box_views import BoxViewsMixin
from .classified_boxes import ProposalSelection
from .size_priors import SizePriors


@MODELS.register_module()
class OpenVocabDetector3D(BoxViewsMixin, Base3DDetector):
    """Detector that classifies the points in class-agnostic boxes by their views.

    Points in each proposed box -> depth views -> cosines of :class:`OpenDlign` with the classes ->
    :class:`OpenVocabBBoxHead`.
    The views of all boxes of a scene are encoded together, in batches of the classifier's ``encode_batch_size``.
    Nothing is trained here; a checkpoint of an aligned :class:`OpenDlign` can be loaded. With
    ``classifier.views='color'`` or ``'both'`` columns 4 to 6 of the points are colors, see
    :func:`.projection.color.color_bytes`.

    Scenes far from the origin, such as UTM coordinates, keep their shape if their points are float64, see
    :mod:`opendlign_mm.point_ops.coordinates`; their boxes then have float64 tensors.

    Args:
        proposals: Source of boxes: ``ThreeDETRProposals``, ``DetectorProposals``, ``ClusterProposals``,
            ``FileProposals``, ``GroundTruthProposals``, or any module
            ``(points, data_sample) -> InstanceData(bboxes_3d, objectness)``.
        classifier: An ``OpenDlign`` with a zero-shot head.
        projection: Arguments of :class:`ContourAwareProjection`, which should be those of the classifier's alignment.
        bbox_head: An ``OpenVocabBBoxHead`` by default.
        background: Words such as wall, floor and ceiling that compete with the vocabulary for a box but give no
            detections, so that they absorb boxes without an object. Words of the vocabulary are removed from it. Empty
            by default, as the paper uses none; ``'ov3det'`` stands for the six texts of OV-3DET.
        drop_background: Whether boxes whose most probable word is one of the background give no detections at all.
        size_priors: Usual sizes of the classes: a JSON file of ``tools/fit_size_priors.py``, or arguments of
            :class:`SizePriors`. They weigh the probabilities by the size of the box. None ignores sizes.
        objectness_threshold: Objectness below which proposals are dropped before anything is computed for them.
        max_proposals: Largest number of proposals per scene, the best by objectness. None keeps all.
        save_proposals: Folder to which all boxes of the source are written, a file for each scene, from which
            ``FileProposals`` reads them back. None writes nothing.
        box_margin: Distance in meters by which boxes are extended on each side before their points are cropped.
        crop_scales: Factors of the sizes of a box at which its points are cropped, see :class:`BoxCrops`; the class
            probabilities of several scales are averaged.
        min_points: Smallest number of points of a box; other boxes are dropped and counted in the result's
            metainfo ``num_dropped_proposals``.
        data_preprocessor: mmdet3d's ``Det3DDataPreprocessor`` by default.
        init_cfg: Initialization config of mmengine.
        train_cfg: Not used; mmdet3d's inferencers set it.
        test_cfg: Not used.
    """

    def __init__(self,
                 proposals: Component,
                 classifier: Component,
                 projection: dict | None = None,
                 bbox_head: Component | None = None,
                 background: Sequence[str] | str = (),
                 drop_background: bool = False,
                 size_priors: str | dict | None = None,
                 objectness_threshold: float = 0.,
                 max_proposals: int | None = None,
                 save_proposals: str | None = None,
                 box_margin: float = 0.,
                 crop_scales: Sequence[float] = (1., ),
                 min_points: int = 5,
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None,
                 train_cfg: dict | None = None,
                 test_cfg: dict | None = None) -> None:
        super().__init__(data_preprocessor or dict(type='Det3DDataPreprocessor'), init_cfg)
        self.proposals = build_component(proposals)
        self.classifier = build_component(classifier)
        if getattr(self.classifier, 'zero_shot_head', None) is None:
            raise ValueError('the classifier has no zero_shot_head; add zero_shot_head=dict(type="ZeroShotHead") '
                             'to its config')
        self.bbox_head = build_component(bbox_head or dict(type='OpenVocabBBoxHead'))
        self.init_views(projection, box_margin, min_points, crop_scales)
        self.selection = ProposalSelection(objectness_threshold, max_proposals, save_proposals)
        words = BACKGROUNDS[background] if isinstance(background, str) and background in BACKGROUNDS else background
        self.background = checked_class_names(words) if len(words) else ()
        self.drop_background, self._num_background = drop_background, 0
        if drop_background and not self.background:
            raise ValueError("drop_background needs background words, such as background='ov3det'")
        self.size_priors = None
        if size_priors is not None:
            self.size_priors = SizePriors(**(size_priors if isinstance(size_priors, dict) else dict(sizes=size_priors)))
        if self.class_names is not None:
            self.set_vocabulary(self.class_names)
        self.register_load_state_dict_pre_hook(_take_entries_of_classifier)

    def set_vocabulary(self, class_names: Sequence[str], templates: str | Sequence[str] | None = None) -> None:
        """Set the classes at run time; label i is ``class_names[i]``.

        Args:
            class_names: Vocabulary, without the background.
            templates: Prompt templates; those of the zero-shot head by default.

        Raises:
            ValueError: The vocabulary is empty or has duplicates, a template has no ``{}``, or a class no size prior.
        """
        class_names = checked_class_names(class_names)
        if self.size_priors is not None:
            self.size_priors.check(class_names)
        background = tuple(name for name in self.background if name not in class_names)
        self.classifier.set_vocabulary(class_names + background, templates)
        self._num_background = len(background)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The vocabulary without the background; None before one is set."""
        names = self.classifier.zero_shot_head.class_names
        return None if names is None else names[:len(names) - self._num_background]

    def propose(self, points: Tensor, data_sample: Det3DDataSample | None = None) -> InstanceData:
        """Return the proposals of one scene that pass ``objectness_threshold``, the best ``max_proposals`` first.

        Args:
            points: Float (N, >=3), x, y, z first, in meters, z up.
            data_sample: Sample of the scene.

        Raises:
            ValueError: The scene has no points, unusable ones, or no usable boxes.
        """
        check_points(points)
        offset = scene_offset(points)
        proposals = self._propose_local(points, data_sample, offset)
        proposals.bboxes_3d = move_boxes(proposals.bboxes_3d, offset)
        return proposals

    def _propose_local(self, points: Tensor, data_sample: Det3DDataSample | None, offset: Tensor) -> InstanceData:
        proposals = self.proposals(points, data_sample).new()
        self.selection.write(proposals, data_sample)
        proposals.bboxes_3d = localize_boxes(proposals.bboxes_3d, offset)
        return self.selection(proposals)

    @torch.no_grad()
    def encode_scene(self, points: Tensor, name: str = 'scene') -> InstanceData:
        """Propose boxes for one scene and encode them: all of a detection that does not depend on the vocabulary.

        Args:
            points: Float (N, >=3), x, y, z first, in meters, z up, within 8 km of the origin.
            name: Name of the scene in messages.

        Returns:
            K proposals with at least ``min_points`` points: ``bboxes_3d``, ``objectness``, ``num_points`` int64 (K,),
            ``depth_views`` float (K, V, H, W), of the first of S scales, and, if the classifier is a plain
            ``OpenDlign``, float32 (K, S * V, D) ``view_features`` and ``color_features``, those that it takes;
            otherwise, if S > 1, ``other_views`` (K, S - 1, V, H, W).

        Raises:
            ValueError: The scene has no points, unusable or distant ones.
        """
        check_points(points, name)
        offset = scene_offset(points)
        if offset.any():
            raise ValueError(f'{name}: subtract scene_offset(points) from the points first')
        proposals, crops = self.crops_at_scales(to_local(points, offset, name),
                                                self._propose_local(points, None, offset))
        proposals.num_points = torch.tensor([len(crop) for crop in crops[0]], dtype=torch.int64, device=points.device)
        self.add_views(proposals, crops)
        return proposals

    def _forward(self,
                 batch_inputs_dict: dict,
                 batch_data_samples: list[Det3DDataSample] | None = None) -> list[tuple[InstanceData, Tensor]]:
        """Return the proposals (K boxes) and class probabilities (K, C) of each scene (mode ``'tensor'``)."""
        points_of_scenes = self._points_of_scenes(batch_inputs_dict)
        self._require_vocabulary()
        samples = batch_data_samples or [None] * len(points_of_scenes)
        results = []
        for index, (points, sample) in enumerate(zip(points_of_scenes, samples, strict=True)):
            check_points(points, _name_of_scene(sample, index))
            offset = scene_offset(points)
            local = to_local(points, offset, _name_of_scene(sample, index))
            proposals, _ = self._classified_proposals(points, local, sample, offset)
            proposals.bboxes_3d = move_boxes(proposals.bboxes_3d, offset)
            results.append((proposals, proposals.class_probabilities))
        return results

    @torch.no_grad()
    def predict(self,
                batch_inputs_dict: dict,
                batch_data_samples: list[Det3DDataSample] | None = None,
                **kwargs) -> list[Det3DDataSample]:
        """Detect objects in scenes.

        Args:
            batch_inputs_dict: ``points``: list of B float tensors (N_i, >=3), x, y, z first, in meters, z up.
            batch_data_samples: B samples; new ones by default.
            **kwargs: Not used.

        Returns:
            The samples with ``pred_instances_3d`` (``bboxes_3d``, ``scores_3d``, ``labels_3d``, ``proposal_indices``)
            and ``proposals_3d`` (``bboxes_3d``, ``objectness``, and ``class_probabilities`` (K, C), whose rows sum to 1
            minus the share of the background and what ``misfit`` of the sizes takes). Both are empty if nothing is
            proposed. ``class_names`` in the meta information are the names that labels and probabilities index.

        Raises:
            ValueError: A scene has no points, unusable ones or no usable boxes.
            RuntimeError: No vocabulary is set.
        """
        points_of_scenes = self._points_of_scenes(batch_inputs_dict)
        self._require_vocabulary()
        samples = batch_data_samples or [Det3DDataSample() for _ in points_of_scenes]
        detections = []
        for index, (points, sample) in enumerate(zip(points_of_scenes, samples, strict=True)):
            check_points(points, _name_of_scene(sample, index))
            offset = scene_offset(points)
            local = to_local(points, offset, _name_of_scene(sample, index))
            proposals, num_dropped = self._classified_proposals(points, local, sample, offset)
            found = self.bbox_head.predict(proposals, proposals.class_probabilities)
            for instances in (proposals, found):
                instances.bboxes_3d = move_boxes(instances.bboxes_3d, offset)
            detections.append(found)
            sample.proposals_3d = proposals
            sample.set_metainfo(dict(class_names=self.class_names, num_dropped_proposals=num_dropped))
        return self.add_pred_to_datasample(samples, detections)

    def _classified_proposals(self, points: Tensor, local: Tensor, sample: Det3DDataSample | None,
                              offset: Tensor) -> tuple[InstanceData, int]:
        """Return the proposals with class probabilities, relative to ``offset``, and the number of dropped ones."""
        proposed = self._propose_local(points, sample, offset)
        proposals, crops = self.crops_at_scales(local, proposed)
        if len(proposals):
            logits = [self.class_logits_of_crops(at_scale) for at_scale in crops]
            proposals.class_probabilities = self.probabilities_of_boxes(logits, proposals)
        else:
            proposals.class_probabilities = local.new_zeros(0, len(self.class_names))
        return proposals, len(proposed) - len(proposals)

    def loss(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs) -> dict:
        """Raise an error, because nothing is trained."""
        raise RuntimeError("OpenVocabDetector3D has nothing to train (mode='loss'): align an OpenDlign model with "
                           'tools/train.py, then run tools/test.py with the config of this detector and the '
                           "model's checkpoint")

    def _require_vocabulary(self) -> None:
        """Set a missing vocabulary to the classes of the test dataset of ``cfg``, which mmdet3d's inferencers set."""
        if self.class_names is not None:
            return
        dataset = getattr(self, 'cfg', {}).get('test_dataloader', {}).get('dataset')
        if dataset is None:
            raise RuntimeError('the detector has no vocabulary: set class_names of the zero-shot head in the config, '
                               'add a VocabularyFromDatasetHook, or call set_vocabulary([...]) first')
        self.set_vocabulary(vocabulary_of(DATASETS.build(dict(dataset, lazy_init=True)).metainfo['classes']))
        if getattr(self, 'dataset_meta', None):  # shared with the visualizer: names of labels, not of the training
            self.dataset_meta['classes'] = self.class_names

    @staticmethod
    def _points_of_scenes(batch_inputs_dict: dict) -> list[Tensor]:
        if 'points' not in batch_inputs_dict:
            raise ValueError(f"the inputs have no 'points', only {sorted(batch_inputs_dict)}: the pipeline needs "
                             "LoadPointsFromFile and Pack3DDetInputs(keys=['points'])")
        return batch_inputs_dict['points']


def _name_of_scene(sample: Det3DDataSample | None, index: int) -> str:
    return str(getattr(sample, 'lidar_path', None) or f'scene {index} of the batch')


def _take_entries_of_classifier(detector: OpenVocabDetector3D, state_dict: dict, prefix: str, *_) -> None:
    """Rename the entries of a checkpoint of the classifier alone to those of the detector."""
    parts = tuple(f'{prefix}{name}.' for name in ('backbone', 'alignment_head', 'zero_shot_head', 'adapter'))
    for key in [key for key in state_dict if key.startswith(parts)]:
        state_dict[f'{prefix}classifier.{key[len(prefix):]}'] = state_dict.pop(key)
    if f'{prefix}depth_weight' in state_dict:  # of CLIP2Point's pre-training
        state_dict[f'{prefix}classifier.depth_weight'] = state_dict.pop(f'{prefix}depth_weight')
    # The alignment head is used in training only.
    if detector.classifier.alignment_head is None:
        for key in [key for key in state_dict if key.startswith(f'{prefix}classifier.alignment_head.')]:
            del state_dict[key]
