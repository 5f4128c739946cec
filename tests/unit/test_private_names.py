"""Names of other packages without a promise to stay: that they exist, and the versions of setup.py that have them."""
import inspect
import re
from importlib import import_module

import pytest

from helpers.tool_modules import REPOSITORY

# Module, name in it, package and the first version that has the name.
PRIVATE_NAMES = [
    ('open_clip.transformer', 'VisionTransformer._embeds', 'open_clip_torch', '2.32'),
    ('open_clip.transformer', 'VisionTransformer._pool', 'open_clip_torch', '2.32'),
    ('open_clip.timm_model', 'TimmModel', 'open_clip_torch', '2.32'),
    ('timm.models.vision_transformer', 'VisionTransformer._pos_embed', 'timm', '1.0'),
    ('mmengine.config', 'Config._merge_a_into_b', 'mmengine', '0.10.4'),
    ('mmengine.config', 'Config._get_base_files', 'mmengine', '0.10.4'),
    ('torch.nn', 'Module._register_state_dict_hook', 'torch', '2.6'),
    ('torch.nn', 'Module._load_from_state_dict', 'torch', '2.6'),
    ('torch._dynamo.exc', 'TorchDynamoException', 'torch', '2.6'),
    ('torch.distributed.nn.functional', 'all_gather', 'torch', '2.6'),
    # Public, but absent from earlier versions.
    ('torch.serialization', 'safe_globals', 'torch', '2.6'),
    ('torch.serialization', 'get_safe_globals', 'torch', '2.6'),
    ('torch.nn', 'Module.register_load_state_dict_pre_hook', 'torch', '2.6'),
]
# Attributes that the instances of a class get in a method of it.
PRIVATE_ATTRIBUTES = [
    ('torch.nn', 'Module', ['_compiled_call_impl'], 'torch', '2.6'),
    ('mmengine.runner', 'Runner', ['_train_loop', '_train_dataloader', '_load_from', '_resume', '_randomness_cfg'],
     'mmengine', '0.10.4'),
    ('mmengine.registry', 'Registry', ['_locations', '_imported'], 'mmengine', '0.10.4'),
    ('mmengine.model', 'BaseDataPreprocessor', ['_non_blocking'], 'mmengine', '0.10.4'),
    ('open_clip.transformer', 'VisionTransformer', ['grid_size', 'attn_pool', 'ln_post', 'proj', 'pool_type', 'conv1'],
     'open_clip_torch', '2.32'),
    ('open_clip.transformer', 'ResidualAttentionBlock', ['ln_1', 'attn', 'ls_1', 'ln_2', 'ls_2', 'mlp'],
     'open_clip_torch', '2.32'),
    ('open_clip.timm_model', 'TimmModel', ['trunk', 'head'], 'open_clip_torch', '2.32'),
    ('timm.models.vision_transformer', 'VisionTransformer',
     ['patch_embed', 'patch_drop', 'norm_pre', 'norm', 'blocks', 'num_prefix_tokens'], 'timm', '1.0'),
]


def find(module: str, name: str):
    found = import_module(module)
    for part in name.split('.'):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize('module, name, package, since', PRIVATE_NAMES)
def test_names_that_are_used_exist(module, name, package, since):
    assert callable(find(module, name))


@pytest.mark.parametrize('module, name, attributes, package, since', PRIVATE_ATTRIBUTES)
def test_attributes_that_are_used_exist(module, name, attributes, package, since):
    source = inspect.getsource(find(module, name))
    assert not [attribute for attribute in attributes if not re.search(rf'self\.{attribute}\b', source)]


def test_the_installation_asks_for_versions_that_have_them():
    requirements = (REPOSITORY / 'setup.py').read_text()
    for *_, package, since in PRIVATE_NAMES + PRIVATE_ATTRIBUTES:
        asked = re.search(rf"'{package}>=([\d.]+)", requirements).group(1)
        assert tuple(map(int, asked.split('.'))) >= tuple(map(int, since.split('.'))), f'{package}>={since}'


def test_open_clip_is_bounded_before_its_next_major_version():
    assert "'open_clip_torch>=2.32,<4'" in (REPOSITORY / 'setup.py').read_text()
