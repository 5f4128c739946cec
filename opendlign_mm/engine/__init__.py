"""What the Runner needs beyond mmengine: autocast on any device and runs that resume exactly."""
from .checkpoint_guard_hook import CheckpointGuardHook, require_clip_checkpoint
from .hooks import EpochSeedHook
from .loops import SkipBrokenTestLoop, SkipBrokenValLoop
from .optimization import AutocastOptimWrapper
from .run_options import scale_peak_learning_rate, select_autocast
from .save_results_hook import SaveResultsHook
from .streaming_train_loop import StreamingTrainLoop
from .vocabulary_hook import VocabularyFromDatasetHook

__all__ = ['AutocastOptimWrapper', 'CheckpointGuardHook', 'EpochSeedHook', 'SaveResultsHook', 'SkipBrokenTestLoop',
           'SkipBrokenValLoop', 'StreamingTrainLoop', 'VocabularyFromDatasetHook', 'require_clip_checkpoint',
           'scale_peak_learning_rate', 'select_autocast']
