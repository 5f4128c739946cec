"""Extensions of mmengine's Runner: hooks, loops, autocast on any device, and runs that resume exactly."""
from ..models.trained_state import require_clip_checkpoint
from .checkpointing import AtomicCheckpointHook, latest_checkpoint, work_dir_lock
from .data_wait import DataWaitHook
from .distributed import DistributedWhereTrained
from .hooks import CheckpointGuardHook, DrawPredictionsHook, EpochSeedHook, SaveResultsHook, VocabularyFromDatasetHook
from .loops import ReportingTestLoop, ReportingValLoop, StreamingTrainLoop
from .optimization import (
    AutocastOptimWrapper,
    NoDecayConstructor,
    OneCycleMomentum,
    scale_peak_learning_rate,
    select_autocast,
)
from .stored_tokens import StoredTokensHook

__all__ = [
    'AtomicCheckpointHook', 'AutocastOptimWrapper', 'CheckpointGuardHook', 'DataWaitHook', 'DistributedWhereTrained',
    'DrawPredictionsHook', 'EpochSeedHook', 'NoDecayConstructor', 'OneCycleMomentum', 'ReportingTestLoop',
    'ReportingValLoop', 'SaveResultsHook', 'StoredTokensHook', 'StreamingTrainLoop', 'VocabularyFromDatasetHook',
    'latest_checkpoint', 'require_clip_checkpoint', 'scale_peak_learning_rate', 'select_autocast', 'work_dir_lock'
]
