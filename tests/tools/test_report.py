"""Results on disk and the table that compares them with published ones."""
import csv
import json
import logging
import os
import sys

import pytest
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from helpers.tiny_runs import tiny_config
from helpers.tool_modules import load_tool
from opendlign_mm.evaluation.benchmark_table import Row, benchmark_table, load_published, our_rows, same_clip
from opendlign_mm.evaluation.results import load_results, results_folder, save_results, write_csv

PUBLISHED = dict(
    table1_zero_shot_classification=dict(columns=['top1', 'top3', 'top5'], rows=[
        dict(training_source='2D inferences', method='PointCLIP', clip='ResNet-50', ModelNet40=[19.3, 28.6, 34.8],
             ScanObjectNN=[10.5, 20.8, 30.6]),
        dict(training_source='ShapeNet', method='TAMM', clip='ViT-B-32', ModelNet40=[74.6, 88.2, 94.0],
             ScanObjectNN=[None, None, None]),
        dict(training_source='ShapeNet', method='OpenDlign-B32', clip='ViT-B-32', ModelNet40=[68.4, 86.4, 92.6],
             ScanObjectNN=[46.7, 72.0, 83.0]),
        dict(training_source='ShapeNet', method='OpenDlign', clip='ViT-H-14', ModelNet40=[82.6, 96.2, 98.4],
             ScanObjectNN=[59.5, 76.8, 83.7]),
        dict(training_source='Ensemble', method='TAMM', clip='ViT-bigG-14', ModelNet40=[85.0, 96.6, 98.1],
             ScanObjectNN=[55.7, 80.7, 88.9])]),
    table7_objaverse_lvis=dict(rows=[dict(method='OpenDlign', values=[35.0, 53.1, 60.0]),
                                     dict(method='TAMM', values=[13.7, 24.2, 29.2])]))


@pytest.fixture
def published(tmp_path):
    path = tmp_path / 'published.json'
    path.write_text(json.dumps(PUBLISHED))
    return path


def result(benchmark='modelnet40', top=(82.5, 96.25, 98.0), clip='ViT-H-14-quickgelu', checkpoint='a/h14.pth'):
    metrics = {f'zero_shot/top{k}': value for k, value in zip((1, 3, 5), top)}
    return dict(benchmark=benchmark, model='OpenDlign', clip=clip, checkpoint=checkpoint, metrics=metrics)


def cells(table):
    return [[cell.strip() for cell in line.strip('| \n').split('|')] for line in table.splitlines()]


def test_ours_follow_the_published_row_of_their_clip(published):
    rows, notes = our_rows([result(), result('ScanObjectNN', (60.5, 76, 84)), result(clip='other', checkpoint=None)])
    table = cells(benchmark_table(rows, load_published(published)))
    assert table[0] == ['training source', 'method', 'CLIP', 'ModelNet40 top1', 'ModelNet40 top3', 'ModelNet40 top5',
                        'ScanObjectNN top1', 'ScanObjectNN top3', 'ScanObjectNN top5']
    assert all(len(row) == 9 for row in table) and notes == []
    methods = [row[1] for row in table[2:]]
    assert methods == ['PointCLIP', 'TAMM', 'OpenDlign-B32', 'OpenDlign', '**OpenDlign (h14.pth)**', 'TAMM',
                       '**OpenDlign (CLIP without alignment)**']
    assert table[5] == ['ShapeNet', 'OpenDlign', 'ViT-H-14', '82.6', '96.2', '98.4', '59.5', '76.8', '83.7']
    assert table[6][:7] == ['ours', '**OpenDlign (h14.pth)**', 'ViT-H-14-quickgelu', '**82.5 (-0.1)**',
                            '**96.2 (+0.0)**', '**98.0 (-0.4)**', '**60.5 (+1.0)**']
    assert table[8][3:] == ['**82.5**', '**96.2**', '**98.0**', '-', '-', '-'], 'nothing to compare with'
    assert table[3][6:] == ['-'] * 3, 'null is not known'


def test_objaverse_lvis_is_shown_where_it_was_tested(published):
    rows, _ = our_rows([result(), result('objaverse_lvis', (35.5, 53, 60))])
    table = cells(benchmark_table(rows, load_published(published)))
    assert table[0][9:] == ['Objaverse-LVIS top1', 'Objaverse-LVIS top3', 'Objaverse-LVIS top5']
    by_method = {(row[0], row[1]): row[9:] for row in table}
    assert by_method['ShapeNet', 'OpenDlign'] == ['35.0', '53.1', '60.0']
    assert by_method['ours', '**OpenDlign (h14.pth)**'] == ['**35.5 (+0.5)**', '**53.0 (-0.1)**', '**60.0 (+0.0)**']
    assert by_method['ShapeNet', 'TAMM'] == ['13.7', '24.2', '29.2'] and by_method['Ensemble', 'TAMM'] == ['-'] * 3


def test_ours_alone_and_other_benchmarks(published):
    rows, _ = our_rows([result('BuiltInShapes')])
    assert cells(benchmark_table(rows))[0][3:] == [f'BuiltInShapes top{k}' for k in (1, 3, 5)]
    assert cells(benchmark_table(rows, load_published(published)))[0][-1] == 'BuiltInShapes top5'


def test_results_of_one_benchmark_twice_and_of_other_kinds():
    rows, notes = our_rows([result(), dict(result(), metrics={'mAP_0.25': .4}), result(top=(1, 2, 3))])
    assert rows == [Row('ours', 'OpenDlign (h14.pth)', 'ViT-H-14-quickgelu', dict(modelnet40=[1, 2, 3]))]
    assert len(notes) == 2 and 'no zero-shot accuracy' in notes[0] and 'more than once' in notes[1]


def test_the_papers_figures(shared_dir):
    rows = load_published(shared_dir / 'paper/results.json')
    figures = {(row.source, row.method): row.figures for row in rows}
    assert len(rows) == 22 and figures['ShapeNet', 'OpenDlign']['ModelNet40'] == [82.6, 96.2, 98.4]
    assert figures['ShapeNet', 'OpenDlign-B16']['Objaverse-LVIS'] == [25.7, 42.2, 48.8]
    assert 'Objaverse-LVIS' not in figures['Ensemble', 'TAMM-PointBERT']


def test_files(tmp_path, published):
    path = save_results(tmp_path / 'new/results.json', **result())
    assert load_results(path) == result()
    with pytest.raises(FileNotFoundError, match='absent.json does not exist; tools/test.py writes'):
        load_results(tmp_path / 'absent.json')
    with pytest.raises(ValueError, match='published.json has no benchmark, model, metrics'):
        load_results(published)
    path.write_text('{"benchmark"')
    with pytest.raises(ValueError, match='results.json is not JSON'):
        load_results(path)
    for contents in ('[]', '{}', '{"table1_zero_shot_classification": {"rows": [{"method": "a"}]}}', '3'):
        published.write_text(contents)
        with pytest.raises(ValueError, match='published.json has no table1_zero_shot_classification.rows'):
            load_published(published)
    published.write_text('no')
    with pytest.raises(ValueError, match='published.json is not JSON'):
        load_published(published)
    with pytest.raises(FileNotFoundError, match='file of published figures .* does not exist'):
        load_published(tmp_path / 'absent.json')


@pytest.mark.parametrize('damage', [b'\xff\xfe', b'[' * 100_000, b'{"benchmark": "a", "metrics": {"x": 1}'])
def test_damaged_json_is_named(tmp_path, damage):
    (tmp_path / 'results.json').write_bytes(damage)
    for read in (load_results, load_published):
        with pytest.raises(ValueError, match='results.json is not JSON'):
            read(tmp_path / 'results.json')


@pytest.mark.parametrize('changes, named', [(dict(metrics={'zero_shot/top1': '83'}), 'zero_shot/top1'),
                                            (dict(metrics={'zero_shot/top1': True}), 'zero_shot/top1'),
                                            (dict(checkpoint=7), 'checkpoint'), (dict(clip=['a']), 'clip')])
def test_values_of_another_type_are_named(tmp_path, changes, named):
    (tmp_path / 'results.json').write_text(json.dumps(dict(result(), **changes)))
    with pytest.raises(ValueError, match=f'results.json is damaged: {named} has a value of another type'):
        load_results(tmp_path / 'results.json')


@pytest.mark.parametrize('figures', [[1, 2], [1, 2, '3'], 'abc', None])
def test_published_figures_of_another_form_are_named(published, figures):
    contents = json.loads(published.read_text())
    contents['table1_zero_shot_classification']['rows'][1]['ScanObjectNN'] = figures
    published.write_text(json.dumps(contents))
    with pytest.raises(ValueError, match=r'published.json .* the figures of TAMM must be \[top1, top3, top5\]'):
        load_published(published)


def test_csv_cells_are_never_formulas(tmp_path):
    rows = [['class', 'samples'], ['=cmd|calc', 1], ['+1+1', -2.5], ['-x', '-'], ['@SUM(A1)', '-3.5'],
            ['\t=1', '+4'], ['a=b', 'a, b']]
    write_csv(tmp_path / 'new/a.csv', rows)
    with (tmp_path / 'new/a.csv').open(newline='') as file:
        read = list(csv.reader(file))
    assert read == [['class', 'samples'], ["'=cmd|calc", '1'], ["'+1+1", '-2.5'], ["'-x", '-'], ["'@SUM(A1)", '-3.5'],
                    ["'\t=1", '+4'], ['a=b', 'a, b']]


def test_optional_facts_of_a_test_may_be_absent(tmp_path):
    path = save_results(tmp_path / 'results.json', benchmark='a', model='b', metrics=dict(x=1))
    assert load_results(path) == dict(benchmark='a', model='b', clip=None, checkpoint=None, metrics=dict(x=1.))
    path.write_text(json.dumps(dict(benchmark='a', model='b', metrics={})))
    assert load_results(path) == dict(benchmark='a', model='b', metrics={})


def test_folder_of_the_results_is_next_to_the_log(tmp_path, monkeypatch):
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'handlers', [logging.StreamHandler()])
    assert results_folder() is None
    log = logging.FileHandler(tmp_path / 'a.log')
    logger.handlers.append(log)
    assert results_folder() == tmp_path / 'results'
    log.close()


def test_rows_without_a_published_partner_and_unknown_values():
    rows, _ = our_rows([dict(benchmark='mine', model='M', metrics={'zero_shot/top1': 50.})])
    assert rows == [Row('ours', 'M (CLIP without alignment)', '', dict(mine=[50., None, None]))]
    assert cells(benchmark_table(rows)) == [
        ['training source', 'method', 'CLIP', 'mine top1', 'mine top3', 'mine top5'], ['---'] * 3 + ['---:'] * 3,
        ['ours', '**M (CLIP without alignment)**', '', '**50.0**', '-', '-']]


@pytest.mark.parametrize('one, other, same', [('ViT-H-14-quickgelu', 'ViT-H-14', True), ('ViT-B-32', 'vit_b_32', True),
                                              ('ViT-B-32', 'ViT-B-16', False)])
def test_names_of_one_clip(one, other, same):
    assert same_clip(one, other) == same_clip(other, one) == same


@pytest.fixture
def report(monkeypatch, capsys):
    module = load_tool('report')

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['report.py', *map(str, arguments)])
        module.main()
        return capsys.readouterr()

    return run


def test_from_a_test_run_to_the_table(report, published, tmp_path):
    config = tiny_config(tmp_path / 'work')
    config.custom_hooks = [*config.custom_hooks, dict(type='SaveResultsHook')]
    config.test_dataloader.dataset.metainfo = dict(benchmark='ModelNet40')
    metrics = Runner.from_cfg(config).test()
    folder, = (tmp_path / 'work').glob('*/results')
    assert sorted(path.name for path in folder.iterdir()) == ['confusion_matrix.png', 'per_class.csv', 'results.json']
    written = load_results(folder / 'results.json')
    assert written['metrics'] == metrics and written['clip'] == 'tiny' and written['checkpoint'] is None
    assert (written['benchmark'], written['model']) == ('ModelNet40', 'OpenDlign')
    table = report(tmp_path / 'work', '--published', published, '--out', tmp_path / 'table.md',
                   '--methods', 'opendlign')
    rows = cells((tmp_path / 'table.md').read_text())
    assert (tmp_path / 'table.md').read_text() in table.out and [row[1] for row in rows[2:4]] == ['OpenDlign-B32',
                                                                                                  'OpenDlign']
    assert rows[4][3:6] == [f'**{metrics[f"zero_shot/top{k}"]:.1f}**' for k in (1, 3, 5)]


def test_a_full_disk_leaves_the_metrics_of_a_test(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError('No space left on device')

    config = tiny_config(tmp_path / 'work')
    config.custom_hooks = [*config.custom_hooks, dict(type='SaveResultsHook')]
    expected = Runner.from_cfg(config).test()
    monkeypatch.setattr('opendlign_mm.engine.hooks.save_results', fail)
    monkeypatch.setattr('opendlign_mm.visualization.plots.draw_confusion_matrix', fail)
    runner = Runner.from_cfg(config)
    errors = []
    monkeypatch.setattr(runner.logger, 'error', errors.append)
    assert runner.test() == expected and 'No space left on device' in errors[0]


def test_the_newest_of_a_folder_counts(report, tmp_path):
    for name, top1, age in (('b', 10, 100), ('a', 20, 0)):
        path = save_results(tmp_path / name / 'results/results.json', **result(top=(top1, 50, 60)))
        os.utime(path, (1e9 - age, 1e9 - age))
    printed = report(tmp_path)
    assert '**20.0**' in printed.out and '**10.0**' not in printed.out
    assert 'note: OpenDlign was tested more than once on modelnet40; the last test is used' in printed.err


def test_tool_errors(report, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    detection = save_results(tmp_path / 'd.json', **dict(result(), metrics={'mAP_0.25': .4}))
    for arguments, message in (((tmp_path / 'empty', ), 'has no results/results.json; tools/test.py writes them'),
                               ((detection, ), 'no result is of a zero-shot classification')):
        with pytest.raises(SystemExit):
            report(*arguments)
        assert message in capsys.readouterr().err
