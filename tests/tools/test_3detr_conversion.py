"""Checkpoints of 3DETR's release and back."""
import argparse
import math
import sys

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config

from helpers.scenes import furnished_room
from helpers.tiny_three_detr import tiny
from helpers.tool_modules import REPOSITORY, load_tool
from opendlign_mm.detection.three_detr import from_released_3detr, to_released_3detr

CONFIG = REPOSITORY / 'configs/3detr_m_scannet.py'
SMALL = {'model.set_abstraction.channels': [8, 8, 16], 'model.encoder.downsampling.channels': [16, 16],
         'model.decoder.num_layers': 1}


@pytest.mark.parametrize('options', [dict(), dict(num_angle_bins=12),
                                     dict(encoder=dict(feedforward_channels=16), memory_layers=3)])
def test_there_and_back(options):
    source, target = tiny(0, **options), tiny(1, **options)
    released = to_released_3detr(source.state_dict())
    some = {'pre_encoder.mlp_module.layer0.bn.bn.running_var', 'pos_embedding.gauss_B', 'decoder.layers.1.norm3.bias',
            'decoder.layers.0.multihead_attn.in_proj_weight', 'mlp_heads.angle_residual_head.layers.8.bias'}
    assert some < set(released)
    converted, left_out = from_released_3detr({f'module.{key}': value for key, value in released.items()}, target)
    assert not left_out
    target.load_state_dict(converted, strict=True)
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


def test_released_angles_are_clockwise():
    """The mirrored networks give the negative of each angle that the release's would give."""
    model = tiny(num_angle_bins=12).eval()
    points = furnished_room()[0][None]
    released = to_released_3detr(model.state_dict())
    unmirrored = {name: value.clone() for name, value in model.state_dict().items()}
    for branch in ('angle_cls', 'angle_residual'):
        for entry in ('weight', 'bias'):
            unmirrored[f'branches.{branch}.8.{entry}'] = released[f'mlp_heads.{branch}_head.layers.8.{entry}']
    ours = model.predict_boxes(points)['angle']
    model.load_state_dict(unmirrored)
    clockwise = model.predict_boxes(points)['angle']
    difference = (ours + clockwise + math.pi) % (2 * math.pi) - math.pi
    assert difference.abs().max() < 1e-4 and ours.abs().max() > .1


def test_angle_bins_are_mirrored_by_hand():
    """Bin b of the release is bin -b, and residuals change their sign; a single bin has no angle."""
    model = tiny(num_angle_bins=4)
    for branch in ('angle_cls', 'angle_residual'):
        model.branches[branch][8].bias.data = torch.tensor([10., 11, 12, 13])
    released = to_released_3detr(model.state_dict())
    assert released['mlp_heads.angle_cls_head.layers.8.bias'].tolist() == [10, 13, 12, 11]
    assert released['mlp_heads.angle_residual_head.layers.8.bias'].tolist() == [-10, -13, -12, -11]
    weight = model.branches['angle_cls'][8].weight
    assert torch.equal(released['mlp_heads.angle_cls_head.layers.8.weight'], weight[[0, 3, 2, 1]])
    two, one = tiny(num_angle_bins=2), tiny()
    released = to_released_3detr(two.state_dict())
    assert torch.equal(released['mlp_heads.angle_residual_head.layers.8.bias'],
                       -two.branches['angle_residual'][8].bias)
    released = to_released_3detr(one.state_dict())
    assert torch.equal(released['mlp_heads.angle_residual_head.layers.8.bias'], one.branches['angle_residual'][8].bias)


def test_every_problem_is_named():
    model = tiny()
    released = to_released_3detr(model.state_dict())
    _, left_out = from_released_3detr(dict(released, extra=torch.zeros(1)), model)
    assert left_out == ['extra']
    lacking = dict(released)
    del lacking['pos_embedding.gauss_B'], lacking['decoder.norm.bias']
    with pytest.raises(ValueError, match='lacks 2 of .*pos_embedding.gauss_B, decoder.norm.bias'):
        from_released_3detr(lacking, model)
    with pytest.raises(ValueError, match=r'sem_cls_head.layers.8.weight has the shape \(4, 32, 1\) instead of \(6, 32'):
        from_released_3detr(released, tiny(num_classes=5))
    with pytest.raises(ValueError, match='not entries of a ThreeDETR: backbone.weight'):
        to_released_3detr({'backbone.weight': torch.zeros(1)})


def test_command(tmp_path, capsys, monkeypatch):
    tool = load_tool('convert_checkpoint')

    def run(*arguments):
        options = [f'{key}={value}'.replace(' ', '') for key, value in SMALL.items()]
        monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', '3detr', *map(str, arguments), '--config',
                                          str(CONFIG), '--cfg-options', *options])
        tool.main()

    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(SMALL)
    released = to_released_3detr(MODELS.build(cfg.model).state_dict())
    contents = dict(model=dict(released, optimizer_step=torch.ones(1)), epoch=3, args=argparse.Namespace(nqueries=256))
    torch.save(contents, tmp_path / 'released.pth')
    run(tmp_path / 'released.pth', tmp_path / 'ours.pth')
    output = capsys.readouterr().out
    assert 'not placed: optimizer_step' in output and f'{len(released)} entries placed, 1 not placed' in output
    meta = torch.load(tmp_path / 'ours.pth')['meta']
    assert meta['source'] == 'released.pth' and meta['dataset_meta']['classes'][:3] == ('cabinet', 'bed', 'chair')
    run(tmp_path / 'ours.pth', tmp_path / 'back.pth', '--to-release')
    back = torch.load(tmp_path / 'back.pth')['model']
    assert back.keys() == released.keys() and all(torch.equal(back[key], released[key]) for key in released)
