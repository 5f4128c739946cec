r"""Zero-shot detection on OV-3DET's ScanNet-20: single frames, boxes around clusters of the points of a class.

    python tools/make_ov3det_frames.py scannet_frames_25k/ --split val.txt --out ov3det_frames --workers 8
    python tools/make_coda_infos.py ov3det_frames --protocol ov3det_scannet20 --out data/ov3det_scannet20
    python tools/test.py configs/scannet/ov3det_scannet20.py CHECKPOINT

Scores and suppression are those of coda_scannet60.py, and OV-3DET's six texts of the background take probability.
606 of the 757 scans of val.txt are in ScanNet's training split, whose boxes 3DETR-m was trained on: with its boxes,
the default, localization is not zero-shot. ClusterProposals have seen no boxes:
--cfg-options model.proposals._delete_=True model.proposals.type=ClusterProposals.
"""
_base_ = 'coda_scannet60.py'

data_root = 'data/ov3det_scannet20'

model = dict(background='ov3det', bbox_head=dict(max_detections=128 * 20))
test_dataloader = dict(dataset=dict(data_root=data_root, ann_file='ov3det_scannet20_infos_val.pkl'))
test_evaluator = [
    dict(type='OpenVocabIndoorMetric'),
    dict(type='ProposalRecall', max_proposals=(16, 64, 128)),
    dict(type='ClassAgnosticAP'),
    dict(type='BoxClassificationAccuracy')]
