r"""Zero-shot detection on the 20 classes that OV-3DET is evaluated on (the paper's table 9).

    python tools/make_scannet_infos.py scans/ scannetv2-labels.combined.tsv \
        --split scannetv2_val.txt --out data/scannet20
    python tools/test.py configs/opendlign_h14_scannet20.py CHECKPOINT
"""
_base_ = 'opendlign_h14_scannet.py'

data_root = 'data/scannet20'

test_dataloader = dict(dataset=dict(
    type='OpenVocabScanNet20Dataset', data_root=data_root, ann_file='scannet20_infos_val.pkl'))
