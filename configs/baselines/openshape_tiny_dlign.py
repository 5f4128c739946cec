"""openshape_tiny.py with depth-aligned images in the place of gray renderings ("+dlign")."""
_base_ = 'openshape_tiny.py'

train_pipeline = _base_.train_pipeline
train_pipeline[-1].images = 'images'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
