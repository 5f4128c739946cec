r"""Zero-shot detection on ScanNet200's 198 instance classes: whole scans, boxes around instances along the walls.

    python tools/make_scannet_infos.py scans/ scannetv2-labels.combined.tsv --classes scannet200 \
        --split scannetv2_val.txt --out data/scannet200
    python tools/test.py configs/scannet/scannet200.py CHECKPOINT

ScanNet200 has no official detection benchmark; methods that report it take such boxes. Beside all classes, the metric
has the means of ScanNet200's head, common and tail classes, as far as they have boxes: head_mAP_0.25.
"""
_base_ = '../opendlign_h14_scannet.py'

data_root = 'data/scannet200'

model = dict(bbox_head=dict(max_detections=2000))
test_dataloader = dict(dataset=dict(
    type='OpenVocabScanNet200Dataset', data_root=data_root, ann_file='scannet200_infos_val.pkl'))
test_evaluator = [
    dict(type='GroupedIndoorMetric', groups='scannet200'),
    dict(type='ProposalRecall', max_proposals=(16, 64, 128, 256)),
    dict(type='ClassAgnosticAP'),
    dict(type='BoxClassificationAccuracy')]
