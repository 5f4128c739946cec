"""Two processes with half of a batch each equal one process with the whole batch."""
import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import Runner

from helpers.gloo_processes import run_in_processes
from helpers.tiny_runs import scalars, tiny_config, tiny_model
from helpers.tool_modules import REPOSITORY, run_tool
from opendlign_mm.compat import prepare_cpu_distributed
from opendlign_mm.engine import DistributedWhereTrained

HEADS = dict(
    released=dict(logit_scale='frozen', distance='mse'),
    paper=dict(logit_scale='learnable', distance='l2'))


def run(*command: str) -> None:
    """Run a command with the tests' folder importable, a port of its own and no GPU."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(REPOSITORY), str(REPOSITORY / 'tests')]),
                       OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', PYTHON=sys.executable, PORT=port)
    finished = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-3000:]


@pytest.fixture(scope='module')
def both(tmp_path_factory) -> Path:
    """Results of the two processes, for each kind of head."""
    folder = tmp_path_factory.mktemp('ddp')
    generator = torch.Generator().manual_seed(5)
    torch.save(dict(depth_views=torch.rand(6, 2, 32, 32, generator=generator),
                    images=torch.rand(6, 2, 3, 32, 32, generator=generator)), folder / 'inputs.pt')
    run_in_processes(partial(_half_of_the_batch, folder), 2)
    return folder


def _half_of_the_batch(folder: Path, rank: int) -> None:
    """Save the losses and gradients of one process with each head, its model wrapped as in a run of several."""
    cfg = Config(dict())
    prepare_cpu_distributed(cfg, 'pytorch')
    for name, head in HEADS.items():
        model = tiny_model(**head)
        wrapped = MODEL_WRAPPERS.build(cfg.model_wrapper_cfg, default_args=dict(module=model, device_ids=[rank]))
        inputs = {key: value.chunk(2)[rank] for key, value in torch.load(folder / 'inputs.pt').items()}
        losses = wrapped(inputs, mode='loss')
        model.parse_losses(losses)[0].backward()
        gradients = {key: value.grad for key, value in model.named_parameters() if value.requires_grad}
        torch.save(dict(losses={key: value.detach() for key, value in losses.items()}, gradients=gradients),
                   folder / f'{name}_rank{rank}.pt')


@pytest.mark.parametrize('name', HEADS)
def test_loss_and_gradients_equal_the_joint_batch(both, name):
    model = tiny_model(**HEADS[name])
    losses = model(torch.load(both / 'inputs.pt'), mode='loss')
    model.parse_losses(losses)[0].backward()
    for rank in (0, 1):
        result = torch.load(both / f'{name}_rank{rank}.pt')
        for key, value in losses.items():
            torch.testing.assert_close(result['losses'][key], value.detach(), rtol=1e-5, atol=1e-6)
        expected = {key: value.grad for key, value in model.named_parameters() if value.requires_grad}
        assert result['gradients'].keys() == expected.keys()
        assert any('in_proj_weight' in key for key in expected)
        assert ('alignment_head.logit_scale' in expected) == (HEADS[name]['logit_scale'] == 'learnable')
        for key, value in expected.items():
            assert value.abs().max() > 0 or 'bias' in key
            torch.testing.assert_close(result['gradients'][key], value, rtol=1e-4, atol=1e-6,
                                       msg=lambda text, key=key: f'{key}: {text}')


def test_half_of_the_batch_alone_has_another_loss(both):
    """Without gathering the features each process would compute this loss."""
    inputs = torch.load(both / 'inputs.pt')
    model = tiny_model(**HEADS['released'])
    alone = model({key: value[:3] for key, value in inputs.items()}, mode='loss')['loss_contrastive']
    gathered = torch.load(both / 'released_rank0.pt')['losses']['loss_contrastive']
    assert abs(float(alone) - float(gathered)) > .1


def test_distributed_tools_equal_a_single_process(tmp_path):
    """tools/dist_train.sh with two processes gives the same losses and weights, the test of them the same accuracy."""
    path, losses, weights, accuracy = str(tmp_path / 'config.py'), {}, {}, {}
    for processes in (1, 2):
        work_dir = tmp_path / f'{processes}'
        config = tiny_config(work_dir, objects_per_class=4, batch=8 // processes, augment=False)
        config.experiment_name = str(work_dir)
        checkpoint = work_dir / 'epoch_2.pth'
        if processes == 1:
            runner = Runner.from_cfg(config)
            runner.train()
            accuracy[1] = runner.test()
        else:
            config.dump(path)
            run('tools/dist_train.sh', path, '2')
            run_in_processes(partial(_test_by_the_tool, path, checkpoint), 2)
            accuracy[2] = json.loads(max(work_dir.glob('*/*.json'), key=lambda file: file.stat().st_mtime).read_text())
        losses[processes], weights[processes] = scalars(work_dir), torch.load(checkpoint)['state_dict']
    assert len(losses[1]) == 4 and losses[1].keys() == losses[2].keys()
    for step, row in losses[1].items():
        assert losses[2][step]['loss'] == pytest.approx(row['loss'], rel=1e-4)
    for name, value in weights[1].items():
        other = weights[2][name]
        if name.endswith('in_proj_bias'):
            # The key bias has no influence: its gradient is rounding, which Adam makes steps of the learning rate.
            value, other = (bias.view(3, -1)[[0, 2]] for bias in (value, other))
        torch.testing.assert_close(other, value, rtol=1e-3, atol=1e-5,
                                   msg=lambda text, name=name: f'{name}: {text}')
    for name in ('top1', 'top3', 'top1_frozen', 'recall'):
        assert accuracy[2][f'zero_shot/{name}'] == pytest.approx(accuracy[1][f'zero_shot/{name}'])


def _test_by_the_tool(config: Path | str, checkpoint: Path, rank: int) -> None:
    finished = run_tool('test', config, checkpoint, '--launcher', 'pytorch')
    assert finished.returncode == 0, finished.stderr


def test_a_model_in_which_nothing_is_trained_is_tested_by_two_processes(tmp_path):
    config = tiny_config(tmp_path / 'run')
    config.model.backbone.num_blocks, config.model.zero_shot_head.branches = 0, 'pretrained'
    config.experiment_name = 'frozen'
    for part in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        config.pop(part)
    runner = Runner.from_cfg(config)
    checkpoint, path = tmp_path / 'frozen.pth', tmp_path / 'config.py'
    torch.save(dict(state_dict=runner.model.state_dict()), checkpoint)
    expected = runner.test()
    config.dump(path)
    run_in_processes(partial(_test_by_the_tool, path, checkpoint), 2)
    results = max((tmp_path / 'run').glob('*/*.json'), key=lambda file: file.stat().st_mtime)
    found = json.loads(results.read_text())
    for name in ('top1', 'top3', 'recall', 'num_samples'):
        assert found[f'zero_shot/{name}'] == pytest.approx(expected[f'zero_shot/{name}'])


def test_only_models_with_trained_parameters_are_wrapped():
    frozen = torch.nn.Linear(2, 2).requires_grad_(False)
    assert DistributedWhereTrained(module=frozen, device_ids=None) is frozen
    with pytest.raises(Exception, match='(?i)process group'):
        DistributedWhereTrained(module=torch.nn.Linear(2, 2), device_ids=None)  # would wrap it, in a process group


def test_without_a_launcher_nothing_is_prepared():
    cfg = Config(dict())
    prepare_cpu_distributed(cfg, 'none')
    assert 'model_wrapper_cfg' not in cfg and not torch.distributed.is_initialized()


@pytest.mark.skipif(torch.cuda.is_available(), reason='mmengine starts processes itself where there is CUDA')
@pytest.mark.parametrize('launcher, variable', [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'),
                                                ('mpi', 'OMPI_COMM_WORLD_RANK')])
def test_launcher_option_without_launcher(monkeypatch, launcher, variable):
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(RuntimeError, match=f'{variable}.*dist_train'):
        prepare_cpu_distributed(Config(dict()), launcher)
