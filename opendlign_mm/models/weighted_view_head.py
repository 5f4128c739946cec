"""Zero-shot head of PointCLIP and PointCLIP V2: weights of the views, and sentences of each class."""
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from mmdet3d.registry import MODELS

from .class_sentences import all_sentences, content_of, encode_sentences, resolve_sentences, sentences_of
from .prompts import encode_class_names
from .zero_shot_head import ZeroShotHead
from .zero_shot_model import ViewBranches, full_precision

# Weights in the released code of PointCLIP V2, by dataset and CLIP, in the order of RealisticProjection's own views.
VIEW_WEIGHTS = dict(
    modelnet40_rn50=(.75, .75, .75, .75, .25, .5, 1., 1., .25, .25),
    modelnet40_rn101=(.75, .75, .75, .25, .5, 1., .75, .25, .25, .25),
    modelnet40_vit_b16=(.75, .75, .75, .25, .75, 1., .25, 1., .75, .25),
    modelnet40_vit_b32=(.75, .75, .75, .75, .25, .5, .5, .75, .5, .5),
    scanobjectnn_rn50=(.75, .75, .75, 1., 1., 1., 1., 1., .25, .25),
    scanobjectnn_rn101=(.5, .5, .5, .75, .5, 1., 1., .75, .25, .25),
    scanobjectnn_vit_b16=(.75, .75, .75, .5, .5, 1., .75, 1., .25, .25),
    scanobjectnn_vit_b32=(.75, .75, .75, .5, .75, .75, .5, 1., .5, .75))


@MODELS.register_module()
class WeightedViewHead(ZeroShotHead):
    """Zero-shot head whose scores are weighted sums of the cosines of the views.

    As in PointCLIP the text feature stands once for each of V views and is normalized as a whole, so that the score of
    a class is s / sqrt(V) times the sum over views of weight times cosine, with CLIP's logit scale s.

    Args:
        class_names: Vocabulary; may be set later with :meth:`set_vocabulary`.
        templates: As in :class:`ZeroShotHead`.
        view_weights: One weight per view; the name of a published set in ``VIEW_WEIGHTS``; the JSON file of
            ``tools/search_prompts.py``; or None, weight 1 for all views.
        sentences: Sentences per class, as PointCLIP V2 has a large language model write: class name -> sentence or
            list of sentences, whose normalized mean is used; or a JSON file of such a dict, or that of
            ``tools/search_prompts.py``. Classes without sentences take the templates.
        branches: As in :class:`ZeroShotHead`.
        logit_scale: ``'clip'`` or a number.
        text_cache_dir: As in :class:`ZeroShotHead`.
        init_cfg: Initialization config of mmengine.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: An option, the weights, the sentences, the vocabulary or a template is wrong.
    """

    def __init__(self,
                 class_names: Sequence[str] | None = None,
                 templates: str | Path | Sequence[str] = 'point cloud depth map of a {}.',
                 view_weights: Sequence[float] | str | Path | None = None,
                 sentences: Mapping[str, str | Sequence[str]] | str | Path | None = None,
                 branches: ViewBranches = 'pretrained',
                 logit_scale: float | Literal['clip'] = 'clip',
                 text_cache_dir: str | Path | None = None,
                 init_cfg: dict | None = None) -> None:
        self.sentences = resolve_sentences(sentences)
        super().__init__(class_names, templates, 'sum', branches, logit_scale, text_cache_dir,
                         init_cfg=init_cfg)
        self.view_weights = resolve_view_weights(view_weights)

    def weigh_views(self, products: torch.Tensor) -> torch.Tensor:
        """Add up the products of view and class features (B, V, C) to (B, C): weighted, divided by sqrt(V).

        Raises:
            ValueError: There is another number of views than of weights.
        """
        num_views = products.shape[1]
        if self.view_weights is None:
            return products.sum(1) / math.sqrt(num_views)
        if len(self.view_weights) != num_views:
            raise ValueError(f'view_weights has {len(self.view_weights)} weights, the objects have {num_views} views; '
                             'they belong to the views of one projection')
        with full_precision(products):
            weights = products.new_tensor(self.view_weights)
            return (products * weights[:, None]).sum(1) / math.sqrt(num_views)

    def scores(self, class_features: torch.Tensor, pretrained: torch.Tensor | None = None,
               tuned: torch.Tensor | None = None, branches: ViewBranches | None = None,
               clip_logit_scale: torch.Tensor | float | None = None) -> torch.Tensor:
        """Compute the scores of B objects; arguments and result as in :meth:`ZeroShotHead.scores`."""
        cosines = self.view_cosines(class_features, pretrained, tuned, branches)
        return self.factor(clip_logit_scale) * self.weigh_views(cosines)

    def class_logits(self, class_features: torch.Tensor, pretrained: torch.Tensor | None = None,
                     tuned: torch.Tensor | None = None, clip_logit_scale: torch.Tensor | float | None = None
                     ) -> torch.Tensor:
        """Compute the scores without the logit scale, whose place the temperature of a detection head takes."""
        return self.weigh_views(self.view_cosines(class_features, pretrained, tuned))

    def _sentences_of(self, names: Sequence[str]) -> Sequence[str]:
        return all_sentences(self.sentences, names)

    def _encode_vocabulary(self, encode_text: Callable[[list[str]], torch.Tensor], names: Sequence[str]
                           ) -> torch.Tensor:
        features = encode_class_names(encode_text, names, self.templates)
        return encode_sentences(encode_text, names, self.sentences, features)

    def _cache_key(self, encoder: str, names: Sequence[str]) -> str:
        key = super()._cache_key(encoder, names)
        own = sentences_of(self.sentences, names)
        return json.dumps([key, own], sort_keys=True) if own else key


def resolve_view_weights(view_weights: Sequence[float] | str | Path | None) -> tuple[float, ...] | None:
    """Return the weights that an option of :class:`WeightedViewHead` stands for.

    Raises:
        FileNotFoundError: It is the name of a file that does not exist.
        ValueError: It is an unknown name, or the weights are not numbers >= 0 of which one is positive.
    """
    if view_weights is None:
        return None
    values: Any = view_weights
    if isinstance(view_weights, (str, Path)):
        values = VIEW_WEIGHTS.get(str(view_weights))
        if values is None and not str(view_weights).endswith('.json'):
            raise ValueError(f'there are no view weights {str(view_weights)!r}; choose one of '
                             f'{", ".join(VIEW_WEIGHTS)}, give a list of numbers or a JSON file')
        if values is None:
            content = content_of(view_weights)
            values = content.get('view_weights') if isinstance(content, dict) else content
    try:
        weights = tuple(float(value) for value in values)
        is_usable = all(0 <= weight < float('inf') for weight in weights) and sum(weights) > 0
    except (TypeError, ValueError):
        is_usable = False
    if not is_usable:
        raise ValueError(f'view_weights must be finite numbers >= 0, not all 0, got {values!r} '
                         f'({view_weights!r})')
    return weights
