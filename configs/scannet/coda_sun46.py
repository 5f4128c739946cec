r"""Zero-shot detection on CoDA's SUN-46: single frames of SUN RGB-D, 10 base and 36 novel classes, AP of each group.

    python tools/make_coda_infos.py sunrgbd_pc_bbox_votes_50k_v1_all_classes_revised_0415_val/ --protocol sun46 \
        --out data/coda_sun46
    python tools/test.py configs/scannet/coda_sun46.py CHECKPOINT

See coda_scannet60.py.
"""
_base_ = 'coda_scannet60.py'

data_root = 'data/coda_sun46'

model = dict(
    proposals=dict(checkpoint='checkpoints/3detr_m_sunrgbd.pth', num_points=20000,
                   config='{{fileDirname}}/../3detr_m_sunrgbd.py'),
    bbox_head=dict(max_detections=128 * 46))
test_dataloader = dict(dataset=dict(data_root=data_root, ann_file='sun46_infos_val.pkl'))
test_evaluator = [
    dict(type='GroupedIndoorMetric', groups='sun46'),
    dict(type='ProposalRecall', max_proposals=(16, 64, 128)),
    dict(type='ClassAgnosticAP'),
    dict(type='BoxClassificationAccuracy')]
