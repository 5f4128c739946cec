"""tools/analysis_tools/ablate.py on a CLIP with random weights, and the switches of the paper's ablations."""
import json

import pytest
from mmdet3d.registry import MODELS
from mmengine.registry import init_default_scope

from helpers.tiny_runs import PROJECTION, tiny_config, tiny_model_config
from helpers.tool_modules import run_tool


def test_seven_rows_for_each_seed_and_finished_parts_are_kept(tmp_path):
    cfg = tiny_config(tmp_path / 'unused', epochs=1, augment=False)
    cfg.projection = PROJECTION
    cfg.dump(str(tmp_path / 'config.py'))
    command = ['analysis_tools/ablate', '--config', tmp_path / 'config.py', '--out', tmp_path / 'out', '--seeds', 0, 1,
               '--objects', 1]
    finished = run_tool(*command)
    assert finished.returncode == 0, finished.stderr[-2000:]
    text = (tmp_path / 'out' / 'ablation.md').read_text()
    assert text in finished.stdout
    rows = [line for line in text.splitlines() if line.startswith(('| yes', '| no'))]
    assert len(rows) == 7 and len({row.split('±')[0].rsplit('|', 1)[0] for row in rows}) == 7
    results = sorted((tmp_path / 'out').glob('*.json'))
    assert len(results) == 4  # two seeds, complete and scans
    for path in results:
        assert all(0 <= value <= 100 for value in json.loads(path.read_text()).values())
        path.write_text(json.dumps({str(index): 12.5 for index in range(7)}))
    again = run_tool(*command)
    assert again.stdout.count('12.5 ± 0.0') == 14, 'what is stored is not measured again'


# The paper's table 10: residual tuning, trainable copy, number of blocks, distance loss.
@pytest.mark.parametrize('residual, copy, blocks, distance', [
    (0, 1, 1, 0), (1, 0, 1, 0), (1, 1, 1, 0), (1, 1, 2, 1), (1, 1, 3, 1), (1, 1, 1, 1)])
def test_every_row_of_table_10_is_a_switch(tiny_clip_config, residual, copy, blocks, distance):
    init_default_scope('mmdet3d')
    config = tiny_model_config(distance='mse' if distance else None)
    config['backbone'].update(
        model_config=tiny_clip_config, num_blocks=blocks, combine='residual' if residual else 'direct',
        copy_init='pretrained' if copy else 'random')
    model = MODELS.build(config)
    width = tiny_clip_config['vision_cfg']['width']
    trained = sum(p.numel() for p in model.backbone.parameters() if p.requires_grad)
    assert trained == blocks * 4 * (width * width + width)
    assert model.backbone.combine == ('residual' if residual else 'direct')
    assert (model.alignment_head.distance is not None) == bool(distance)
