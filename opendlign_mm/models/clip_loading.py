"""CLIP models by name: their configuration, weights, tokenizer, and the compact file of the demonstration CLIP."""
import copy
import json
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import open_clip
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ..atomic_files import atomic_write
from ..source_files import read_json

ASSETS = Path(__file__).resolve().parent.parent / 'assets'
# CLIPs that come with the package: name -> files in assets/ (<stem>.json, <stem>.safetensors).
PACKAGED_CLIPS = {'opendlign-tiny': 'tiny_clip'}
ModelConfig = None | dict | str | Path


def resolve_model_config(clip: str, model_config: ModelConfig = None) -> dict:
    """Return the open_clip model configuration of ``clip``.

    Args:
        clip: An open_clip model name, the name of a CLIP in this package (``'opendlign-tiny'``) or, with
            ``model_config``, any name.
        model_config: None, a configuration dict, or the path of its JSON file (keys ``embed_dim``, ``vision_cfg``,
            ``text_cfg``, optional ``quick_gelu`` and ``preprocess_cfg``).

    Raises:
        ValueError: The name is unknown, or the configuration is not JSON or lacks a key.
        FileNotFoundError: The JSON file does not exist.
    """
    if model_config is None and clip in PACKAGED_CLIPS:
        model_config = ASSETS / f'{PACKAGED_CLIPS[clip]}.json'
    if model_config is None:
        config = open_clip.get_model_config(clip)
        if config is None:
            raise ValueError(
                f"open_clip has no model named '{clip}'; use a name from open_clip.list_models() or "
                f'{sorted(PACKAGED_CLIPS)}, or describe your own model with model_config=<dict or JSON file>')
    elif isinstance(model_config, (str, Path)):
        path = Path(model_config).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"the model configuration of CLIP '{clip}' is not at {path}")
        config = read_json(path)
    else:
        config = dict(model_config)
    # mmengine's Config has its own dict classes; open_clip's dataclasses need plain ones.
    config = json.loads(json.dumps(config))
    if not isinstance(config, dict):
        raise ValueError(f"the model configuration of CLIP '{clip}' is not a dict: {model_config}")
    missing = [key for key in ('embed_dim', 'vision_cfg', 'text_cfg') if key not in config]
    if missing:
        raise ValueError(f"the model configuration of CLIP '{clip}' lacks {', '.join(missing)}")
    return config


def resolve_weights(clip: str, pretrained: str | None, quick_gelu: bool = False) -> Path | None:
    """Return the weight file that ``pretrained`` stands for; None for random weights.

    Args:
        clip: Name of the model.
        pretrained: None, a local file (.safetensors, .bin, .pt, .pth), an open_clip tag of ``clip`` (downloaded to
            open_clip's cache if it is not there) or ``'builtin'`` for a CLIP of this package.
        quick_gelu: Whether the model uses QuickGELU. A warning says so where the weights of a tag do not.

    Raises:
        FileNotFoundError: ``pretrained`` is neither a file nor a tag, or its weights cannot be downloaded.
    """
    if pretrained is None:
        return None
    remedy = 'give pretrained=<path of a local weight file>, or pretrained=None for random weights'
    if pretrained == 'builtin':
        if clip not in PACKAGED_CLIPS:
            raise FileNotFoundError(f"CLIP '{clip}' does not come with this package (only {sorted(PACKAGED_CLIPS)} "
                                    f"do), so pretrained='builtin' is not available; {remedy}")
        path = ASSETS / f'{PACKAGED_CLIPS[clip]}.safetensors'
        if not path.is_file():
            raise FileNotFoundError(f"the packaged weights of CLIP '{clip}' are missing at {path}; reinstall the "
                                    f'package, or {remedy}')
        return path
    path = Path(pretrained).expanduser()
    if path.is_file():
        return path
    tag_config = open_clip.get_pretrained_cfg(clip, pretrained)
    if not tag_config:
        tags = open_clip.list_pretrained_tags_by_model(clip)
        raise FileNotFoundError(f"pretrained='{pretrained}' of CLIP '{clip}' is neither an existing file nor one of "
                                f'its tags ({", ".join(tags) or "it has none"}); {remedy}')
    if bool(tag_config.get('quick_gelu', False)) != quick_gelu:
        warnings.warn(f"the weights '{pretrained}' of CLIP '{clip}' were trained with quick_gelu={not quick_gelu}, "
                      f"the model is built with quick_gelu={quick_gelu}; names with the ending '-quickgelu' use it",
                      stacklevel=2)
    try:
        return Path(open_clip.download_pretrained(tag_config))
    except Exception as error:
        raise FileNotFoundError(f"the weights '{pretrained}' of CLIP '{clip}' are neither in the cache "
                                f'({_cache_folder(tag_config)}) nor could they be downloaded: '
                                f'{type(error).__name__}: {error}; {remedy}') from error


def _cache_folder(tag_config: dict) -> str:
    if tag_config.get('hf_hub'):
        from huggingface_hub import constants
        return f"{constants.HF_HUB_CACHE}, of '{tag_config['hf_hub']}'"
    return f"{Path('~/.cache/clip').expanduser()}, of {tag_config.get('url', '')}"


def build_clip(clip: str, config: dict, weights: Path | None, random_seed: int = 0) -> nn.Module:
    """Build an open_clip model and load its weights.

    Args:
        clip: Name of the model, for messages.
        config: Configuration of the model (:func:`resolve_model_config`); not changed.
        weights: Weight file, or None for random weights.
        random_seed: Seed of random weights. They are the same in each process, so that a run without any
            download can be resumed and tested; the caller's random state is not changed.

    Raises:
        RuntimeError: The weights do not fit the model.
    """
    config = copy.deepcopy(config)
    config.pop('preprocess_cfg', None)
    # All parts of the model come from one weight file or none: open_clip must not download any on its own.
    if 'timm_model_name' in config['vision_cfg']:
        config['vision_cfg']['timm_model_pretrained'] = False
    has_custom_text = config.pop('custom_text', False)
    if 'hf_model_name' in config['text_cfg']:
        config['text_cfg']['hf_model_pretrained'] = False
        has_custom_text = True
    if 'multimodal_cfg' in config:
        model_class = open_clip.CoCa
    else:
        model_class = open_clip.CustomTextCLIP if has_custom_text else open_clip.CLIP
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(random_seed)
        model = model_class(**config)
    if weights is None:
        return model
    try:
        if not load_compact_clip(model, weights):
            open_clip.load_checkpoint(model, str(weights))
    except Exception as error:
        raise RuntimeError(f"the weights in {weights} do not fit CLIP '{clip}': {error}") from error
    return model


def build_tokenizer(clip: str, config: dict) -> Callable[..., torch.Tensor]:
    """Return the tokenizer of ``clip``, a function from N texts to int64 (N, context length).

    Its argument ``context_length`` changes the length. CLIP's own tokenizer comes with open_clip.

    Raises:
        FileNotFoundError: The text tower needs a tokenizer from the Hugging Face hub, which is not in the cache and
            cannot be downloaded.
    """
    text = config['text_cfg']
    try:
        if open_clip.get_model_config(clip) == config:
            return open_clip.get_tokenizer(clip)
        context_length = text.get('context_length', 77)
        options = text.get('tokenizer_kwargs') or {}
        if text.get('hf_tokenizer_name'):
            from open_clip.tokenizer import HFTokenizer
            return HFTokenizer(text['hf_tokenizer_name'], context_length=context_length,
                               tokenizer_mode=text.get('tokenizer_mode'), **options)
        return open_clip.SimpleTokenizer(context_length=context_length, **options)
    except OSError as error:
        raise FileNotFoundError(f"the tokenizer '{text.get('hf_tokenizer_name')}' of CLIP '{clip}' is neither in the "
                                f'Hugging Face cache nor could it be downloaded: {error}; download it once on a '
                                'machine with access and copy the cache') from error


# --- compact weight files: of the token embeddings only those that were trained ---------------------------------------

ROWS = 'token_embedding_rows'


def _embedding_key(model: nn.Module) -> str:
    return 'token_embedding.weight' if hasattr(model, 'token_embedding') else 'text.token_embedding.weight'


def save_compact_clip(model: nn.Module, config: dict, used_token_ids: Iterable[int], path: str | Path,
                      dtype: torch.dtype = torch.float16) -> None:
    """Write an open_clip model as ``path`` (.safetensors) and its configuration next to it (.json).

    Args:
        model: Trained open_clip model.
        config: Configuration of the model.
        used_token_ids: Vocabulary indices whose embeddings were trained, including the start and end tokens and the
            padding (0); duplicates are allowed.
        path: File to write. Each of the two files appears whole or not at all.
        dtype: Type that the weights are stored in; loading casts them back to the model's.

    Raises:
        ValueError: ``path`` does not end in .safetensors, or an index lies outside the vocabulary.
    """
    path = Path(path)
    if path.suffix != '.safetensors':
        raise ValueError(f'path must end in .safetensors, got {path}')
    state = {key: value.detach().to('cpu', dtype).contiguous() for key, value in model.state_dict().items()}
    key = _embedding_key(model)
    rows = torch.tensor(sorted(set(int(index) for index in used_token_ids)), dtype=torch.int64)
    if len(rows) == 0 or rows[0] < 0 or rows[-1] >= len(state[key]):
        raise ValueError(f'used_token_ids must be indices from 0 to {len(state[key]) - 1}, at least one')
    state[key] = state[key][rows].contiguous()
    state[ROWS] = rows
    with atomic_write(path) as unfinished:
        save_file(state, str(unfinished))
    with atomic_write(path.with_suffix('.json')) as unfinished:
        unfinished.write_text(json.dumps(config, indent=2) + '\n')


def load_compact_clip(model: nn.Module, path: str | Path, keep_others: bool = False) -> bool:
    """Load a file of :func:`save_compact_clip` into ``model``.

    ``model.known_token_ids`` (int64) then lists the tokens of the file.

    Args:
        model: open_clip model.
        path: The file.
        keep_others: Whether tokens that the file lacks keep their embeddings in ``model`` instead of zeros.

    Returns:
        Whether it is such a file; otherwise nothing was done.

    Raises:
        ValueError: The file has tokens outside the model's vocabulary.
    """
    if Path(path).suffix != '.safetensors':
        return False
    with safe_open(str(path), framework='pt') as file:
        if ROWS not in file.keys():
            return False
    state = load_file(str(path))
    rows = state.pop(ROWS)
    key = _embedding_key(model)
    table = model.get_parameter(key)
    if int(rows.max()) >= len(table):
        raise ValueError(f'the file has token {int(rows.max())}, the model a vocabulary of {len(table)}')
    others = table.detach().clone() if keep_others else table.new_zeros(table.shape)
    state[key] = others.index_copy_(0, rows.to(table.device), state[key].to(table))
    model.load_state_dict(state)
    model.known_token_ids = rows
    return True
