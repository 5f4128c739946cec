"""Randomness that depends on the seed and the epoch only, so that a resumed run repeats an uninterrupted one."""
import random

import numpy as np
import torch
from mmdet3d.registry import HOOKS
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed every random generator at the start of an epoch from (seed, epoch, rank).

    mmengine stores the seed in a checkpoint but not where the generators stand, gives every epoch's data workers the
    same seed (so that each epoch repeats the augmentations of the first), and builds the sampler before the seed of the
    checkpoint is known. With this hook a run that resumes from the checkpoint of any epoch has the same batches,
    augmentations and losses as the run without the interruption, with any number of data workers; and no two epochs
    are alike.

    A checkpoint from within an epoch resumes at that epoch's start; that is mmengine's epoch loop. Persistent workers
    keep their own generators, so exactness needs ``persistent_workers=False``; the hook warns where it is not.
    """

    def before_train(self, runner: Runner) -> None:
        """Give the sampler the seed of the checkpoint, which is known by now, and warn of persistent workers."""
        loader = runner.train_dataloader
        sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
        if hasattr(sampler, 'seed') and not runner._randomness_cfg.get('diff_rank_seed', False):
            sampler.seed = runner.seed
        if loader.num_workers and loader.persistent_workers:
            runner.logger.warning('train_dataloader has persistent_workers=True: a resumed run will draw other '
                                  'augmentations than an uninterrupted one; set persistent_workers=False')

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed this process, from which the data workers of the epoch are seeded in turn."""
        words = np.random.SeedSequence([runner.seed, runner.epoch, get_rank()]).generate_state(1)
        seed_all(int(words[0]))
        if runner.train_dataloader.num_workers:
            runner.train_dataloader.worker_init_fn = seed_worker


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators (CPU and every GPU) with ``seed`` in [0, 2**32)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seed_worker(worker_id: int) -> None:
    """Seed a data worker from PyTorch's own seed for it: drawn from the parent process, another one for each worker."""
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
