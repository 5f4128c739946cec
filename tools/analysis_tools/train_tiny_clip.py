"""Train a demonstration CLIP: images of built-in objects with captions. The packaged one is of the second edition.

    python tools/analysis_tools/train_tiny_clip.py --out first.safetensors
    python tools/analysis_tools/train_tiny_clip.py --edition 2 --models sweet_home/usr/share/sweethome3d/furniture \
        --init first.safetensors --patch-dropout .4 --depth-weight 0 --out work_dirs/tiny_clip/second.safetensors

The images begin as plain objects on a light background and become cluttered, since a small ViT learns nothing from
clutter alone. At the end no background is light any more: depth maps, gray on white, are then as unfamiliar to this
CLIP as to one that was trained on photographs. In the first part the patch tokens also learn to predict the depth of
the image through a linear layer that is discarded; a depth map is never an input. An interrupted run resumes from its
last epoch (--work-dir) and ends with the weights of one that was not interrupted.
"""
import argparse
import json
import os
from pathlib import Path

import torch
from open_clip import CLIP
from open_clip.tokenizer import SimpleTokenizer

from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.datasets import SweetHome3D
from opendlign_mm.datasets.procedural import categories_of
from opendlign_mm.datasets.random_views import (
    STANDARD_ANGLES,
    RandomViews,
    StoredViews,
    read_models,
    store_models,
    store_views,
)
from opendlign_mm.engine.clip_training import CLIPTraining, TrainingOptions, accuracy, draw_unseen
from opendlign_mm.generation.drawn_views import as_images
from opendlign_mm.models.clip_loading import load_compact_clip, save_compact_clip

CONFIG = dict(
    embed_dim=256,
    vision_cfg=dict(image_size=112, patch_size=16, width=256, layers=4, head_width=64),
    text_cfg=dict(context_length=16, vocab_size=49408, width=128, heads=2, layers=2))
CAPTIONS = ('a photo of a {}', 'a picture of a {}', 'an image of one {}', 'a {}', 'the {}', 'a realistic {}',
            'a 3D model of a {}', 'a {} in a room', 'a {} on a plain background', 'a rendering of a {}',
            'a gray {}', 'a silhouette of a {}', 'a depth image of a {}', 'a depth map of a {}')
LIBRARIES = ('Scopia', 'KatorLegaz', 'Reallusion')
# Options that do not decide about the weights; a run may be resumed with others.
FREE_OPTIONS = ('work_dir', 'out', 'device', 'val_objects', 'test_objects', 'workers', 'finish')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='work_dirs/tiny_clip/tiny_clip.safetensors')
    parser.add_argument('--work-dir', default='work_dirs/tiny_clip', help='depth views and the state to resume from')
    parser.add_argument('--objects', type=int, default=600, help='training objects per category')
    parser.add_argument('--views', type=int, default=3, help='views of each training object')
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--lr', type=float, default=1e-3)
    parser.add_argument('--depth-weight', type=float, default=4.,
                        help='initial weight of the loss on the depth of the patches, 0 after 60 %% of the run')
    parser.add_argument('--edition', type=int, default=1, choices=(1, 2),
                        help='edition of the procedural objects: 2 has 22 categories')
    parser.add_argument('--scan-like', type=float, default=0., help='share of objects that are seen from one side')
    parser.add_argument('--models', help="folder of Sweet Home 3D's libraries: train on their CAD models, too")
    parser.add_argument('--libraries', nargs='+', default=LIBRARIES,
                        help='libraries to train on; those of BlendSwap are for evaluation and refused')
    parser.add_argument('--init', help='weights to begin with (.safetensors), such as those of the first edition')
    parser.add_argument('--patch-dropout', type=float, default=0.,
                        help='share of patches that are left out, but for the last fifth of the run')
    parser.add_argument('--deformed', type=float, default=0.,
                        help='share of procedural objects that are stretched, tapered and bent, as copies of models')
    parser.add_argument('--copies', type=int, default=20, help='largest number of deformed copies of a model')
    parser.add_argument('--most-copies', type=int, default=300, help='largest number of copies of models of a category')
    parser.add_argument('--draw', choices=('stored', 'batch'), default='stored',
                        help='stored: draw images on the CPU, new ones every other epoch; batch: those of each step on '
                        'the device, for GPUs')
    parser.add_argument('--average', type=float, default=0.,
                        help='decay of a moving average of the weights, which is then kept, such as 0.998')
    parser.add_argument('--finish', action='store_true',
                        help='write the weights of the state in --work-dir without training further')
    parser.add_argument('--val-objects', type=int, default=25, help='unseen objects per category after each epoch')
    parser.add_argument('--test-objects', type=int, default=100, help='unseen objects per category at the end')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='processes that make depth views')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    if any(name.startswith('BlendSwap') for name in args.libraries):
        parser.error('--libraries: those of BlendSwap are for evaluation, and a CLIP that saw them cannot be measured')
    if args.patch_dropout and args.depth_weight:
        parser.error('--patch-dropout leaves patches without a token, whose depth cannot be predicted: give '
                     '--depth-weight 0 as well')
    for name in ('patch_dropout', 'average'):
        if not 0 <= getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must lie in [0, 1), got {getattr(args, name)}')
    if args.models and args.edition == 1:
        parser.error('--models are of 22 categories: give --edition 2 as well')
    return args


def make_objects(args: argparse.Namespace) -> StoredViews:
    """Make the objects to train on; their files are named by all options that decide about them."""
    work_dir, models = Path(args.work_dir), None
    about = f'train_{args.objects}x{args.views}_edition{args.edition}_scans{args.scan_like}'
    if args.deformed:
        about += f'_deformed{args.deformed}'
    if args.models:
        libraries = '_'.join(args.libraries)
        path = work_dir / f'models_{libraries}.npz'
        models = read_models(path) if path.exists() else store_models(
            SweetHome3D(args.models, libraries=args.libraries, metainfo=dict(classes=categories_of(args.edition))),
            path)
        about += f'_{libraries}_{args.copies}to{args.most_copies}'
    views = RandomViews(args.objects, args.views, 1, resolution=CONFIG['vision_cfg']['image_size'],
                        edition=args.edition, scan_like=args.scan_like, models=models, copies=args.copies,
                        most_per_category=args.most_copies, deformed=args.deformed)
    return store_views(views, work_dir / f'{about}.npz', args.workers)


def make_unseen(args: argparse.Namespace, name: str, objects: int, seed: int) -> StoredViews:
    """Make unseen procedural objects in the method's ten views."""
    views = RandomViews(objects, len(STANDARD_ANGLES), seed, True, CONFIG['vision_cfg']['image_size'], args.edition)
    return store_views(views, Path(args.work_dir) / f'{name}_{objects}_edition{args.edition}.npz', args.workers)


def build_model(args: argparse.Namespace) -> tuple[CLIP, torch.nn.Linear]:
    """Build the CLIP, with the weights of --init if it is given, and the layer that decodes depths."""
    model = CLIP(**CONFIG)
    # It predicts a 4 x 4 grid of depths from each patch token.
    decoder = torch.nn.Linear(CONFIG['vision_cfg']['width'], (CONFIG['vision_cfg']['patch_size'] // 4)**2)
    # For these few words random vectors are as good as learned ones, and save updating 49,408 rows per step.
    torch.nn.init.normal_(model.token_embedding.weight, std=.5)
    model.token_embedding.requires_grad_(False)
    if args.init and not (Path(args.init).is_file() and load_compact_clip(model, args.init, keep_others=True)):
        raise SystemExit(f'--init {args.init} is not a file of weights that this command has written')
    return model.to(args.device), decoder.to(args.device)


def deciding_options(args: argparse.Namespace) -> dict[str, object]:
    """Return the options that decide about the weights."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(args).items()
            if key not in FREE_OPTIONS}


def read_state(args: argparse.Namespace) -> dict | None:
    """Read the state of an interrupted run with the same options, if there is one."""
    path = Path(args.work_dir) / 'state.pth'
    if not path.exists():
        if args.finish:
            raise SystemExit(f'--finish needs the state of a run, but {path} does not exist')
        return None
    state = torch.load(path, map_location=args.device)
    options = deciding_options(args)
    changed = [f'--{name.replace("_", "-")} {state["options"].get(name)}' for name in options
               if state['options'].get(name) != options[name]]
    if changed:
        raise SystemExit(f'{path} is the state of a run with {", ".join(changed)}; give the same options, or '
                         'remove the file to start again')
    return state


def trained_model(args: argparse.Namespace, tokens: torch.Tensor) -> tuple[CLIP, list[dict]]:
    """Train the CLIP, or go on; with --finish take that of the state. Return it with the log of its epochs."""
    if args.finish:
        state = read_state(args)
        model, _ = build_model(args)
        model.load_state_dict(state['averaged' if args.average else 'model'])
        return model, state['log']
    objects, validation = make_objects(args), make_unseen(args, 'val', args.val_objects, 2)
    # Not before: making the views, which a resumed run reads from its files, takes random numbers.
    torch.manual_seed(args.seed)
    options = TrainingOptions(args.epochs, args.batch_size, args.lr, args.depth_weight, args.patch_dropout, args.draw,
                              args.average, bool(args.init), args.seed, args.device)
    training = CLIPTraining(*build_model(args), options, objects, tokens, categories_of(args.edition))
    state = read_state(args)
    if state:
        training.load(state)
    training.run(validation, Path(args.work_dir) / 'state.pth', options=deciding_options(args))
    return training.result, training.log


def main() -> None:
    args = parse_args()
    torch.set_flush_denormal(True)
    out, categories = Path(args.out), categories_of(args.edition)
    tokenizer = SimpleTokenizer(context_length=CONFIG['text_cfg']['context_length'])
    tokens = torch.stack([tokenizer([caption.format(c) for caption in CAPTIONS]) for c in categories])
    model, log = trained_model(args, tokens)
    unseen = make_unseen(args, 'unseen', args.test_objects, 3)
    single, joint, per_class = accuracy(model, tokens, draw_unseen(unseen, 98, args.draw, args.device), unseen.labels,
                                        categories, args.device)
    depth_single, depth_joint, _ = accuracy(model, tokens, as_images(unseen.depth), unseen.labels, categories,
                                            args.device)
    save_compact_clip(model.cpu(), CONFIG, [0, *tokens.unique().tolist()], out)
    options = ' '.join(f'--{key.replace("_", "-")} {" ".join(value) if isinstance(value, list) else value}'
                       for key, value in deciding_options(args).items() if value is not None)
    record = dict(command=f'python tools/analysis_tools/train_tiny_clip.py {options}', device=args.device,
                  torch=torch.__version__, captions=CAPTIONS, categories=categories,
                  unseen_objects=len(unseen.labels), image_top1=single, image_top1_10_views=joint,
                  depth_top1=depth_single, depth_top1_10_views=depth_joint, per_class_10_views=per_class,
                  epochs=log)
    with atomic_write(out.with_name(f'{out.stem}.log.json')) as unfinished:
        unfinished.write_text(json.dumps(record, indent=1) + '\n')
    print(f'unseen images: top-1 {single} % of single views, {joint} % of objects with 10 views -> {out}')


if __name__ == '__main__':
    main()
