"""Runtime of the paper's models: the classes of the test set are the vocabulary, and a test leaves its results in files
that tools/report.py reads."""
_base_ = 'default_runtime.py'

custom_hooks = [
    dict(type='EpochSeedHook'),
    dict(type='CheckpointGuardHook'),
    dict(type='VocabularyFromDatasetHook'),
    dict(type='SaveResultsHook')]
