"""What the Runner needs beyond mmengine: autocast on any device and runs that resume exactly."""
from .autocast_optim_wrapper import AutocastOptimWrapper
from .checkpoint_guard_hook import CheckpointGuardHook, require_clip_checkpoint
from .epoch_seed_hook import EpochSeedHook
from .run_options import scale_peak_learning_rate, select_autocast
from .save_results_hook import SaveResultsHook
from .skip_broken_loops import SkipBrokenTestLoop, SkipBrokenValLoop
from .streaming_train_loop import StreamingTrainLoop
from .vocabulary_hook import VocabularyFromDatasetHook

__all__ = ['AutocastOptimWrapper', 'CheckpointGuardHook', 'EpochSeedHook', 'SaveResultsHook', 'SkipBrokenTestLoop',
           'SkipBrokenValLoop', 'StreamingTrainLoop', 'VocabularyFromDatasetHook', 'require_clip_checkpoint',
           'scale_peak_learning_rate', 'select_autocast']
