"""bfloat16 autocast: the same code on CPU and CUDA, losses and weights in float32."""
import pytest
import torch
from mmdet3d.registry import OPTIM_WRAPPERS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from helpers.tiny_inferencers import shape_inferencer
from helpers.tiny_runs import tiny_config, tiny_model
from opendlign_mm.apis.init_model import set_precision, use_half_precision
from opendlign_mm.engine import AutocastOptimWrapper, scale_peak_learning_rate, select_autocast


class LearningRates(Hook):
    """Notes the learning rate of each iteration."""

    def __init__(self, rates):
        self.rates = rates

    def before_train_iter(self, runner, **_):
        self.rates += runner.optim_wrapper.get_lr()['lr']


def batch(device, size=6):
    generator = torch.Generator().manual_seed(0)
    return dict(inputs=dict(depth_views=torch.rand(size, 2, 32, 32, generator=generator).to(device),
                            images=torch.rand(size, 2, 3, 32, 32, generator=generator).to(device)))


def wrapper_for(model, kind, **options):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    return OPTIM_WRAPPERS.build(dict(type=kind, optimizer=optimizer, **options))


def test_forward_is_bfloat16_but_loss_and_weights_are_not(device):
    model = tiny_model().to(device)
    seen = []
    block = model.backbone.tuned_blocks[0]
    block.mlp.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    optim_wrapper = wrapper_for(model, 'AutocastOptimWrapper')
    with optim_wrapper.optim_context(model):
        losses = model(**batch(device), mode='loss')
    assert seen == [torch.bfloat16]
    assert all(value.dtype == torch.float32 for value in losses.values())
    assert not torch.is_autocast_enabled(device.type)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_training_follows_float32(device):
    """Ten steps reach nearly the loss of float32, and a different one: autocast did something."""
    final = {}
    for kind in ('OptimWrapper', 'AutocastOptimWrapper'):
        model = tiny_model().to(device)
        optim_wrapper = wrapper_for(model, kind)
        for _ in range(10):
            logs = model.train_step(batch(device), optim_wrapper)
        final[kind] = float(logs['loss'])
    assert final['OptimWrapper'] != final['AutocastOptimWrapper']
    assert final['AutocastOptimWrapper'] == pytest.approx(final['OptimWrapper'], rel=.05)


def test_accumulation_and_clipping_are_those_of_the_base_class():
    model = tiny_model()
    optim_wrapper = wrapper_for(model, 'AutocastOptimWrapper', accumulative_counts=2, clip_grad=dict(max_norm=1e-3))
    optim_wrapper.initialize_count_status(model, 0, 4)
    before = model.backbone.tuned_blocks[0].attn.in_proj_weight.detach().clone()
    model.train_step(batch('cpu'), optim_wrapper)
    assert torch.equal(before, model.backbone.tuned_blocks[0].attn.in_proj_weight)
    model.train_step(batch('cpu'), optim_wrapper)
    assert not torch.equal(before, model.backbone.tuned_blocks[0].attn.in_proj_weight)


def test_float16_is_refused():
    model = tiny_model()
    with pytest.raises(ValueError, match='AmpOptimWrapper'):
        AutocastOptimWrapper(dtype='float16', optimizer=torch.optim.SGD(model.parameters(), lr=.1))


def test_amp_option_selects_autocast():
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    select_autocast(cfg)
    assert cfg.optim_wrapper.type == 'AutocastOptimWrapper'
    select_autocast(cfg)  # already on
    assert cfg.optim_wrapper.type == 'AutocastOptimWrapper'
    with pytest.raises(ValueError, match='SomeOtherWrapper'):
        select_autocast(Config(dict(optim_wrapper=dict(type='SomeOtherWrapper'))))


def test_amp_option_sets_the_precision_of_clip_backbones_unless_it_is_half_already():
    detector = dict(type='OpenVocabDetector3D', classifier=dict(type='OpenDlign', backbone=dict(
        type='CLIPDepthBackbone')), text_encoder=dict(type='CLIPDepthBackbone', precision='bf16'))
    assert use_half_precision(detector)
    assert detector['classifier']['backbone']['precision'] == 'auto' and detector['text_encoder']['precision'] == 'bf16'
    assert not use_half_precision(dict(type='CLIP2Point', backbone=dict(type='CLIPTwinBackbone')))


def test_inferencers_take_a_precision():
    assert shape_inferencer(precision='bf16').model.backbone.precision == 'bf16'
    with pytest.raises(ValueError, match='precision must be one of fp32, bf16, fp16, auto'):
        shape_inferencer(precision='half')
    with pytest.raises(ValueError, match='a CLIP2Point without CLIPDepthBackbone has no precision'):
        set_precision(dict(type='CLIP2Point', backbone=dict(type='CLIPTwinBackbone')), 'auto')


@pytest.mark.parametrize('hardware, wrapper', [(True, 'AutocastOptimWrapper'), (False, 'AmpOptimWrapper')])
def test_amp_option_takes_float16_on_a_gpu_that_only_emulates_bfloat16(monkeypatch, hardware, wrapper):
    """Turing GPUs: PyTorch says that they support bfloat16 unless emulation is excluded."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported',
                        lambda including_emulation=True: hardware or including_emulation)
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD'))))
    select_autocast(cfg)
    assert cfg.optim_wrapper.type == wrapper and cfg.optim_wrapper.optimizer.type == 'SGD'
    assert cfg.optim_wrapper.get('loss_scale') == (None if hardware else 'dynamic')


def test_scaled_learning_rate_reaches_the_one_cycle_peak(tmp_path):
    config = tiny_config(tmp_path, batch=4, epochs=4)
    config.auto_scale_lr = dict(enable=True, base_batch_size=16)
    runner = Runner.from_cfg(config)
    scale_peak_learning_rate(runner)
    peaks = []
    runner.register_hook(LearningRates(peaks))
    runner.train()
    assert max(peaks) == pytest.approx(3e-4 / 4, rel=.05)
