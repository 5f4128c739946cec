"""OpenShape with SparseConv, trained on four datasets; objects of ShapeNet with depth-aligned images ("+dlign")."""
_base_ = '../openshape_sparseconv_g14_dlign.py'

train_dataloader = dict(dataset=dict(ann_file='meta_data/split/train_all.json'))
