"""The detector computes what 3DETR's release computes, from the same weights (stored as data, not as code)."""
import importlib.util
import json
import pickle

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import DepthInstance3DBoxes, Det3DDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from helpers.tool_modules import REPOSITORY
from opendlign_mm.detection.three_detr import from_released_3detr, to_released_3detr

TOLERANCE = 1e-4
LOSSES = dict(cls='loss_sem_cls', center='loss_center', size='loss_size', giou='loss_giou', angle_cls='loss_angle_cls',
              angle_residual='loss_angle_reg')


@pytest.fixture(scope='module')
def parity(shared_dir):
    """Model with the stand-in weights, the real scene, and the expected outputs."""
    folder, scene = shared_dir / 'parity', shared_dir / 'data' / 'scannet_sample'
    for path in (folder / 'released' / '3detr_m_scannet.npz', scene / 'points' / 'scene0000_00.bin'):
        if not path.is_file():
            pytest.skip(f'no reference data at {path}')
    spec = importlib.util.spec_from_file_location('parity_weights', folder / 'weights.py')
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    description = json.loads((folder / 'released' / '3detr_m_scannet.json').read_text())
    expected = np.load(folder / 'released' / '3detr_m_scannet.npz')
    init_default_scope('mmdet3d')
    model = MODELS.build(Config.fromfile(REPOSITORY / 'configs/3detr_m_scannet.py').model)
    released = weights.state(description['shapes'], description['seed'])
    converted, left_out = from_released_3detr(released, model)
    assert not left_out
    model.load_state_dict(converted, strict=True)

    info = pickle.loads((scene / 'scannet_infos_val.pkl').read_bytes())['data_list'][0]
    raw = np.fromfile(scene / 'points' / 'scene0000_00.bin', dtype=np.float32).reshape(-1, 6)[:, :3]
    matrix = np.asarray(info['axis_align_matrix'])
    aligned = (raw @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
    order = np.random.RandomState(description['seed']).permutation(len(aligned))[:40000]
    sample = Det3DDataSample()
    sample.gt_instances_3d = InstanceData()
    boxes = np.array([instance['bbox_3d'] for instance in info['instances']], dtype=np.float32)
    sample.gt_instances_3d.bboxes_3d = DepthInstance3DBoxes(boxes, box_dim=6, with_yaw=False, origin=(.5, .5, .5))
    sample.gt_instances_3d.labels_3d = torch.tensor([instance['bbox_label_3d'] for instance in info['instances']])
    return model.eval(), torch.from_numpy(aligned[order]), sample, description, expected, released


def assert_close(actual, expected):
    torch.testing.assert_close(actual.detach().float(), torch.as_tensor(expected).float(), atol=TOLERANCE, rtol=0)


def test_boxes(parity):
    model, points, _, _, expected, _ = parity
    assert sum(parameter.numel() for parameter in model.parameters()) == 7_438_555
    with torch.no_grad():
        xyz, _ = model.extract_feat([points])
        boxes = model.predict_boxes(points[None])
    assert_close(xyz[0], expected['enc_xyz'])
    assert_close(boxes['cls_logits'][0], expected['sem_cls_logits'])
    for name in ('center', 'size', 'objectness'):
        assert_close(boxes[name][0], expected[name])
    assert not boxes['angle'].any()


def test_losses(parity):
    model, points, sample, description, _, _ = parity
    losses = model.loss(dict(points=[points]), [sample])
    compared = 0
    for layer in range(8):
        prefix, suffix = ('', '') if layer == 7 else (f'd{layer}.', f'_{layer}')
        for ours, theirs in LOSSES.items():
            assert_close(losses[f'{prefix}loss_{ours}'], description['losses'][theirs + suffix])
            compared += 1
        assert_close(losses[f'{prefix}cardinality_error'], description['losses'][f'loss_cardinality{suffix}'])
    assert compared == len([name for name in losses if 'loss' in name]) == 48
    total = model.parse_losses(losses)[0]
    assert total.item() == pytest.approx(description['losses']['total'], abs=5e-4)  # a sum of 48
    total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_conversion_and_back_is_the_identity(parity):
    model, _, _, _, _, released = parity
    back = to_released_3detr(model.state_dict())
    assert back.keys() == released.keys()
    assert all(torch.equal(back[key], released[key]) for key in released)
