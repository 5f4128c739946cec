"""Building a diffusers pipeline from a config that names its components."""
import importlib
import inspect
from typing import Any

import torch

from .lora import add_lora


def load_pipeline(config: dict, dtype: torch.dtype) -> Any:
    """Build the pipeline of a config.

    Args:
        config: Keys: ``type``, the pipeline's class in diffusers. ``pretrained``, a local folder or a name on the
            Hugging Face hub; absent if all components are given. ``components``, name -> None (none) or a component:
            ``type``, a class of diffusers or transformers, with ``pretrained`` (and e.g. ``subfolder``, ``variant``),
            or with ``config``, its configuration, for random weights. A scheduler without both takes the configuration
            of the pretrained pipeline's scheduler. ``loras``, a list of the arguments of :func:`add_lora`, which
            changes the weights of the UNet. Other keys are arguments of the pipeline.
        dtype: Data type of the weights.

    Returns:
        A pipeline of diffusers.

    Raises:
        ValueError: A class or an argument is wrong.
        FileNotFoundError: Weights are neither in a local folder nor in the Hugging Face cache, and the download failed.
    """
    options = dict(config)
    loras = options.pop('loras', None) or []
    pipeline = _build(options, dtype)
    if loras and getattr(pipeline, 'unet', None) is None:
        raise ValueError(f'loras change a UNet, which {type(pipeline).__name__} lacks')
    for lora in loras:
        add_lora(pipeline.unet, **lora)
    return pipeline


def _build(options: dict, dtype: torch.dtype) -> Any:
    kind = _class(options.pop('type', 'StableDiffusionControlNetPipeline'))
    pretrained = options.pop('pretrained', None)
    described = dict(options.pop('components', None) or {})
    swapped = {name: component for name, component in described.items()
               if component is not None and not {'pretrained', 'config'} & set(component)}
    components = {name: None if component is None else load_component(name, component, dtype)
                  for name, component in described.items() if name not in swapped}
    if pretrained is None:
        if swapped:
            raise ValueError(f'components {", ".join(swapped)} need pretrained or config, since the pipeline has no '
                             'pretrained')
        absent = {name for name, parameter in inspect.signature(kind.__init__).parameters.items()
                  if parameter.default is parameter.empty} - {'self'} - set(components) - set(options)
        for name in ('safety_checker', 'feature_extractor'):
            if name in absent:
                components[name] = None
        if absent - {'safety_checker', 'feature_extractor'}:
            raise ValueError(f'{kind.__name__} has no pretrained and lacks the components '
                             f'{", ".join(sorted(absent - set(components)))}')
        return kind(**components, **options)
    pipeline = _from_pretrained('the pipeline', kind, pretrained, dict(options, torch_dtype=dtype, **components))
    for name, component in swapped.items():
        component = dict(component)
        scheduler = _class(component.pop('type')).from_config(getattr(pipeline, name).config, **component)
        pipeline.register_modules(**{name: scheduler})
    return pipeline


def load_component(name: str, config: dict, dtype: torch.dtype) -> Any:
    """Build one component of a pipeline; see :func:`load_pipeline`."""
    options = dict(config)
    kind = _class(options.pop('type'))
    if 'pretrained' in options:
        takes_dtype = issubclass(kind, torch.nn.Module)
        return _from_pretrained(name, kind, options.pop('pretrained'),
                                dict(options, **(dict(torch_dtype=dtype) if takes_dtype else {})))
    # Random weights are the same in each process, and the random state of the caller does not change.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(options.pop('random_seed', 0))
        settings = _plain(options.pop('config'))
        configuration = getattr(kind, 'config_class', None)
        if hasattr(kind, 'from_config') and configuration is None:
            component = kind.from_config(settings)
        elif configuration is not None:
            component = kind(configuration(**settings))
        else:
            component = kind(**settings)
    # torch's own method: the one of diffusers warns about the precision of trained weights.
    return torch.nn.Module.to(component, dtype).eval() if isinstance(component, torch.nn.Module) else component


def _class(name: str) -> type:
    for module in ('diffusers', 'transformers'):
        try:
            found: type | None = getattr(importlib.import_module(module), name, None)
        except ImportError as error:
            raise ValueError(f"{name} needs the package {module}, which cannot be imported ({error}): pip install "
                             "'opendlign_mm[generation]'") from error
        if found is not None:
            return found
    raise ValueError(f'neither diffusers nor transformers has a class {name!r}')


def _from_pretrained(name: str, kind: type, source: str, options: dict) -> Any:
    try:
        return kind.from_pretrained(source, **options)
    except OSError as error:
        raise FileNotFoundError(f"the weights '{source}' of {name} ({kind.__name__}) are neither a local folder nor in "
                                f'the Hugging Face cache, and the download failed: {str(error).splitlines()[0]} '
                                'Download them on a machine with access and give the folder in the config, or set '
                                'HF_HOME to a cache that has them.') from error


def _plain(node: Any) -> Any:
    """Return nested dicts of mmengine's Config as plain dicts."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    return type(node)(_plain(value) for value in node) if isinstance(node, (list, tuple)) else node
