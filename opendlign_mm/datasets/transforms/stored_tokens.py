"""Load stored tokens in the place of depth views and images."""
from mmcv.transforms import BaseTransform

from ..stored_tokens import StoredTokens


class LoadStoredTokens(BaseTransform):
    """Transform that takes the place of those that make depth views and images; ``StoredTokensHook`` puts it there.

    Required keys:
        sample_id: Unique name of the object.

    Added keys:
        depth_tokens, depth_pretrained, image_features: Tensors, see :class:`StoredTokens`.

    Args:
        store: Indexed tokens of the training set.

    Raises:
        ValueError: The object has no tokens; the message has the reason.
    """

    def __init__(self, store: StoredTokens) -> None:
        self.store = store

    def transform(self, results: dict) -> dict:
        """Add the stored entries to ``results``."""
        results.update(self.store.of(results['sample_id']))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(root={str(self.store.root)!r})'
