#!/usr/bin/env python
"""Draw the input and the output of a detector: ``python tools/visualize_detections.py CONFIG [CHECKPOINT] --out DIR``.

Files for each scene of the test set:
  SCENE.html       colored points, predicted and ground-truth boxes to rotate and zoom in a browser, works offline;
                   below, each predicted box with its most probable classes and its depth views
  SCENE_boxes.png  the scene from above with ground-truth and predicted boxes
  SCENE_angle.png  the scene seen at an angle with predicted boxes
  SCENE_views.png  the depth views of the points in each predicted box with the most probable classes
With --ground-truth the points in the ground-truth boxes are classified.
"""
import argparse

import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from tqdm import tqdm

from opendlign_mm.apis import init_model
from opendlign_mm.command_line.options import add_common_options, load_config
from opendlign_mm.command_line.user_errors import user_errors


def parse_args() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of an OpenVocabDetector3D')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint of an aligned model; default CLIP without alignment')
    parser.add_argument('--out', required=True, help='folder of the files')
    parser.add_argument('--num-scenes', type=int, default=4, help='number of scenes, from the start of the test set')
    parser.add_argument('--max-boxes', type=int, default=30, help='maximum number of boxes per scene, best first')
    parser.add_argument('--num-classes', type=int, default=5, help='number of most probable classes shown for each box')
    parser.add_argument('--ground-truth', action='store_true', help='classify the points in the ground-truth boxes')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add_common_options(parser)
    return parser.parse_args()


def main() -> None:
    """Detect in the first scenes of the test set and draw the results."""
    args = parse_args()
    with user_errors(args.traceback):
        cfg = load_config(args)
        if cfg.model.type != 'OpenVocabDetector3D':
            raise ValueError(f'{args.config} is the config of a {cfg.model.type}; give one of an OpenVocabDetector3D, '
                             'e.g. configs/opendlign_tiny_scannet.py')
        if args.ground_truth:
            cfg.model.proposals = dict(type='GroundTruthProposals')
        # A figure needs one label per box and no overlapping boxes, although average precision rewards both.
        cfg.model.setdefault('bbox_head', dict(type='OpenVocabBBoxHead')).update(
            labels_per_box=1, class_agnostic_nms=True)
        # Imports mmdet3d's structures, which takes 11 seconds: not for --help.
        from mmdet3d.registry import DATASETS

        from opendlign_mm.apis.detect_scene import detect_scene
        from opendlign_mm.visualization.scene_page import draw_scene
        init_default_scope(cfg.get('default_scope', 'mmdet3d'))
        dataset = DATASETS.build(cfg.test_dataloader.dataset)  # missing files are told before a CLIP is loaded
        detector = init_model(cfg, args.checkpoint, args.device)
        for index in tqdm(range(min(args.num_scenes, len(dataset))), desc='scenes'):
            batch = detector.data_preprocessor(pseudo_collate([dataset[index]]))
            scene = detect_scene(detector, batch, dataset.metainfo['classes'], args.max_boxes, args.num_classes)
            for path in draw_scene(scene, args.out):
                tqdm.write(str(path))


if __name__ == '__main__':
    main()
