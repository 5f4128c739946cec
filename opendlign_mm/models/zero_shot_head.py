"""Zero-shot head: class scores of objects from their view features and class features (OpenDlign, section 3.3)."""
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmengine.logging import print_log
from mmengine.model import BaseModule

from .prompts import (
    cached_class_features,
    checked_class_names,
    encode_class_names,
    look_released,
    resolve_templates,
    text_cache_key,
)
from .view_selection import ViewSelection, view_weights
from .zero_shot_model import ViewBranches, full_precision, select_views

REMEMBERED_VOCABULARIES = 16
Aggregation = Literal['softmax_sum', 'sum']


@MODELS.register_module()
class ZeroShotHead(BaseModule):
    """Vocabulary and rule that turn the view features of an object into one score per class.

    Args:
        class_names: Vocabulary; may be set later with :meth:`set_vocabulary`.
        templates: ``'depth'``, ``'imagenet'``, a list of templates with ``{}``, or the path of a JSON file.
        aggregation: ``'softmax_sum'`` (the authors' code): the sum over views of the softmax over classes; the scores
            of an object sum to its number of views. ``'sum'`` (the paper): the sum over views of the plain cosines.
        branches: ``'both'``: views 1..V/2 come from the pretrained branch, the others from the tuned one.
            ``'pretrained'`` or ``'tuned'``: all views come from that branch.
        logit_scale: Factor of the cosines inside the softmax. None: 1, as in the authors' code; a number; or
            ``'clip'``: the CLIP's own, which is passed to :meth:`scores`. ``'sum'`` does not use it.
        text_cache_dir: Folder in which class features are kept from run to run, by the content of the text encoder,
            the vocabulary and the templates. None: they are computed in each run.
        view_selection: None: all views count alike, as in the paper. ``'entropy'``: each counts by the confidence of
            its own prediction, see :func:`.view_weights`. K: the K most confident views of each object count alike
            (MV-CLIP, Song et al., 2023).
        init_cfg: Initialization config of mmengine.

    Raises:
        ValueError: An option, the vocabulary or a template is wrong.
    """

    def __init__(self,
                 class_names: Sequence[str] | None = None,
                 templates: str | Path | Sequence[str] = 'depth',
                 aggregation: Aggregation = 'softmax_sum',
                 branches: ViewBranches = 'both',
                 logit_scale: float | Literal['clip'] | None = None,
                 text_cache_dir: str | Path | None = None,
                 view_selection: ViewSelection | None = None,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if aggregation not in ('softmax_sum', 'sum'):
            raise ValueError(f"aggregation must be 'softmax_sum' or 'sum', got {aggregation!r}")
        if branches not in ('both', 'pretrained', 'tuned'):
            raise ValueError(f"branches must be 'both', 'pretrained' or 'tuned', got {branches!r}")
        if isinstance(logit_scale, str) and logit_scale != 'clip':
            raise ValueError(f"logit_scale must be None, a number or 'clip', got {logit_scale!r}")
        if not (view_selection in (None, 'entropy') or type(view_selection) is int and view_selection >= 1):
            raise ValueError("view_selection must be None, 'entropy' or a number of views >= 1, got "
                             f'{view_selection!r}')
        self.aggregation, self.branches, self.logit_scale = aggregation, branches, logit_scale
        self.view_selection = view_selection
        self.text_cache_dir = text_cache_dir
        self.templates = resolve_templates(templates)
        self.class_names: tuple[str, ...] | None = None
        # Whether the weights are the authors', which they test with templates of their own; see load_checkpoint.
        self.has_released_weights = False
        # Features of the last vocabularies, so that changing to and fro between them costs nothing.
        self._remembered: OrderedDict[tuple, torch.Tensor] = OrderedDict()
        if class_names is not None:
            self.set_vocabulary(class_names)

    @property
    def required_branches(self) -> tuple[str, ...]:
        """The branches of the backbone that the scores are made from."""
        return ('pretrained', 'tuned') if self.branches == 'both' else (self.branches, )

    def set_vocabulary(self, class_names: Sequence[str], templates: str | Path | Sequence[str] | None = None) -> None:
        """Replace the classes and, if given, the templates. The features of the last 16 vocabularies are kept.

        Raises:
            ValueError: The vocabulary is empty, a name occurs twice, or a template has no ``{}``.
        """
        class_names = checked_class_names(class_names)
        if templates is not None:
            self.templates = resolve_templates(templates)
        self.class_names = class_names

    def vocabulary_features(self,
                            encode_text: Callable[[list[str]], torch.Tensor],
                            encoder_key: Callable[[], str | None] = lambda: None,
                            device: torch.device | None = None,
                            check_prompts: Callable[..., None] = lambda *_: None) -> torch.Tensor:
        """Return the features of the vocabulary; they are computed once and kept.

        Args:
            encode_text: Function from a list of M texts to their embeddings (M, D).
            encoder_key: Function that returns a cache key which uniquely identifies the text encoder. It is called
                only where ``text_cache_dir`` is set; if it returns None, the features are not kept on disk.
            device: Device that the features are moved to, once; by default they stay where they were computed.
            check_prompts: Function that is called with names, templates and sentences before these are encoded or read
                from disk, such as :meth:`CLIPDepthBackbone.check_prompts`.

        Returns:
            Float32 (C, D), each row L2-normalized.

        Raises:
            RuntimeError: No vocabulary has been set.
        """
        if self.class_names is None:
            raise RuntimeError("no vocabulary: give the zero-shot head 'class_names' in the config or call "
                               'set_vocabulary([...]) first')
        names, templates = self.class_names, self.templates
        features = self._remembered.pop((names, templates), None)
        if features is None:
            self._warn_of_other_templates()
            check_prompts(names, templates, self._sentences_of(names))
            encoder = None if self.text_cache_dir is None else encoder_key()
            if self.text_cache_dir is None or encoder is None:
                features = self._encode_vocabulary(encode_text, names)
            else:
                features = cached_class_features(self.text_cache_dir, self._cache_key(encoder, names),
                                                 lambda: self._encode_vocabulary(encode_text, names))
        self._remembered[names, templates] = features = features if device is None else features.to(device)
        while len(self._remembered) > REMEMBERED_VOCABULARIES:
            self._remembered.popitem(last=False)
        return features

    def _warn_of_other_templates(self) -> None:
        """Warn, once, that released weights are used with other prompts than the authors'."""
        if self.has_released_weights and not look_released(self.templates):
            self.has_released_weights = False
            print_log('this checkpoint was converted from the release of OpenDlign, whose accuracies are those of the '
                      f"authors' 80 prompts, but the classes are written in {len(self.templates)} other(s), such as "
                      f'{self.templates[0]!r}. Give their templates.json: --templates FILE, or templates= of the '
                      'zero-shot head', 'current', logging.WARNING)

    def _sentences_of(self, names: Sequence[str]) -> Sequence[str]:
        """Return the prompts of the vocabulary that are not templates."""
        return ()

    def _encode_vocabulary(self, encode_text: Callable[[list[str]], torch.Tensor], names: Sequence[str]
                           ) -> torch.Tensor:
        return encode_class_names(encode_text, names, self.templates)

    def _cache_key(self, encoder: str, names: Sequence[str]) -> str:
        return text_cache_key(encoder, names, self.templates)

    def forget_vocabulary_features(self) -> None:
        """Forget the features of all vocabularies: to be called when the text encoder changes."""
        self._remembered.clear()

    def view_cosines(self,
                     class_features: torch.Tensor,
                     pretrained: torch.Tensor | None = None,
                     tuned: torch.Tensor | None = None,
                     branches: ViewBranches | None = None) -> torch.Tensor:
        """Compute the cosine of each view with each class.

        Args:
            class_features: Float (C, D), of any length and on any device.
            pretrained: View features (B, V, D) of the pretrained branch, where it is used.
            tuned: View features (B, V, D) of the tuned branch, where it is used.
            branches: Replacement of the head's ``branches``.

        Returns:
            Float32 (B, V, C) in [-1, 1], on the device of the view features.
        """
        views = select_views(pretrained, tuned, branches or self.branches)
        with full_precision(views):
            classes = F.normalize(class_features.to(views.device).float(), dim=-1)
            return F.normalize(views.float(), dim=-1) @ classes.t()

    def scores(self,
               class_features: torch.Tensor,
               pretrained: torch.Tensor | None = None,
               tuned: torch.Tensor | None = None,
               branches: ViewBranches | None = None,
               clip_logit_scale: torch.Tensor | float | None = None) -> torch.Tensor:
        """Compute the scores of B objects by the head's ``aggregation``.

        Args:
            class_features: Float (C, D).
            pretrained: View features (B, V, D) of the pretrained branch, where it is used.
            tuned: View features (B, V, D) of the tuned branch, where it is used.
            branches: Replacement of the head's ``branches``.
            clip_logit_scale: CLIP's factor exp(s), for ``logit_scale='clip'``.

        Returns:
            Float32 (B, C); higher is better.

        Raises:
            ValueError: Features of a branch are missing or have another shape, or ``clip_logit_scale`` is missing.
        """
        cosines = self.view_cosines(class_features, pretrained, tuned, branches)
        with full_precision(cosines):
            values = cosines if self.aggregation == 'sum' else (self.factor(clip_logit_scale) * cosines).softmax(dim=-1)
            weights = self.view_weights_of(cosines, clip_logit_scale)
            return values.sum(dim=1) if weights is None else (weights[..., None] * values).sum(dim=1)

    def class_logits(self,
                     class_features: torch.Tensor,
                     pretrained: torch.Tensor | None = None,
                     tuned: torch.Tensor | None = None,
                     clip_logit_scale: torch.Tensor | float | None = None) -> torch.Tensor:
        """Compute logits of the classes, whose softmax with a temperature gives class probabilities.

        With ``aggregation='sum'`` they are the mean over views of the cosines; with ``'softmax_sum'`` the logarithm of
        the mean over views of the softmax over classes. Unlike scores they do not depend on the number of views.

        Args:
            class_features: Float (C, D).
            pretrained: View features (B, V, D) of the pretrained branch, where it is used.
            tuned: View features (B, V, D) of the tuned branch, where it is used.
            clip_logit_scale: CLIP's factor exp(s), for ``logit_scale='clip'``.

        Returns:
            Float32 (B, C).
        """
        cosines = self.view_cosines(class_features, pretrained, tuned)
        with full_precision(cosines):
            weights = self.view_weights_of(cosines, clip_logit_scale)
            if self.aggregation == 'sum':
                return cosines.mean(dim=1) if weights is None else (weights[..., None] * cosines).mean(dim=1)
            logarithms = (self.factor(clip_logit_scale) * cosines).log_softmax(dim=-1)
            if weights is not None:
                logarithms = logarithms + weights.log()[..., None]
            return logarithms.logsumexp(dim=1) - math.log(cosines.shape[1])

    def view_weights_of(self, cosines: torch.Tensor, clip_logit_scale: torch.Tensor | float | None
                        ) -> torch.Tensor | None:
        """Return the weight of each view, see :func:`.view_weights`; None where all count alike."""
        if self.view_selection is None:
            return None
        return view_weights(cosines, self.view_selection, clip_logit_scale)

    def factor(self, clip_logit_scale: torch.Tensor | float | None) -> float:
        """Return the factor of the cosines that ``logit_scale`` stands for.

        Raises:
            ValueError: It is the CLIP's, which was not passed.
        """
        if self.logit_scale is None:
            return 1.
        if self.logit_scale != 'clip':
            return float(self.logit_scale)
        if clip_logit_scale is None:
            raise ValueError("logit_scale='clip' needs clip_logit_scale, the factor of the CLIP in use")
        return float(clip_logit_scale)
