"""Class scores from view features and prompts (OpenDlign, section 3.3)."""
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule

from .components import full_precision
from .prompts import cached_class_features, checked_class_names, class_features, resolve_templates, text_cache_key


@MODELS.register_module()
class ZeroShotHead(BaseModule):
    """Compares each view with the features of all classes and aggregates over the views.

    Args:
        class_names: The vocabulary; may be set later with :meth:`set_vocabulary`.
        templates: ``'depth'``, ``'imagenet'``, a list of templates with ``{}``, or the path of a JSON file.
        template_set: The key of ``templates`` if it is a JSON file of several sets.
        aggregation: ``'softmax_sum'`` (release): sum over views of softmax over classes; scores sum to the number
            of views. ``'sum'`` (paper): sum over views of the plain cosines.
        branches: ``'both'``: views 1..V/2 are taken from the pretrained branch, the others from the tuned one.
            ``'pretrained'`` or ``'tuned'``: all views from that branch.
        logit_scale: Factor of the cosines inside the softmax. None: 1, as released; a number; or ``'clip'``: CLIP's
            own, passed to :meth:`scores`. ``'sum'`` does not use it.
        text_cache_dir: Folder in which class features are kept from run to run, by the content of the text encoder,
            the vocabulary and the templates; None computes them in each run.
        init_cfg: mmengine initialization config.
    """

    def __init__(self,
                 class_names: Sequence[str] | None = None,
                 templates: str | Path | Sequence[str] = 'depth',
                 template_set: str | None = None,
                 aggregation: str = 'softmax_sum',
                 branches: str = 'both',
                 logit_scale: None | float | str = None,
                 text_cache_dir: None | str | Path = None,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if aggregation not in ('softmax_sum', 'sum'):
            raise ValueError(f"aggregation must be 'softmax_sum' or 'sum', got {aggregation!r}")
        if branches not in ('both', 'pretrained', 'tuned'):
            raise ValueError(f"branches must be 'both', 'pretrained' or 'tuned', got {branches!r}")
        if isinstance(logit_scale, str) and logit_scale != 'clip':
            raise ValueError(f"logit_scale must be None, a number or 'clip', got {logit_scale!r}")
        self.aggregation, self.branches, self.logit_scale = aggregation, branches, logit_scale
        self.text_cache_dir = text_cache_dir
        self.templates = resolve_templates(templates, template_set)
        self.class_names: tuple[str, ...] | None = None
        self._class_features: torch.Tensor | None = None
        if class_names is not None:
            self.set_vocabulary(class_names)

    @property
    def required_branches(self) -> tuple[str, ...]:
        return ('pretrained', 'tuned') if self.branches == 'both' else (self.branches, )

    def set_vocabulary(self, class_names: Sequence[str], templates: None | str | Sequence[str] = None) -> None:
        """Replace the classes and, if given, the templates.

        Raises:
            ValueError: empty vocabulary, a name twice, or a template without ``{}``.
        """
        class_names = checked_class_names(class_names)
        if templates is not None:
            self.templates = resolve_templates(templates)
        self.class_names = class_names
        self.forget_class_features()

    def forget_class_features(self) -> None:
        """To be called when the text encoder changes."""
        self._class_features = None

    def class_features(self, encode_text: Callable[[list[str]], torch.Tensor],
                       encoder_key: Callable[[], str | None] = lambda: None) -> torch.Tensor:
        """Features of the vocabulary, computed once.

        Args:
            encode_text: list of M texts -> (M, D).
            encoder_key: Gives the text that tells this encoder from all others, for ``text_cache_dir``; called only
                where it is needed. None: the features are not kept on disk.

        Returns:
            float32 (C, D), L2-normalized.

        Raises:
            RuntimeError: no vocabulary has been set.
        """
        if self.class_names is None:
            raise RuntimeError("No vocabulary: give the zero-shot head 'class_names' in the config or call "
                               'set_vocabulary([...]) first.')
        if self._class_features is None:

            def compute() -> torch.Tensor:
                return class_features(encode_text, self.class_names, self.templates)

            encoder = None if self.text_cache_dir is None else encoder_key()
            self._class_features = compute() if encoder is None else cached_class_features(
                self.text_cache_dir, text_cache_key(encoder, self.class_names, self.templates), compute)
        return self._class_features

    def scores(self,
               pretrained: torch.Tensor | None = None,
               tuned: torch.Tensor | None = None,
               features_of_classes: torch.Tensor | None = None,
               branches: str | None = None,
               clip_logit_scale: torch.Tensor | None = None) -> torch.Tensor:
        """Aggregated scores of B objects.

        Args:
            pretrained: (B, V, D) view features of the pretrained branch, where it is used.
            tuned: (B, V, D) of the tuned branch, where it is used.
            features_of_classes: (C, D); those of the last :meth:`class_features` by default.
            branches: Overrides the head's ``branches``.
            clip_logit_scale: CLIP's factor exp(s), for ``logit_scale='clip'``.

        Returns:
            float32 (B, C); higher is better.
        """
        branches = branches or self.branches
        classes = self._class_features if features_of_classes is None else features_of_classes
        if classes is None:
            raise RuntimeError('No class features: call class_features(encode_text) first or pass them.')
        views = select_views(pretrained, tuned, branches)
        with full_precision(views):
            cosines = F.normalize(views.float(), dim=-1) @ F.normalize(classes.to(views.device).float(), dim=-1).t()
            if self.aggregation == 'sum':
                return cosines.sum(dim=1)
            return (self._factor(clip_logit_scale) * cosines).softmax(dim=-1).sum(dim=1)

    def _factor(self, clip_logit_scale: torch.Tensor | None) -> float | torch.Tensor:
        if self.logit_scale != 'clip':
            return 1. if self.logit_scale is None else float(self.logit_scale)
        if clip_logit_scale is None:
            raise ValueError("logit_scale='clip' needs clip_logit_scale, the factor of the CLIP in use")
        return float(clip_logit_scale)


def select_views(pretrained: torch.Tensor | None, tuned: torch.Tensor | None, branches: str) -> torch.Tensor:
    """Take each view (B, V, D) from the branch it is meant for; with ``'both'`` half of the views from each."""
    given = dict(pretrained=pretrained, tuned=tuned)
    needed = ('pretrained', 'tuned') if branches == 'both' else (branches, )
    for name in needed:
        if given.get(name) is None:
            raise ValueError(f'branches={branches!r} needs the features of the {name!r} branch')
        if given[name].ndim != 3:
            raise ValueError(f'{name} features must have shape (B, V, D), got {tuple(given[name].shape)}')
    if branches != 'both':
        return given[branches]
    if pretrained.shape != tuned.shape:
        raise ValueError(f'both branches must have one shape, got {tuple(pretrained.shape)} and {tuple(tuned.shape)}')
    half = pretrained.shape[1] // 2
    return torch.cat([pretrained[:, :half], tuned[:, half:]], dim=1)
