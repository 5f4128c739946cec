"""Scenes in ScanNet's format for an open-vocabulary detector.

Measured are the average precision of ScanNet's benchmark and, separately, how well objects are found (proposals,
class-agnostic AP) and how well the found ones are classified.

Let data workers propose the boxes, for model.proposals.type=PipelineProposals:
    --cfg-options propose="[{'type':'ProposeBoxes','proposals':{'type':'ClusterProposals'}}]"
"""
data_root = 'data/scannet'
propose = []

test_pipeline = [
    dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=[0, 1, 2, 3, 4, 5]),
    dict(type='CheckScenePoints'),
    dict(type='GlobalAlignment', rotation_axis=2),
    dict(type='Pack3DDetInputs', keys=['points']),
    *propose]
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='OpenVocabScanNetDataset',
        data_root=data_root,
        ann_file='scannet_infos_val.pkl',
        data_prefix=dict(pts='points', pts_instance_mask='instance_mask', pts_semantic_mask='semantic_mask'),
        pipeline=test_pipeline,
        test_mode=True,
        box_type_3d='Depth',
        on_unreadable='skip'))
test_cfg = dict(type='ReportingTestLoop')
test_evaluator = [
    dict(type='OpenVocabIndoorMetric'),
    dict(type='ProposalRecall', max_proposals=(16, 64, 128, 256)),
    dict(type='ClassAgnosticAP'),
    dict(type='BoxClassificationAccuracy')]
