"""Configs of classifiers and detectors by name or path, as the inferencers use them."""
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from mmengine.config import Config

from ..config_options import apply_options, read_config
from ..models.color_views import Views
from ..models.prompts import resolve_templates
from ..source_files import cache_folder
from .model_index import resolve_model

# A small CLIP is overconfident with CLIP's 0.01. With this one the mean probability of the first name of unseen
# objects, half of them scan-like, is 0.87, and 0.82 of the names are right. Detectors have their own in their configs.
TEMPERATURES = {'opendlign-tiny': 0.05}
CLIP_TEMPERATURE = 0.01
DETECTOR = 'OpenVocabDetector3D'
CLASSIFIER = 'OpenDlign'
POINT_CLASSIFIER = 'TriModalAligner'


def read_model_config(model: str | Path | Config, weights: str | Path | None, options: dict
                      ) -> tuple[Config, Path | None, Path | None]:
    """Return the config of a model, its checkpoint or None, and the file of the config, None for a ``Config``."""
    if isinstance(model, Config):
        cfg = model.copy()
        apply_options(cfg, options)
        return cfg, None if weights is None else Path(weights), None
    path, checkpoint = resolve_model(model, weights)
    return read_config(path, options), checkpoint, path


def classifier_of(cfg: Config, points: bool = False) -> dict:
    """Return the config of the classifier in a model's config: itself, or that in a detector.

    Args:
        cfg: Config.
        points: Whether a classifier of whole clouds, without depth views, is one.

    Raises:
        ValueError: The config is of another model.
    """
    model = cfg.get('model') or {}
    if model.get('type') == DETECTOR:
        return model['classifier']
    if points and model.get('type') == POINT_CLASSIFIER:
        return model
    if not isinstance(model, dict) or 'backbone' not in model or 'zero_shot_head' not in model:
        raise ValueError(f"{cfg.filename or 'the config'} is that of a {model.get('type', 'model without a type')}; "
                         f'give one of an {CLASSIFIER} with a zero_shot_head')
    return model


def keep_text_features(classifier: dict) -> None:
    """Let a classifier that keeps class features on disk keep them in the user's cache, wherever it runs."""
    for head in (classifier.get('zero_shot_head'), classifier.get('color_head')):
        if head and head.get('text_cache_dir'):
            head['text_cache_dir'] = str(cache_folder() / 'text')


def choose_views(classifier: dict, views: str | None) -> None:
    """Set the views that a classifier takes, ``'depth'``, ``'color'`` or ``'both'``; None leaves those of its config.

    Raises:
        ValueError: There are no such views, or the classifier is a point encoder.
    """
    if views is None:
        return
    if views not in get_args(Views):
        raise ValueError(f'views must be one of {", ".join(get_args(Views))}, got {views!r}')
    if classifier.get('type') == POINT_CLASSIFIER:
        raise ValueError(f'a {POINT_CLASSIFIER} takes points, with their colors where it was trained with them: leave '
                         f'out views={views!r}')
    classifier['views'] = views


def set_templates(classifier: dict, templates: str | Path | Sequence[str] | None) -> None:
    """Set the prompt templates of a classifier; see :func:`.prompts.resolve_templates`.

    Args:
        classifier: Config of a classifier, changed in place.
        templates: The templates; None leaves those of the config.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The config has no zero-shot head, or these are no templates.
    """
    if templates is None:
        return
    head = classifier.get('zero_shot_head')
    if not isinstance(head, dict):
        raise ValueError(f'a {classifier.get("type")} without a zero_shot_head in its config has no templates to '
                         'change')
    head['templates'] = list(resolve_templates(templates))


def projection_of(cfg: Config) -> dict:
    """Return the projection of a config: a detector's, or that of its pipeline; without one, the image size decides."""
    if cfg.model.get('type') == DETECTOR:
        return dict(cfg.model.get('projection') or {})
    for step in steps_of_test(cfg, 'ProjectPointsToDepth'):
        return dict(step.get('projection') or {})
    return dict(cfg.get('projection') or {})


def steps_of_test(cfg: Config, kind: str) -> list[dict]:
    """Return the steps of a kind in the pipeline of a config's test, or of its training if it has no test."""
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader') or cfg.get('train_dataloader') or {}
    return [step for step in _steps(loader.get('dataset')) if step.get('type') == kind]


def _steps(node: Any) -> Iterator[dict]:
    """Yield all dicts with a type in a config, in their order."""
    if isinstance(node, dict):
        if 'type' in node:
            yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from _steps(child)


def temperature_of(cfg: Config) -> float:
    """Return the temperature by which a config turns logits into probabilities."""
    if cfg.model.get('type') == DETECTOR:
        return (cfg.model.get('bbox_head') or {}).get('temperature', CLIP_TEMPERATURE)
    classifier = classifier_of(cfg, points=True)
    clip = classifier.get('backbone') or classifier.get('text_encoder') or {}
    return TEMPERATURES.get(clip.get('clip', ''), CLIP_TEMPERATURE)


def detector_config(cfg: Config, path: Path | None, proposals: str | dict | None) -> Config:
    """Return the config of a detector with a classifier.

    Args:
        cfg: Config of a detector, or of a classifier. A classifier becomes a part of the detector in the config of the
            same name with the ending ``_scannet``, if there is one.
        path: File of ``cfg``.
        proposals: ``'clusters'``, ``'3detr'``, the config of a source of proposals, or the path of a config with
            ``model.proposals``. None: those of a detector's config, clusters for a classifier.

    Raises:
        ValueError: ``proposals`` is none of these, or ``cfg`` is that of another model.
    """
    if cfg.model.get('type') != DETECTOR:
        classifier = dict(classifier_of(cfg))
        for key in ('alignment_head', 'compare_pretrained', 'return_embeddings'):
            classifier.pop(key, None)
        head = dict(type='OpenVocabBBoxHead', temperature=temperature_of(cfg))
        model = dict(type=DETECTOR, projection=projection_of(cfg), bbox_head=head)
        companion = path and path.with_name(f'{path.stem}_scannet.py')
        if companion and companion.is_file():
            model = read_config(companion).model.to_dict()
            model['projection'] = projection_of(cfg) or model.get('projection')
        model.update(classifier=classifier, proposals=dict(type='ClusterProposals'))
        cfg = Config(dict(cfg.to_dict(), model=model))
    if proposals is not None:
        cfg.model.proposals = proposal_config(proposals)
    return cfg


def proposal_config(proposals: str | Path | dict) -> dict:
    """Return the config of a source of proposals; see :func:`detector_config`."""
    if isinstance(proposals, dict):
        if 'type' not in proposals:
            raise ValueError(f"proposals={proposals} has no 'type', such as ClusterProposals")
        return dict(proposals)
    if proposals == 'clusters':
        return dict(type='ClusterProposals')
    if proposals == '3detr':
        config, checkpoint = resolve_model('3detr-m-scannet')
        return dict(type='ThreeDETRProposals', config=str(config), checkpoint=None if checkpoint is None
                    else str(checkpoint))
    if Path(proposals).suffix != '.py':
        raise ValueError(f"proposals must be 'clusters', '3detr', a config of proposals or its path, got {proposals!r}")
    found = read_config(proposals).get('model', {}).get('proposals')
    if not found:
        raise ValueError(f'{proposals} has no model.proposals')
    return found.to_dict() if hasattr(found, 'to_dict') else dict(found)
