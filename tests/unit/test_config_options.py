"""Options that change a variable of a config reach every value made from it, or are refused."""
import argparse
import subprocess
import sys
import threading

import pytest
from mmengine.config import Config

from helpers.tool_modules import REPOSITORY
from opendlign_mm.apis import init_model
from opendlign_mm.command_line.options import add_config_options
from opendlign_mm.config_options import apply_options, move_path, read_config

CONFIGS = REPOSITORY / 'configs'
FILES = sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)


def projections(node) -> list:
    """All values of a key ``projection`` below ``node``."""
    if isinstance(node, dict):
        return [node[key] for key in node if key == 'projection'] + [
            found for value in node.values() for found in projections(value)]
    return [found for item in node for found in projections(item)] if isinstance(node, (list, tuple)) else []


def write(folder, **files):
    for name, text in files.items():
        (folder / f'{name}.py').write_text(text)
    return folder / f'{name}.py'


@pytest.mark.parametrize('name, loaders', [
    ('opendlign_tiny', 2), ('opendlign_tiny_retrieval', 2), ('opendlign_tiny_scannet', 0),
    ('opendlign_h14_built_in', 2)])
def test_the_ablation_switches_of_the_projection_reach_the_pipelines(name, loaders):
    """README: projection.view_angles and projection.type, of which nothing arrived when mmengine alone merged them."""
    options = {'projection.view_angles': [10, 190], 'projection.densify_kernel': 3}
    cfg = read_config(CONFIGS / f'{name}.py', options)
    found = projections({key: cfg[key] for key in cfg if key.endswith('_dataloader') or key == 'model'})
    assert len(found) >= max(loaders, 1)
    assert all(item.view_angles == [10, 190] and item.densify_kernel == 3 for item in found), found
    assert cfg.projection.view_angles == [10, 190]
    other = read_config(CONFIGS / f'{name}.py', {
        'projection._delete_': True, 'projection.type': 'RealisticProjection', 'projection.resolution': 112})
    assert projections({key: other[key] for key in other if key.endswith('_dataloader')}) == [
        dict(type='RealisticProjection', resolution=112)] * len(projections(
            {key: other[key] for key in other if key.endswith('_dataloader')}))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_every_config_is_the_same_without_options_and_with_an_unchanged_variable(path):
    """Evaluation with changes is the evaluation of mmengine: setting each variable to itself changes nothing."""
    plain = Config.fromfile(path)
    own = {key: value for key, value in plain.to_dict().items() if isinstance(value, (str, int)) and value}
    again = read_config(path, own)
    assert again.to_dict() == plain.to_dict()


def test_variables_of_bases_and_of_the_file_itself(tmp_path):
    path = write(
        tmp_path,
        grandparent='root = "data/"\nsize = 3\n'
                    'kept = dict(file=root + "a.pkl", size=size, more=[size, dict(size=size)])\n',
        parent='_base_ = "grandparent.py"\nsize = _base_.size + 1\nof_parent = [size, _base_.size]\n'
               'quoted = {{_base_.kept.file}}\n',
        child='_base_ = ["parent.py"]\npipeline = [dict(a=1), dict(b=2)]\npipeline[1]["b"] = 5\n'
              'pipeline.append(dict(c=3))\nloader = dict(pipeline=pipeline, file=_base_.root + "b")\n')
    assert read_config(path).loader == dict(pipeline=[dict(a=1), dict(b=5), dict(c=3)], file='data/b')
    cfg = read_config(path, {'root': '/new', 'size': 7, 'pipeline.1.b': 9, 'pipeline.2.c': 8})
    assert cfg.kept == dict(file='/new/a.pkl', size=7, more=[7, dict(size=7)])
    assert cfg.of_parent == [7, 7] and cfg.quoted == '/new/a.pkl' and cfg.root == '/new/'
    assert cfg.loader == dict(pipeline=[dict(a=1), dict(b=9), dict(c=8)], file='/new/b') and cfg.pipeline[1].b == 9


def test_an_option_for_what_the_runner_reads_means_this_alone(tmp_path):
    path = write(tmp_path, config='val_dataloader = dict(batch_size=2)\ntest_dataloader = val_dataloader\n')
    cfg = read_config(path, {'val_dataloader.batch_size': 5, 'work_dir': 'here'})
    assert cfg.val_dataloader.batch_size == 5 and cfg.test_dataloader.batch_size == 2 and cfg.work_dir == 'here'


def test_both_a_variable_and_a_value_made_from_it(tmp_path):
    path = write(tmp_path, config='size = 3\nmodel = dict(a=dict(size=size), b=dict(size=size))\n')
    cfg = read_config(path, {'size': 4, 'model.b.size': 5})
    assert (cfg.model.a.size, cfg.model.b.size) == (4, 5)


def test_a_config_that_cannot_be_evaluated_with_the_option_names_it(tmp_path):
    path = write(tmp_path, config='root = "data"\nfile = root + "/a.pkl"\n')
    with pytest.raises(ValueError, match=r'config.py cannot be read with root=None: TypeError'):
        read_config(path, {'root': None})


@pytest.mark.parametrize('options, message', [
    ({'projecton.resolution': 64}, "the config has no 'projecton', did you mean 'projection'"),
    ({'train_cgf.max_epochs': 1}, "the config has no 'train_cgf', did you mean 'train_cfg'")])
def test_a_misspelled_name_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        read_config(CONFIGS / 'opendlign_tiny.py', options)
    with pytest.raises(ValueError, match=message):
        apply_options(Config.fromfile(CONFIGS / 'opendlign_tiny.py'), options)


def test_a_config_that_a_run_wrote_refuses_changes_without_effect(tmp_path):
    """There the variables are values: paths are moved, any other change of a variable would reach nothing."""
    written = tmp_path / 'written.py'
    Config.fromfile(CONFIGS / 'opendlign_tiny.py').dump(str(written))
    cfg = read_config(written, {'cache_dir': 'elsewhere', 'model.compare_pretrained': False})
    assert cfg.train_dataloader.dataset.pipeline[0].cache_dir == 'elsewhere' and not cfg.model.compare_pretrained
    for options, place in (({'projection.resolution': 64}, r'dataset.pipeline.0.transforms.1.projection'),
                           ({'templates': ['a {}']}, r'model.zero_shot_head.templates'),
                           ({'clip_backbone.pretrained': None}, r'model.backbone')):
        with pytest.raises(ValueError, match=f'{next(iter(options))} is a variable .* old value is in .*{place}'):
            read_config(written, options)
        with pytest.raises(ValueError, match=place):
            init_model(Config.fromfile(written), cfg_options=options)
    scalars = write(tmp_path, scalars='num_classes = 18\nmodel = dict(head=dict(num_classes=18), num_queries=18)\n')
    with pytest.raises(ValueError, match=r'old value is in model\.head\.num_classes\. Change these'):
        read_config(scalars, {'num_classes': 20})
    assert read_config(scalars, {'num_classes': 18}).model.head.num_classes == 18
    assert read_config(scalars, {'num_classes': 20, 'model.head.num_classes': 20}).model.head.num_classes == 20


def test_threads_do_not_see_the_options_of_each_other():
    results = {}

    def read(size):
        for _ in range(3):
            cfg = read_config(CONFIGS / 'opendlign_tiny.py', {'projection.resolution': size} if size else None)
            transforms = cfg.test_dataloader.dataset.pipeline[0].transforms
            results.setdefault(size, set()).add(transforms[1].projection.resolution)

    threads = [threading.Thread(target=read, args=(size, )) for size in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: {112}, 10: {10}, 20: {20}, 30: {30}}


def test_the_tools_carry_options_through(tmp_path):
    """In the message of a tool, without any training: the changed root is where the data is looked for."""
    finished = subprocess.run(
        [sys.executable, str(REPOSITORY / 'tools/test.py'), str(CONFIGS / 'benchmarks/opendlign_b32_modelnet40.py'),
         '--cfg-options', f'data_root={tmp_path}/nowhere', 'model.backbone.pretrained=None'],
        capture_output=True, text=True, cwd=tmp_path, timeout=200)
    assert finished.returncode == 2 and f'{tmp_path}/nowhere' in finished.stderr, finished.stderr[-2000:]


def test_a_moved_path_reaches_what_was_made_from_it():
    cfg = Config(dict(
        data_root='data/rooms/', other_root='data/rooms2/', log_level='data/rooms',
        loader=dict(dataset=dict(
            data_root='data/rooms/', pipeline=[dict(file='data/rooms/a.pkl'), ('data/rooms2/b', 3)])),
        cache_dir='cache', pipeline=[dict(cache_dir='cache')]))
    move_path(cfg, 'data_root', '../elsewhere')
    move_path(cfg, 'cache_dir', None)
    move_path(cfg, 'loader.dataset', 'x')  # not a top-level path
    assert cfg.data_root == '../elsewhere/' == cfg.loader.dataset.data_root
    assert cfg.loader.dataset.pipeline[0].file == '../elsewhere/a.pkl'
    assert cfg.other_root == 'data/rooms2/' and tuple(cfg.loader.dataset.pipeline[1]) == ('data/rooms2/b', 3)
    assert cfg.pipeline[0].cache_dir is None


def test_lists_of_dicts_are_read_in_pythons_notation_and_templates_stay_text(capsys):
    parser = argparse.ArgumentParser()
    add_config_options(parser, 'a=1')
    args = parser.parse_args(['--cfg-options', "a=[{'type': 'A', 'b': {'c': 1}}, {'type': 'B'}]", 'd=[1,x]',
                              'e=a depth map of a {}', 'f=(1,2.5)'])
    assert args.cfg_options == dict(a=[dict(type='A', b=dict(c=1)), dict(type='B')], d=[1, 'x'],
                                    e='a depth map of a {}', f=(1, 2.5))
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', "a=[dict(type='A',b=dict(c=1))]"])
    assert 'cannot be read' in capsys.readouterr().err
