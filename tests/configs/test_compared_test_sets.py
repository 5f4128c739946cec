"""The compared systems on ScanObjectNN, OmniObject3D and Objaverse-LVIS: the commands of tables, on small models."""
import json
import sys

import pytest

from helpers import shape_fixtures as fixtures
from helpers.tiny_clip import TINY_CLIP
from helpers.tool_modules import REPOSITORY, load_tool
from opendlign_mm.command_line.paper_tables import rows_of
from opendlign_mm.command_line.reproduction import Reproduction

SETS = {'ScanObjectNN': ('ScanObjectNN', fixtures.write_scanobjectnn, 3),
        'OmniObject3D': ('OmniObject3D', fixtures.write_omniobject3d, 3),
        'Objaverse-LVIS': ('openshape', fixtures.write_objaverse_lvis, 3)}
VIEWS = ('projection.output_resolution=32', 'model.backbone.clip=tiny', 'model.backbone.pretrained=None',
         'model.backbone.model_config={clip}', 'model.zero_shot_head.text_cache_dir=None')
POINTS = ('model.point_encoder.scaling=1', f'model.point_encoder.out_channels={TINY_CLIP["embed_dim"]}',
          'model.text_encoder.clip=tiny', 'model.text_encoder.pretrained=None',
          'model.text_encoder.model_config={clip}', 'model.text_encoder.pixel_mean=imagenet',
          'model.text_encoder.pixel_std=imagenet')


@pytest.mark.parametrize('table, method, column, small', [
    ('1', 'PointCLIP', 'OmniObject3D', VIEWS), ('1', 'PointCLIP V2', 'ScanObjectNN', VIEWS),
    ('7', 'OpenShape-PointBERT', 'Objaverse-LVIS', POINTS)])
def test_the_command_of_a_row_tests_the_system_on_that_dataset(table, method, column, small, tmp_path, monkeypatch):
    folder, write, objects = SETS[column]
    (tmp_path / 'data' / folder).mkdir(parents=True)
    write(tmp_path / 'data' / folder)
    clip = tmp_path / 'clip.json'
    clip.write_text(json.dumps(TINY_CLIP))
    (tmp_path / 'openshape_pointbert_g14.pth').touch()
    run = next(run for row in rows_of(table) for run in row.runs if (row.method, run.column) == (method, column))
    command = Reproduction(REPOSITORY, tmp_path / 'out', tmp_path, tmp_path / 'data').command(run)
    words = [word for word in command if not word.endswith('.pth')]  # the small model has random weights
    options = ['test_dataloader.batch_size=2', 'test_dataloader.num_workers=0',
               *(option.format(clip=clip) for option in small)]
    monkeypatch.setattr(sys, 'argv', [*words, *options])
    monkeypatch.chdir(tmp_path)
    load_tool('test').main()
    results = json.loads(next((tmp_path / 'out').rglob('results.json')).read_text())
    assert results['benchmark'] == column and results['metrics']['zero_shot/num_samples'] == objects
