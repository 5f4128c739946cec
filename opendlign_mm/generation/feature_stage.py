"""The feature stage: encode generated images with a model's frozen branch, once for all epochs."""
from pathlib import Path

import torch

from ..datasets.store import ShapeStore
from ..datasets.store.image_features import ImageFeatures
from ..models import OpenDlign
from .processes import on_first_process, only_run, own_share, progress, say


def encode_images(model: OpenDlign, store: ShapeStore, out_dir: str | Path) -> None:
    """Run this process's part of the feature stage: write a file of features for each shard that has none yet.

    Args:
        model: The model, in evaluation mode.
        store: A finished store of images.
        out_dir: Folder of the features.

    Raises:
        FileNotFoundError: Shards are missing.
        ValueError: Shards are damaged, or ``out_dir`` has the features of another model.
    """
    out_dir = Path(out_dir)
    identity = model.backbone.pretrained_branch_identity()
    device = model.backbone.logit_scale.device

    def stored_ids(shard: int) -> list[str]:
        return [row['sample_id'] for row in store.rows(shard) if not row['problem']]

    with only_run(out_dir):
        features = on_first_process(lambda: ImageFeatures.create(out_dir, identity))
        shards = on_first_process(lambda: [shard for shard in range(store.num_shards)
                                           if not features.is_done(shard, stored_ids(shard))])
        say(f'{len(shards)} of {store.num_shards} shards are to be encoded')
        for shard in progress(own_share(shards), desc='features', unit='shard'):
            encoded = {}
            for shape in store.read(shard):
                images = torch.from_numpy(shape.images()).to(device).permute(0, 3, 1, 2).float() / 255
                with torch.no_grad():
                    encoded[shape.sample_id] = model.encode_views(images[None], 'pretrained')[0].cpu().numpy()
            if list(encoded) != stored_ids(shard):
                raise ValueError(f'{store.shard_path(shard)} is damaged or truncated; run tools/generate_images.py '
                                 'again')
            features.write(shard, encoded)
