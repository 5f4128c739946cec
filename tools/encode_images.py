#!/usr/bin/env python
"""Encode generated images once with the pretrained branch of a model, for training on their features.

    python tools/encode_images.py CONFIG data/depth_aligned data/depth_aligned_features
    python tools/encode_images.py CONFIG data/released/shapenet data/shapenet_features     # the authors' images
    python tools/train.py CONFIG --cfg-options train_dataloader.dataset.image_features=data/depth_aligned_features

After an interruption run it again: it encodes only what is missing.
"""
import argparse

from opendlign_mm.apis import init_model
from opendlign_mm.command_line.options import add_config_options, add_run_options
from opendlign_mm.command_line.user_errors import user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of an OpenDlign model')
    parser.add_argument('images', help='folder of tools/generate_images.py, or one of the released layout, which has '
                        'depth_align_img')
    parser.add_argument('out', help='folder of the features')
    add_config_options(parser, 'model.backbone.pretrained=FILE')
    add_run_options(parser)
    return parser.parse_args()


def main() -> None:
    """Run the feature stage."""
    args = parse_args()
    with user_errors(args.traceback):
        from opendlign_mm.generation.feature_stage import encode_images, open_image_source
        from opendlign_mm.processes import finish, join_processes, on_first_process
        device = join_processes(args.launcher)
        images = on_first_process(lambda: open_image_source(args.images))
        problems = encode_images(init_model(args.config, None, device, args.cfg_options), images, args.out)
        finish(problems, 'objects have no features', 'All others are done. Fix these and run the command again.')


if __name__ == '__main__':
    main()
