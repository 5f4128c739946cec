"""Hooks: reproducible seeds, checks of checkpoints, saved results, and the vocabulary of the dataset."""
import random

import numpy as np
import torch
from mmdet3d.registry import HOOKS
from mmengine.dist import get_rank, master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..datasets.scannet_classes import vocabulary_of
from ..evaluation.results import RESULTS_NAME, results_folder, save_results
from ..models.trained_state import require_clip_checkpoint


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


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Stop with an error where mmengine would only warn that a checkpoint has no entry for the model.

    The model of the run has to contain a ``CLIPDepthBackbone``. That backbone itself refuses a checkpoint of another
    CLIP; this hook refuses one that was not made for such a model at all.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the entries of ``checkpoint`` before the model takes its weights from it."""
        require_clip_checkpoint(checkpoint, str(runner._load_from))


@HOOKS.register_module()
class SaveResultsHook(Hook):
    """Write ``results/results.json`` beside the log file of a test: benchmark, model, CLIP, checkpoint and metrics.

    Args:
        benchmark: Name of the benchmark. Default: ``benchmark`` in the meta information of the test set, or the
            name of its class.
        model: Name of the model. Default: ``OpenDlign`` or what else the config's model is called.
    """

    def __init__(self, benchmark: str | None = None, model: str | None = None) -> None:
        self.benchmark, self.model = benchmark, model

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the file; without metrics or log file there is none."""
        folder = results_folder()
        if not metrics or folder is None:
            return
        dataset = runner.test_dataloader.dataset
        about = getattr(dataset, 'metainfo', {})
        clips = [module.clip_name for module in runner.model.modules() if hasattr(module, 'clip_name')]
        path = save_results(
            folder / RESULTS_NAME,
            benchmark=self.benchmark or about.get('benchmark') or type(getattr(dataset, 'dataset', dataset)).__name__,
            model=self.model or type(getattr(runner.model, 'module', runner.model)).__name__,
            clip=clips[0] if clips else None,
            checkpoint=runner._load_from,
            metrics=metrics)
        runner.logger.info(f'Results: {path}')


@HOOKS.register_module()
class VocabularyFromDatasetHook(Hook):
    """Before validation and test, sets the model's vocabulary to the classes of the dataset.

    Labels then mean the same to the model, the annotations and the metrics, whichever dataset a config is pointed at:
    to ``OpenDlign`` for single objects as to ``OpenVocabDetector3D`` for rooms. A dataset without classes leaves the
    vocabulary as it is.

    Args:
        wording (dict, optional): see :func:`vocabulary_of`.
    """

    def __init__(self, wording: dict[str, str] | None = None) -> None:
        self.wording = wording

    def before_val_epoch(self, runner: Runner) -> None:
        """Set the vocabulary for validation."""
        self._set_vocabulary(runner, runner.val_dataloader)

    def before_test_epoch(self, runner: Runner) -> None:
        """Set the vocabulary for the test."""
        self._set_vocabulary(runner, runner.test_dataloader)

    def _set_vocabulary(self, runner: Runner, dataloader) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        classes = dataloader.dataset.metainfo.get('classes')
        if classes:
            model.set_vocabulary(vocabulary_of(classes, self.wording))
