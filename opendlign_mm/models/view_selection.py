"""Which views of an object count: weights by the confidence of the prediction of each."""
from typing import Literal

import torch

ViewSelection = Literal['entropy'] | int


def view_weights(cosines: torch.Tensor, view_selection: ViewSelection, clip_logit_scale: torch.Tensor | float | None
                 ) -> torch.Tensor:
    """Compute the weight of each view.

    The entropy H of a view is that of the softmax over classes with CLIP's own scale (MV-CLIP, Song et al., 2023).

    Args:
        cosines: Float (B, V, C), of each view with each class.
        view_selection: ``'entropy'``: weights are proportional to exp(-H), one over the number of classes that the view
            hesitates between. K: 1 for the K smallest H of an object, 0 for the others.
        clip_logit_scale: CLIP's factor exp(s).

    Returns:
        Float (B, V), of mean 1 over the views of an object.

    Raises:
        ValueError: ``clip_logit_scale`` is missing, or objects have fewer than K views.
    """
    if clip_logit_scale is None:
        raise ValueError(f'view_selection={view_selection!r} needs clip_logit_scale, the factor of the CLIP')
    num_views = cosines.shape[1]
    logarithms = (float(clip_logit_scale) * cosines).log_softmax(dim=-1)
    entropy = -(logarithms.exp() * logarithms).sum(dim=-1)
    if view_selection == 'entropy':
        return (-entropy).softmax(dim=1) * num_views
    if view_selection > num_views:
        raise ValueError(f'view_selection={view_selection}, but objects have {num_views} views')
    chosen = entropy.argsort(dim=1, stable=True)[:, :view_selection]
    return torch.zeros_like(entropy).scatter_(1, chosen, 1.) * (num_views / view_selection)
