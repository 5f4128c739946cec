"""Features of captions by a frozen text tower, each computed once."""
import hashlib
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F


class CaptionFeatures:
    """Features of captions, kept by their text.

    Each caption is encoded in a pass of its own: its feature does not depend on the others of a batch, so that a
    resumed run and any number of processes have the same features to the last bit.

    Args:
        most: Number of captions to keep; all are forgotten when there are more. 50,000 take 200 MB with ViT-H.

    Raises:
        ValueError: ``most`` < 1.
    """

    def __init__(self, most: int = 50_000) -> None:
        if most < 1:
            raise ValueError(f'most must be >= 1, got {most}')
        self.most = most
        self._known: dict[str, torch.Tensor] = {}
        self._has_warned = False

    def __call__(self, captions: Sequence[str], encode_text: Callable[[list[str]], torch.Tensor],
                 device: torch.device | str, warn_of_long: Callable[[list[str]], bool] = lambda _: False
                 ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode captions.

        Args:
            captions: B captions.
            encode_text: Function from a list of M texts to their embeddings (M, D).
            device: Device of the result.
            warn_of_long: Function that warns of captions that are cut off and returns whether there are any; it is
                called with new captions until there are.

        Returns:
            Float32 (B, D), L2-normalized, and int64 (B,): a number for each caption, the same for the same caption in
            all processes and runs.
        """
        new = [caption for caption in dict.fromkeys(captions) if caption not in self._known]
        if new and not self._has_warned:
            self._has_warned = warn_of_long(new)
        features = {}
        for caption in dict.fromkeys(captions):
            if caption not in self._known:
                if len(self._known) >= self.most:
                    self.forget()
                self._known[caption] = F.normalize(encode_text([caption]).float(), dim=-1)[0]
            features[caption] = self._known[caption].to(device)
        numbers = [number_of(caption) for caption in captions]
        return torch.stack([features[caption] for caption in captions]), torch.tensor(numbers, device=device)

    def forget(self) -> None:
        """Forget all features, as the text tower has other weights now."""
        self._known.clear()


def number_of(caption: str) -> int:
    """Return the first 64 bits of the SHA-256 of a caption, as a signed integer."""
    return int.from_bytes(hashlib.sha256(caption.encode(errors='surrogatepass')).digest()[:8], 'big', signed=True)
