"""How well images find shapes and shapes find images: the model of opendlign_tiny.py on unseen built-in objects.

    python tools/test.py configs/opendlign_tiny_retrieval.py work_dirs/opendlign_tiny/epoch_10.pth
"""
_base_ = 'opendlign_tiny.py'

model = dict(return_embeddings=True)
# The first transform of training makes depth views and images.
test_pipeline = [_base_.train_pipeline[0], dict(type='PackShapeInputs', depth_dtype='uint8')]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_evaluator = [dict(type='ZeroShotAccuracy'), dict(type='RetrievalRecall')]
