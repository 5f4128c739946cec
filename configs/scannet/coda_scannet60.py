r"""Zero-shot detection on CoDA's ScanNet-60: single frames, 10 base and 50 novel classes, AP of each group.

    python tools/make_coda_infos.py scannet_frames_25k_200cls_val/ --protocol scannet60 --out data/coda_scannet60
    python tools/test.py configs/scannet/coda_scannet60.py CHECKPOINT

Scores and suppression are those of CoDA's evaluation: objectness above 0.05, 128 boxes, suppression at IoU 0.25 within
the most probable class, a detection of every class for each remaining box. Proposals are 3DETR-m's unless others are
set; published methods learn theirs from the boxes of the base classes, which this one does not.
"""
_base_ = '../opendlign_h14_scannet.py'

data_root = 'data/coda_scannet60'

model = dict(
    objectness_threshold=0.05,
    max_proposals=128,
    bbox_head=dict(nms_of_best_class=True, max_detections=128 * 60))

test_pipeline = [
    dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=[0, 1, 2, 3, 4, 5]),
    dict(type='CheckScenePoints'),
    dict(type='Pack3DDetInputs', keys=['points'])]
test_dataloader = dict(dataset=dict(
    _delete_=True,
    type='OpenVocabFrameDataset',
    data_root=data_root,
    ann_file='scannet60_infos_val.pkl',
    data_prefix=dict(pts='points'),
    pipeline=test_pipeline,
    test_mode=True,
    box_type_3d='Depth',
    on_unreadable='skip'))
test_evaluator = [
    dict(type='GroupedIndoorMetric', groups='scannet60'),
    dict(type='ProposalRecall', max_proposals=(16, 64, 128)),
    dict(type='ClassAgnosticAP'),
    dict(type='BoxClassificationAccuracy')]
