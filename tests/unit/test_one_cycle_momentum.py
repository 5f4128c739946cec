"""The momentum of a one-cycle schedule is that of PyTorch's OneCycleLR."""
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Runner

from helpers.tiny_runs import tiny_config
from helpers.tool_modules import REPOSITORY
from opendlign_mm.engine import OneCycleMomentum


def optimizers():
    weights = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))]
    return [torch.optim.AdamW([dict(params=[weight]) for weight in weights], lr=3e-5, betas=(0.9, 0.98))
            for _ in range(2)]


@pytest.mark.parametrize('steps, pct_start', [(37, .3), (100, .3), (20, .5)])
def test_each_step_has_pytorchs_learning_rate_and_momentum(steps, pct_start):
    ours, theirs = optimizers()
    expected = torch.optim.lr_scheduler.OneCycleLR(theirs, max_lr=3e-4, total_steps=steps, pct_start=pct_start)
    schedulers = [PARAM_SCHEDULERS.build(dict(type=kind, optimizer=ours, by_epoch=False, end=steps,
                                              pct_start=pct_start, **options))
                  for kind, options in (('OneCycleLR', dict(eta_max=3e-4)), ('OneCycleMomentum', {}))]
    for step in range(steps - 1):
        for group, other in zip(ours.param_groups, theirs.param_groups, strict=True):
            assert group['lr'] == pytest.approx(other['lr'], rel=1e-9), step
            assert group['betas'] == pytest.approx(other['betas'], rel=1e-9), step
        ours.step(), theirs.step(), expected.step()
        for scheduler in schedulers:
            scheduler.step()


def test_the_state_of_a_resumed_scheduler_goes_on():
    ours, other = optimizers()
    whole, resumed = (OneCycleMomentum(optimizer, by_epoch=False, end=30) for optimizer in (ours, other))
    for _ in range(12):
        whole.step()
    resumed.load_state_dict(whole.state_dict())
    other.load_state_dict(ours.state_dict())
    for _ in range(10):
        whole.step(), resumed.step()
        assert other.param_groups[1]['betas'] == ours.param_groups[1]['betas']


@pytest.mark.parametrize('options', [dict(base_momentum=.96), dict(max_momentum=1.), dict(base_momentum=-.1),
                                     dict(pct_start=0.), dict(pct_start=1.)])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match='must'):
        OneCycleMomentum(optimizers()[0], **options)


def test_an_optimizer_without_momentum_is_refused():
    with pytest.raises(ValueError, match='momentum'):
        OneCycleMomentum(torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1))]))


class Betas(Hook):
    """Notes beta1 of each iteration."""

    def __init__(self, betas):
        self.betas = betas

    def before_train_iter(self, runner, **_):
        self.betas.append(runner.optim_wrapper.param_groups[0]['betas'][0])


def test_the_papers_schedule_lowers_beta1_at_the_peak_in_a_run(tmp_path):
    config = tiny_config(tmp_path, batch=4, epochs=4)  # 3 iterations an epoch
    schedule = Config.fromfile(REPOSITORY / 'configs/_base_/schedules/one_cycle_10e.py')
    config.optim_wrapper = dict(type='OptimWrapper', optimizer=schedule.optim_wrapper.optimizer)
    config.param_scheduler = schedule.param_scheduler
    runner, betas = Runner.from_cfg(config), []
    runner.register_hook(Betas(betas))
    runner.train()
    # PyTorch's values for 12 steps, 3.6 - 1 of them until the peak.
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], betas=(0.9, 0.98))
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-4, total_steps=12)
    expected = []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]['betas'][0])
        optimizer.step(), scheduler.step()
    assert betas == pytest.approx(expected)
    assert min(betas) < .87 < .94 < max(betas)


def test_a_learnable_temperature_does_not_decay(tmp_path):
    config = tiny_config(tmp_path)
    config.model.alignment_head.logit_scale = 'learnable'
    schedule = Config.fromfile(REPOSITORY / 'configs/_base_/schedules/one_cycle_10e.py')
    config.optim_wrapper = dict(schedule.optim_wrapper)
    runner = Runner.from_cfg(config)
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    assert isinstance(wrapper, OptimWrapper) and len(wrapper.optimizer.param_groups) == 2
    decay = {id(parameter): group['weight_decay'] for group in wrapper.optimizer.param_groups
             for parameter in group['params']}
    assert decay[id(runner.model.alignment_head.logit_scale)] == 0
    trained = [parameter for parameter in runner.model.backbone.parameters() if parameter.requires_grad]
    assert {decay[id(parameter)] for parameter in trained} == {.1}
