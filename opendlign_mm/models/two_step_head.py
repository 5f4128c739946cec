"""Zero-shot head of two steps: templates propose a few classes, sentences about these decide (MV-CLIP)."""
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from mmdet3d.registry import MODELS

from .class_sentences import all_sentences, encode_sentences, resolve_sentences, sentences_of
from .prompts import encode_class_names
from .zero_shot_head import ZeroShotHead
from .zero_shot_model import ViewBranches


@MODELS.register_module()
class TwoStepHead(ZeroShotHead):
    """Zero-shot head whose best classes by templates are ranked again by sentences of each class.

    The first step is that of :class:`ZeroShotHead`. In the second its best ``num_candidates`` classes get the logits by
    their sentences; all others keep their distance below the weakest candidate (hierarchical prompts of MV-CLIP, Song
    et al., 2023). Class features are (C, 2 D), those of both steps.

    Args:
        sentences: Sentences per class in the format of PointCLIP V2: class name -> sentence or list of sentences; or a
            JSON file of such a dict. Classes without sentences take the templates.
        num_candidates: Number of classes that the first step leaves.
        kwargs: Arguments of :class:`ZeroShotHead`.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: There are no sentences, ``num_candidates`` < 1, or another option is wrong.
    """

    def __init__(self, sentences: Mapping[str, str | Sequence[str]] | str | Path, num_candidates: int = 5, **kwargs
                 ) -> None:
        self.sentences = resolve_sentences(sentences)
        if not self.sentences:
            raise ValueError('the second step needs sentences: a dict class name -> sentences, or its JSON file')
        if num_candidates < 1:
            raise ValueError(f'num_candidates must be at least 1, got {num_candidates}')
        self.num_candidates = num_candidates
        super().__init__(**kwargs)

    def scores(self, class_features: torch.Tensor, pretrained: torch.Tensor | None = None,
               tuned: torch.Tensor | None = None, branches: ViewBranches | None = None,
               clip_logit_scale: torch.Tensor | float | None = None) -> torch.Tensor:
        """Compute scores (B, C) that rank as :meth:`class_logits`; arguments of :meth:`ZeroShotHead.scores`."""
        first, second = (super(TwoStepHead, self).scores(features, pretrained, tuned, branches, clip_logit_scale)
                         for features in class_features.chunk(2, dim=-1))
        if self.aggregation == 'sum':
            return self.ranked_again(first, second)
        return self.ranked_again(first.log(), second.log()).exp()

    def class_logits(self, class_features: torch.Tensor, pretrained: torch.Tensor | None = None,
                     tuned: torch.Tensor | None = None, clip_logit_scale: torch.Tensor | float | None = None
                     ) -> torch.Tensor:
        """Compute logits (B, C) of the classes; arguments of :meth:`ZeroShotHead.class_logits`."""
        first, second = (super(TwoStepHead, self).class_logits(features, pretrained, tuned, clip_logit_scale)
                         for features in class_features.chunk(2, dim=-1))
        return self.ranked_again(first, second)

    def ranked_again(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, C) of both steps as one: of the candidates the second ones, the others below them."""
        best = first.topk(min(self.num_candidates, first.shape[1]), dim=1)
        own = second.gather(1, best.indices)
        below = own.amin(1, keepdim=True) - best.values[:, -1:] + first
        return below.scatter(1, best.indices, own)

    def _sentences_of(self, names: Sequence[str]) -> Sequence[str]:
        return all_sentences(self.sentences, names)

    def _encode_vocabulary(self, encode_text: Callable[[list[str]], torch.Tensor], names: Sequence[str]
                           ) -> torch.Tensor:
        features = encode_class_names(encode_text, names, self.templates)
        return torch.cat([features, encode_sentences(encode_text, names, self.sentences, features)], dim=-1)

    def _cache_key(self, encoder: str, names: Sequence[str]) -> str:
        return json.dumps(['two steps', super()._cache_key(encoder, names), sentences_of(self.sentences, names)],
                          sort_keys=True)
