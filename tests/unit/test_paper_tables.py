"""Rows of the paper's tables: each has a config that its options fit, and the figure that the paper gives."""
from functools import cache

import numpy as np
import pytest
from mmdet3d.registry import TRANSFORMS
from mmengine.registry import init_default_scope

from helpers.tool_modules import REPOSITORY
from opendlign_mm.command_line.built_in_tables import demonstration_of
from opendlign_mm.command_line.input_sources import checkpoint_source, prompts_file
from opendlign_mm.command_line.options import parsed_options
from opendlign_mm.command_line.paper_tables import rows_of
from opendlign_mm.command_line.reproduction_page import write_page
from opendlign_mm.command_line.reproduction_results import figures_of, published_figures
from opendlign_mm.command_line.table_rows import TABLES, Training, chosen_rows
from opendlign_mm.config_options import read_config

PAGE = REPOSITORY / 'configs/benchmarks/tables.md'


@cache
def config(name, options):
    return read_config(REPOSITORY / 'configs' / name, parsed_options(options))


@pytest.mark.parametrize('table', TABLES)
def test_each_row_has_configs_that_its_options_fit_and_published_figures(table):
    figures = published_figures(table)
    for rows in (rows_of(table), demonstration_of(table)):
        assert rows and len({row.name for row in rows}) == len(rows)
        keys = [run.key for row in rows for run in row.runs]
        assert len(set(keys)) == len(keys), 'two rows are the same run'
        for row in rows:
            for run in row.runs:
                config(run.config, run.options)
                training = run.checkpoint if isinstance(run.checkpoint, Training) else None
                while training is not None:
                    assert config(training.config, training.options).train_cfg.max_epochs >= 1
                    training = training.clip
    # The paper's table 1 has no figure of TAMM-SparseConv on OmniObject3D.
    without = {(row.method, run.column) for row in rows_of(table) for run in row.runs
               if not figures_of(figures, row, run)}
    assert without == ({('TAMM-SparseConv', 'OmniObject3D')} if table == '1' else set())


def test_all_rows_and_figures_of_the_paper_are_there():
    columns = {table: {run.column for row in rows_of(table) for run in row.runs} for table in TABLES}
    three = {'ModelNet40', 'ScanObjectNN', 'OmniObject3D'}
    assert all(columns[table] == three for table in ('1', '2', '5', '10', '11'))
    assert columns['4'] == three - {'OmniObject3D'} and columns['7'] == {'Objaverse-LVIS'}
    assert {len(row.runs) for row in rows_of('1')} == {3}
    # Numbers of rows in the paper; table 10 has six, three of which leave two readings.
    assert {table: len(rows_of(table)) for table in TABLES} == {
        '1': 22, '2': 5, '3': 3, '4': 7, '5': 4, '7': 12, '9': 1, '10': 9, '11': 6}
    figures = {table: published_figures(table) for table in TABLES}
    assert figures['1']['OpenDlign', 'ShapeNet', 'ScanObjectNN'] == dict(top1=59.5, top3=76.8, top5=83.7)
    assert figures['2']['OpenDlign', '', 'ModelNet40']['16-shot'] == 87.6
    assert figures['3']['PointCLIP V2', '', 'ScanNet'] == dict(AP25=18.97, AP50=11.53)
    assert figures['4']['none of the parts', '', 'ScanObjectNN'] == dict(top1=42.8, top3=66.7, top5=78.4)
    assert figures['4']['contour-aware projection + depth texts', '', 'ModelNet40']['top1'] == 75.9
    assert figures['5']['depth-text & dlign', '', 'ScanObjectNN'] == dict(top1=60.7, top5=86.)
    assert figures['7']['OpenDlign-B16', '', 'Objaverse-LVIS']['top3'] == 42.2
    assert figures['9']['OpenDlign', '', 'ScanNet-20'] == dict(AP25=19.27)
    assert figures['10']['without residual tuning', '', 'OmniObject3D']['top1'] == 24.4
    assert figures['10']['three blocks', '', 'ModelNet40']['top5'] == 98.4
    assert figures['11']['6 views', '', 'ScanObjectNN'] == {'16-shot': 68.8}
    for rows in (rows_of, demonstration_of):
        with pytest.raises(ValueError, match='table 6 is unknown'):
            rows('6')


def test_rows_are_chosen_by_method_or_full_name():
    tables = {table: rows_of(table) for table in ('1', '10')}
    both = chosen_rows(tables, ['TAMM-PointBERT'])
    assert list(both) == ['1'] and [row.source for row in both['1']] == ['ShapeNet', 'Ensemble']
    one = chosen_rows(tables, ['two blocks, stacked', 'OpenDlign'])
    assert [row.name for rows in one.values() for row in rows] == ['OpenDlign, ShapeNet', 'two blocks, stacked']
    with pytest.raises(ValueError, match=r'no row OpenShape in table 1, 10\. The rows are PointCLIP, 2D inferences; '):
        chosen_rows(tables, ['OpenShape'])


def test_other_test_sets_of_the_compared_systems_get_their_settings():
    def settings(method, column):
        row = next(row for row in rows_of('1') if row.method == method)
        run = next(run for run in row.runs if run.column == column)
        return config(run.config, run.options)
    cfg = settings('PointCLIP', 'OmniObject3D')
    assert cfg.test_dataloader.dataset.type == 'OmniObject3D'
    assert cfg.test_dataloader.dataset.pipeline[2].projection.normalize is True
    cfg = settings('PointCLIP V2', 'ScanObjectNN')
    assert cfg.model.zero_shot_head.view_weights == 'scanobjectnn_vit_b16'
    cfg = settings('CLIP2Point', 'ScanObjectNN')
    assert cfg.test_dataloader.dataset.pipeline[1].projection.yaw == 0
    cfg = settings('TAMM-PointBERT', 'ScanObjectNN')
    assert cfg.model.class_features is None and cfg.model.text_encoder.clip == 'ViT-bigG-14'
    assert settings('TAMM-PointBERT', 'ModelNet40').model.text_encoder is None


def test_rows_of_table_11_keep_evenly_spaced_views_in_training_and_test():
    init_default_scope('mmdet3d')
    row = next(row for row in rows_of('11') if row.method == '4 views')
    for run in row.runs:
        pipeline = config(run.config, run.options).test_dataloader.dataset.pipeline
        assert [step.type for step in pipeline] == ['DiskCache', 'SelectViews', 'PackShapeInputs']
        views = np.arange(10)[:, None, None]
        assert TRANSFORMS.build(pipeline[1])(dict(depth_views=views))['depth_views'].ravel().tolist() == [0, 2, 5, 7]


def test_the_authors_templates_are_found_among_their_data_or_where_the_option_says(tmp_path):
    assert prompts_file(None, tmp_path) is None
    (tmp_path / 'templates.json').touch()
    assert prompts_file(None, tmp_path) == tmp_path / 'templates.json'
    other = tmp_path / 'opendlign/templates.json'
    other.parent.mkdir()
    other.touch()
    assert prompts_file(None, tmp_path) == other and prompts_file(tmp_path / 'templates.json', tmp_path) != other


def test_each_checkpoint_of_the_tables_has_a_source():
    names = {run.checkpoint for table in TABLES for row in rows_of(table) for run in row.runs
             if isinstance(run.checkpoint, str)}
    sources = {name: checkpoint_source(name) for name in names}
    assert not any('a published one' in text for text in sources.values())
    assert 'OpenShape/openshape-spconv-all ' in sources['ensemble_openshape_sparseconv_g14']
    assert 'OpenShape/openshape-pointbert-shapenet ' in sources['openshape_pointbert_g14']
    assert 'not published' in sources['ensemble_tamm_pointbert_g14_dlign']
    for name, text in sources.items():
        for word in text.replace('`', ' ').split():
            assert not word.startswith('configs/') or (REPOSITORY / word).is_file(), (name, word)


def test_the_page_of_the_tables_is_what_the_tool_makes(tmp_path):
    kept = PAGE.with_suffix('.json')
    (tmp_path / kept.name).write_text(kept.read_text())
    page, figures = write_page(tmp_path / PAGE.name, tmp_path / 'none')
    assert page.read_text() == PAGE.read_text(), 'python tools/reproduce.py --page configs/benchmarks/tables.md'
    assert figures.read_text() == kept.read_text(), 'the page has figures of rows that have changed'
