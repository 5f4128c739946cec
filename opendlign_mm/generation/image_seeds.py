"""Seeds of generated images."""
import hashlib
import json


def image_seed(sample_id: str, view: int, run_seed: int = 0) -> int:
    """The seed of one image, in [0, 2**63): the same wherever, whenever and beside whatever it is made.

    Args:
        sample_id: Of the object.
        view: Index of the view.
        run_seed: Another one gives other images.
    """
    digest = hashlib.sha256(json.dumps([sample_id, view, run_seed]).encode()).digest()
    return int.from_bytes(digest[:8], 'big') >> 1
