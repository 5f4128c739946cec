"""Hooks of the Runner: reproducible seeds, checked checkpoints, saved results, and the dataset's vocabulary."""
import random
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import HOOKS
from mmengine.dist import get_rank, master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from ..datasets.class_names import vocabulary_of
from ..evaluation.results import RESULTS_NAME, results_folder, save_results
from ..file_keys import file_key
from ..models.checkpoints import load_checkpoint
from ..models.trained_state import needs_clip_checkpoint, require_clip_checkpoint


def runner_model(runner: Runner) -> nn.Module:
    """Return the model of a Runner without the wrapper of distributed training."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def check_image_features(runner: Runner) -> None:
    """Raise RuntimeError if the training set gives image features of another CLIP than the model's."""
    made_by = getattr(runner.train_dataloader.dataset, 'metainfo', {}).get('image_features_clip')
    model = runner_model(runner)
    if made_by is None or getattr(model, 'text_encoder', model) is None:
        return  # a point encoder that is trained on stored features alone has no CLIP to compare with
    if made_by != (own := model.clip_backbone.pretrained_branch_identity()):
        raise RuntimeError(f'the image features of the training set are of {made_by}, the model is {own}; run '
                           'tools/encode_images.py with its config')


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Hook that seeds all random generators at the start of each epoch from (seed, epoch, rank).

    mmengine stores the seed in a checkpoint but not the state of the generators, gives the data workers of each epoch
    the same seed (so that each epoch repeats the augmentations of the first), and builds the sampler before the seed of
    the checkpoint is known. With this hook a run that resumes from the checkpoint of an epoch has the same batches,
    augmentations and losses as an uninterrupted run, for any number of data workers; and no two epochs are alike.

    A checkpoint from within an epoch resumes at the start of that epoch, as always with mmengine's epoch loop.
    Persistent workers keep their own generators, so exactness needs ``persistent_workers=False``; the hook warns
    otherwise.
    """

    def before_train(self, runner: Runner) -> None:
        """Give the sampler the seed of the checkpoint and warn of persistent workers."""
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
    """Seed the generators of Python, NumPy and PyTorch (CPU and every GPU) with ``seed`` in [0, 2**32)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seed_worker(worker_id: int) -> None:
    """Seed a data worker from its PyTorch seed, which differs between workers and follows that of the parent."""
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Hook that refuses checkpoints that do not fit the model, where mmengine would only log the differing entries.

    A test and a resumed training need all entries; a training that starts from the weights of ``load_from`` needs those
    of its CLIP backbones, see :func:`opendlign_mm.models.checkpoints.load_checkpoint`.
    Training on image features of another CLIP is refused as well.
    """

    def before_train(self, runner: Runner) -> None:
        """Check that stored image features of the training set, if it has any, are of the model's CLIP."""
        check_image_features(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the entries of ``checkpoint`` before the Runner loads them."""
        model, source = runner_model(runner), str(runner._load_from or 'the checkpoint')
        if needs_clip_checkpoint(model):
            require_clip_checkpoint(checkpoint, source)
        is_training = isinstance(runner._train_loop, BaseLoop)  # a test leaves the loop of training unbuilt
        purpose = 'resume' if runner._resume else 'initialization' if is_training else 'inference'
        load_checkpoint(model, checkpoint, source, purpose)


@HOOKS.register_module()
class SaveResultsHook(Hook):
    """Hook that writes ``results/results.json`` next to the log of a test: benchmark, model, checkpoint and metrics.

    Args:
        benchmark: Name of the benchmark; by default ``benchmark`` in the meta information of the test set, or the name
            of its class.
        model: Name of the model; by default the name of its class.
    """

    def __init__(self, benchmark: str | None = None, model: str | None = None) -> None:
        self.benchmark, self.model = benchmark, model

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the file, unless there are no metrics or no log file. A full disk must not cost the metrics."""
        folder = results_folder()
        if not metrics or folder is None:
            return
        dataset, model = runner.test_dataloader.dataset, runner_model(runner)
        about = getattr(dataset, 'metainfo', {})
        clips = [module.clip_name for module in model.modules() if hasattr(module, 'clip_name')]
        try:
            path = save_results(
                folder / RESULTS_NAME,
                benchmark=(self.benchmark or about.get('benchmark')
                           or type(getattr(dataset, 'dataset', dataset)).__name__),
                model=self.model or type(model).__name__,
                clip=clips[0] if clips else None,
                checkpoint=runner._load_from,
                metrics=metrics)
        except OSError as error:
            runner.logger.error(f'the results could not be written to {folder}: {error}')
        else:
            runner.logger.info(f'results written to {path}')


@HOOKS.register_module()
class DrawPredictionsHook(Hook):
    """Hook that draws predictions of a test with the visualizer of the run: ``--show`` and ``--show-dir``.

    It takes the place of mmdet3d's ``Det3DVisualizationHook``, which reads the points from their files again, without
    the transforms of the pipeline, and has nothing for classified shapes. A figure that cannot be drawn is a warning,
    since it must not cost the metrics.

    Args:
        draw: Whether to draw at all.
        interval: Draw the first sample of every ``interval``-th batch of a validation; tests are drawn completely.
        score_thr: Lowest score of a box to draw.
        show: Show each figure in a window.
        wait_time: Time in seconds for which a figure is shown; 0 waits for a key.
        test_out_dir: Folder of the figures of a test; a relative path is inside the log folder of the run. Without one
            they go to the backends of the visualizer.
        draw_gt: Draw the annotations as well.
    """

    def __init__(self, draw: bool = False, interval: int = 50, score_thr: float = .3, show: bool = False,
                 wait_time: float = 0., test_out_dir: str | None = None, draw_gt: bool = True) -> None:
        self.draw, self.interval, self.test_out_dir = draw, interval, test_out_dir
        self.options = dict(pred_score_thr=score_thr, show=show, wait_time=wait_time, draw_gt=draw_gt)
        self._drawn: list[str] = []

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs=None) -> None:
        """Draw the first sample of some batches."""
        if self.draw and outputs and batch_idx % self.interval == 0:
            self._add(runner, data_batch, outputs, 0, runner.iter + batch_idx)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs=None) -> None:
        """Draw all samples of a batch."""
        for index in range(len(outputs) if self.draw and outputs else 0):
            folder = Path(runner.log_dir) / self.test_out_dir if self.test_out_dir else None
            self._add(runner, data_batch, outputs, index, len(self._drawn) + 1, folder)

    def _add(self, runner: Runner, data_batch: dict, outputs, index: int, step: int, folder: Path | None = None
             ) -> None:
        sample, inputs = outputs[index], data_batch['inputs']
        name = sample.get('sample_id') or Path(sample.get('lidar_path') or f'sample_{step}').stem
        file_name = file_key(name) + f'_{step}' * (name in self._drawn)
        self._drawn.append(name)
        try:
            runner.visualizer.add_datasample(
                name, {key: inputs[key][index] for key in ('points', 'depth_views') if key in inputs}, sample,
                out_file=folder / f'{file_name}.png' if folder else None, step=step, **self.options)
        except Exception as error:
            runner.logger.warning(f'the figure of {name} cannot be drawn: {type(error).__name__}: {error}')


@HOOKS.register_module()
class VocabularyFromDatasetHook(Hook):
    """Hook that sets the model's vocabulary to the classes of the dataset before validation and test.

    A model that is trained on labels (``trains_on_classes``) gets the classes of the training set before each epoch.

    Labels then mean the same to the model, the annotations and the metrics for any dataset. A model without
    ``set_vocabulary``, whose classes are fixed, is told the names of the classes that it was trained on, if it has the
    attribute ``class_names``; metrics then match its labels with those of the dataset by name. The hook does nothing
    for datasets without classes.

    Args:
        wording: Words for class names in prompts, see :func:`vocabulary_of`.
    """

    def __init__(self, wording: dict[str, str] | None = None) -> None:
        self.wording = wording

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Tell a model with fixed classes their names, from the training that wrote the checkpoint."""
        self._name_fixed_classes(runner, (checkpoint.get('meta') or {}).get('dataset_meta'))

    def before_train(self, runner: Runner) -> None:
        """Tell a model with fixed classes their names, from the dataset that it is trained on."""
        self._name_fixed_classes(runner, getattr(runner.train_dataloader.dataset, 'metainfo', None))

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the vocabulary for a model that is trained on labels, such as the adapter of PointCLIP."""
        model, classes = runner_model(runner), getattr(runner.train_dataloader.dataset, 'metainfo', {}).get('classes')
        if classes and getattr(model, 'trains_on_classes', False):
            model.set_vocabulary(vocabulary_of(classes, self.wording))

    def before_val_epoch(self, runner: Runner) -> None:
        """Set the vocabulary for validation."""
        self._set_vocabulary(runner, runner.val_dataloader, runner.val_evaluator)

    def before_test_epoch(self, runner: Runner) -> None:
        """Set the vocabulary for the test."""
        self._set_vocabulary(runner, runner.test_dataloader, runner.test_evaluator)

    def _set_vocabulary(self, runner: Runner, dataloader: DataLoader, evaluator: Evaluator) -> None:
        model, classes = runner_model(runner), getattr(dataloader.dataset, 'metainfo', {}).get('classes')
        if classes and hasattr(model, 'set_vocabulary'):
            names = vocabulary_of(classes, self.wording)
            model.set_vocabulary(names)
            # Predictions carry these names; metrics have to know which class of the dataset each stands for.
            evaluator.dataset_meta = dict(evaluator.dataset_meta or {}, vocabulary=names)

    @staticmethod
    def _name_fixed_classes(runner: Runner, meta: dict | None) -> None:
        model, classes = runner_model(runner), (meta or {}).get('classes')
        if classes and hasattr(model, 'class_names') and not hasattr(model, 'set_vocabulary'):
            model.class_names = tuple(classes) if len(classes) == model.num_classes else None
