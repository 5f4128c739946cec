#!/usr/bin/env python
"""Count the files of ours that a reader opens to follow a stage from its config to its result.

    python tools/analysis_tools/count_files_to_open.py [FOLDER]      # FOLDER: a checkout, default this one

Runs three stages on random models of a few channels and tiny data, and names each module of the package of which a
function runs, constructors included, importing and the command line aside:

- training: one step of configs/opendlign_h14.py on the released layout;
- detection: one scene of configs/opendlign_h14_scannet.py, from its file to the metrics;
- generation: one shard of configs/generation/sd15_controlnet_depth.py.

Also counts the config files of ours that each config is made of.
"""
import argparse
import os
import pickle
import string
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

import cv2
import numpy as np

STAGES = ('training', 'detection', 'generation')
CLIP = dict(clip='tiny', pretrained=None, model_config=dict(
    embed_dim=32, vision_cfg=dict(image_size=32, patch_size=8, width=32, layers=2, head_width=16),
    text_cfg=dict(context_length=77, vocab_size=49408, width=32, heads=2, layers=1)))
THREE_DETR = {
    'model.num_queries': 16, 'model.set_abstraction': dict(num_points=64, num_samples=8, channels=(16, 16, 32)),
    'model.encoder.feedforward_channels': 16, 'model.encoder.downsampling': dict(
        num_points=32, num_samples=8, channels=(32, 32)),
    'model.decoder': dict(num_layers=2, feedforward_channels=16), 'model.selection': dict(objectness_threshold=0.)}


class Trace:
    """Collects the modules of a package of which a function runs, in the order in which they first do."""

    def __init__(self, package: Path) -> None:
        self.package, self.modules = str(package) + os.sep, {}
        self._known: set[CodeType] = set()

    def __enter__(self) -> dict[str, None]:
        threading.setprofile(self._see)
        sys.setprofile(self._see)
        return self.modules

    def __exit__(self, *_) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        # Functions compiled by numba are not seen: those that a seen module takes from another one count.
        by_file = {getattr(module, '__file__', None): module for module in list(sys.modules.values())}
        for name in list(self.modules):
            for value in vars(by_file[self.package + name]).values():
                if hasattr(value, 'py_func') and value.py_func.__code__.co_filename.startswith(self.package):
                    self.modules[value.py_func.__code__.co_filename.removeprefix(self.package)] = None

    def _see(self, frame: FrameType, event: str, _) -> None:
        code = frame.f_code
        if event != 'call' or code in self._known or not code.co_filename.startswith(self.package):
            return
        if code.co_flags & 1 and not self._imports(frame):  # bodies of modules and classes are not optimized
            self._known.add(code)
            self.modules[code.co_filename.removeprefix(self.package)] = None

    def _imports(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code.co_name == '<module>' and frame.f_code.co_filename.startswith(self.package):
                return True
            frame = frame.f_back
        return False


def replace(node: object, changes: dict[str, Callable[[dict], None]]) -> None:
    """Apply ``changes[type]`` to each dict of a config that has this ``type``."""
    if isinstance(node, dict):
        changes.get(node.get('type'), lambda _: None)(node)
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            replace(value, changes)


def small_run(config: Path, work_dir: Path, data_root: Path):
    """Return the Runner of a config with a tiny CLIP and a tiny 3DETR, in this process."""
    from mmengine.config import Config
    from mmengine.runner import Runner
    cfg = Config.fromfile(config)
    contents = cfg.to_dict()
    replace(contents, {
        'CLIPDepthBackbone': lambda node: node.update(CLIP),
        'ThreeDETRProposals': lambda node: node.update(checkpoint=None, cfg_options=THREE_DETR),
        'ZeroShotHead': lambda node: node.update(text_cache_dir=str(work_dir / 'text')),
        'OpenVocabDetector3D': lambda node: node.update(projection=dict(resolution=32, depth_bins=8)),
        'EpochBasedTrainLoop': lambda node: node.update(max_epochs=1)})
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if contents.get(name):
            contents[name].update(batch_size=2, num_workers=0, persistent_workers=False)
            contents[name]['dataset'].update(data_root=str(data_root))
            contents[name].pop('prefetch_factor', None)
    contents.update(work_dir=str(work_dir), experiment_name=str(work_dir), val_dataloader=None, val_cfg=None,
                    val_evaluator=None)
    contents['default_hooks'].update(checkpoint=None)
    return Runner.from_cfg(Config(contents))


def trace_training(root: Path, folder: Path) -> dict[str, None]:
    """Train on two objects in the released layout for one step."""
    rng = np.random.default_rng(0)
    for name in 'ab':
        images = folder / 'data/shapenet/depth_align_img' / name
        images.mkdir(parents=True)
        (folder / 'data/shapenet/depth_map').mkdir(exist_ok=True)
        np.save(folder / f'data/shapenet/depth_map/{name}_dm.npy', rng.integers(0, 256, (10, 32, 32, 3), np.uint8))
        for view in range(10):
            cv2.imwrite(str(images / f'{view}.png'), rng.integers(0, 256, (32, 32, 3), np.uint8))
    with Trace(root / 'opendlign_mm') as modules:
        small_run(root / 'configs/opendlign_h14.py', folder / 'run', folder / 'data').train()
    return modules


def trace_detection(root: Path, folder: Path) -> dict[str, None]:
    """Detect in one room of four boxes full of points, and measure."""
    rng = np.random.default_rng(0)
    boxes = [[2. * number, 0, .5, 1, 1, 1] for number in range(4)]
    points = np.concatenate([rng.uniform(-.5, .5, (500, 3)) + box[:3] for box in boxes])
    (folder / 'data/points').mkdir(parents=True)
    np.hstack([points, 0 * points]).astype(np.float32).tofile(folder / 'data/points/scene0000_00.bin')
    scene = dict(lidar_points=dict(num_pts_feats=6, lidar_path='scene0000_00.bin'),
                 axis_align_matrix=np.eye(4).tolist(), pts_semantic_mask_path='', pts_instance_mask_path='',
                 instances=[dict(bbox_3d=box, bbox_label_3d=label) for label, box in enumerate(boxes)])
    infos = dict(metainfo=dict(dataset='scannet', info_version='1.1'), data_list=[scene])
    (folder / 'data/scannet_infos_val.pkl').write_bytes(pickle.dumps(infos))
    with Trace(root / 'opendlign_mm') as modules:
        small_run(root / 'configs/opendlign_h14_scannet.py', folder / 'run', folder / 'data').test()
    return modules


def tiny_diffusion() -> dict:
    """Return the components of a Stable Diffusion with a ControlNet of a few channels and random weights."""
    words = ['<|startoftext|>', '<|endoftext|>', *(letter + end for letter in string.printable.strip()
                                                   for end in ('', '</w>'))]
    blocks = dict(block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4)
    cross = dict(blocks, down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D'], cross_attention_dim=16,
                 attention_head_dim=4)
    configs = dict(
        vae=('AutoencoderKL', dict(blocks, down_block_types=['DownEncoderBlock2D'] * 2, latent_channels=4,
                                   up_block_types=['UpDecoderBlock2D'] * 2)),
        text_encoder=('CLIPTextModel', dict(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, projection_dim=16,
            vocab_size=len(words), bos_token_id=0, eos_token_id=1, pad_token_id=1, max_position_embeddings=400)),
        tokenizer=('CLIPTokenizer', dict(
            vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=400)),
        unet=('UNet2DConditionModel', dict(cross, up_block_types=['CrossAttnUpBlock2D', 'UpBlock2D'], sample_size=16)),
        controlnet=('ControlNetModel', dict(cross, conditioning_embedding_out_channels=[8, 16])),
        scheduler=('DDIMScheduler', dict(beta_schedule='scaled_linear')))
    return {name: dict(type=kind, config=config) for name, (kind, config) in configs.items()}


def trace_generation(root: Path, folder: Path) -> dict[str, None]:
    """Generate the images of two objects, which are one shard."""
    from mmengine.config import Config

    from opendlign_mm.generation.depth_stage import project_depth
    from opendlign_mm.generation.image_stage import generate_images
    shapes = dict(type='BuiltInShapes', categories=('chair', 'cup'), num_per_category=1, num_points=300,
                  pipeline=[dict(type='LoadBuiltInShape')])
    project_depth(shapes, folder / 'depth', 2, dict(resolution=32, depth_bins=8))
    cfg = Config.fromfile(root / 'configs/generation/sd15_controlnet_depth.py')
    cfg.update(source=str(folder / 'depth'), out_dir=str(folder / 'images'), depth_shape=(2, 32, 32))
    cfg.generator.update(size=48, output_size=32, num_steps=2, pass_size=4)
    cfg.generator.pipeline = dict(type=cfg.generator.pipeline.type, requires_safety_checker=False,
                                  components=tiny_diffusion())
    with Trace(root / 'opendlign_mm') as modules:
        assert not generate_images(cfg)
    return modules


def own_configs(root: Path, stage: str) -> list[str]:
    """Return the config files of this project that the config of a stage is made of."""
    from mmengine.config import Config
    waiting = [root / 'configs' / dict(training='opendlign_h14.py', detection='opendlign_h14_scannet.py',
                                       generation='generation/sd15_controlnet_depth.py')[stage]]
    found: list[str] = []
    while waiting:
        path = waiting.pop(0).resolve()
        found.append(str(path.relative_to(root / 'configs')))
        bases = Config._get_base_files(str(path))
        waiting += [path.parent / base for base in bases if not base.startswith('mmdet3d::')]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', nargs='?', type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument('--stage', choices=STAGES, help=argparse.SUPPRESS)  # the process of one stage
    args = parser.parse_args()
    root = args.folder.resolve()
    if args.stage is None:
        # Each stage in a process of its own, with the checkout's package.
        environment = dict(os.environ, PYTHONPATH=str(root), CUDA_VISIBLE_DEVICES='')
        for stage in STAGES:
            subprocess.run([sys.executable, __file__, str(root), '--stage', stage], env=environment, cwd=root,
                           check=True)
        return
    from mmengine.registry import init_default_scope

    import opendlign_mm  # noqa: F401  # so that importing it is not traced
    init_default_scope('mmdet3d')
    with tempfile.TemporaryDirectory() as folder:
        modules = globals()[f'trace_{args.stage}'](root, Path(folder))
    configs = own_configs(root, args.stage)
    print(f'{args.stage}: {len(modules)} modules: {" ".join(modules)}')
    print(f'{args.stage}: {len(configs)} configs: {" ".join(configs)}', flush=True)


if __name__ == '__main__':
    main()
