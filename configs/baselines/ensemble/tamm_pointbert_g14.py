"""TAMM with PointBERT, trained on four datasets: Objaverse, ShapeNet, ABO and 3D-FUTURE.

Without the objects of Objaverse-LVIS: --cfg-options \
train_dataloader.dataset.ann_file=meta_data/split/train_no_lvis.json
"""
_base_ = '../tamm_pointbert_g14.py'

train_dataloader = dict(dataset=dict(ann_file='meta_data/split/train_all.json'))
