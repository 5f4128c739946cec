r"""Second stage of OpenShape: batches of similar shapes, from the neighbors that a model of the first stage found.

    python tools/train.py configs/baselines/openshape_sparseconv_g14_hard_negatives.py \
        --cfg-options load_from=openshape.pth

The published neighbors are those of SparseConv on the four datasets, and the authors say that they suit it only. They
do not say how many shapes of a batch are neighbors; here it is 40 groups of 5. Their mask of neighbors with like
texts is off, as in their configuration: --cfg-options model.alignment_head.negatives_per_group=5 switches it on and
needs a text of every shape.
"""
_base_ = 'ensemble/openshape_sparseconv_g14.py'

triplets = _base_.train_dataloader.dataset
train_dataloader = dict(
    batch_size=40,
    collate_fn=dict(type='collate_groups'),
    dataset=dict(
        _delete_=True,
        type='NeighborGroups',
        dataset=triplets,
        neighbors_file='data/openshape/meta_data/point_feat_knn.npy',
        group_size=5))
load_from = None
