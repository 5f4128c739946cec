"""Train the demonstration CLIP that ships in opendlign_mm/assets: images of built-in objects with captions.

    python tools/analysis_tools/train_tiny_clip.py --out opendlign_mm/assets/tiny_clip.safetensors
    python tools/analysis_tools/train_tiny_clip.py --edition 2 --models sweet_home/usr/share/sweethome3d/furniture \
        --init opendlign_mm/assets/tiny_clip.safetensors --patch-dropout .4 --depth-weight 0 --out second.safetensors

The images begin as plain objects on a light background and become cluttered, since a small ViT learns nothing from
clutter alone. At the end no background is light any more: depth maps, gray on white, are then as unfamiliar to this
CLIP as to one that was trained on photographs. In the first part the patch tokens also learn to predict the depth of
the image through a linear layer that is discarded; a depth map is never an input. An interrupted run resumes from its
last epoch (--work-dir) and ends with the weights of one that was not interrupted.
"""
import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import CLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import PatchDropout
from tqdm import tqdm

from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.datasets import SweetHome3D
from opendlign_mm.datasets.procedural import categories_of
from opendlign_mm.datasets.random_views import STANDARD_ANGLES, RandomViews, StoredViews, store_views
from opendlign_mm.generation.drawn_views import as_images, augment, clutter_range, draw_images
from opendlign_mm.models.clip_loading import load_compact_clip, save_compact_clip

CONFIG = dict(
    embed_dim=256,
    vision_cfg=dict(image_size=112, patch_size=16, width=256, layers=4, head_width=64),
    text_cfg=dict(context_length=16, vocab_size=49408, width=128, heads=2, layers=2))
CAPTIONS = ('a photo of a {}', 'a picture of a {}', 'an image of one {}', 'a {}', 'the {}', 'a realistic {}',
            'a 3D model of a {}', 'a {} in a room', 'a {} on a plain background', 'a rendering of a {}',
            'a gray {}', 'a silhouette of a {}', 'a depth image of a {}', 'a depth map of a {}')
MEAN = torch.tensor((.485, .456, .406)).view(1, 3, 1, 1)
STD = torch.tensor((.229, .224, .225)).view(1, 3, 1, 1)
LIBRARIES = ('Scopia', 'KatorLegaz', 'Reallusion')
STATES = ('model', 'depth_decoder', 'optimizer', 'schedule')
# Options that do not decide about the weights; a run may be resumed with others.
FREE_OPTIONS = ('work_dir', 'out', 'device', 'val_objects', 'test_objects', 'workers')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='opendlign_mm/assets/tiny_clip.safetensors')
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
    if not 0 <= args.patch_dropout < 1:
        parser.error(f'--patch-dropout must lie in [0, 1), got {args.patch_dropout}')
    if args.models and args.edition == 1:
        parser.error('--models are of 22 categories: give --edition 2 as well')
    return args


def make_objects(args: argparse.Namespace) -> StoredViews:
    """Make the objects to train on; their file is named by all options that decide about them."""
    models, about = None, f'train_{args.objects}x{args.views}_edition{args.edition}_scans{args.scan_like}'
    if args.models:
        models = SweetHome3D(args.models, libraries=args.libraries,
                             metainfo=dict(classes=categories_of(args.edition)))
        about += '_' + '_'.join(args.libraries)
    views = RandomViews(args.objects, args.views, 1, resolution=CONFIG['vision_cfg']['image_size'],
                        edition=args.edition, scan_like=args.scan_like, models=models)
    return store_views(views, Path(args.work_dir) / f'{about}.npz', args.workers)


def make_unseen(args: argparse.Namespace, name: str, objects: int, seed: int) -> StoredViews:
    """Make unseen procedural objects in the method's ten views."""
    views = RandomViews(objects, len(STANDARD_ANGLES), seed, True, CONFIG['vision_cfg']['image_size'], args.edition)
    return store_views(views, Path(args.work_dir) / f'{name}_{objects}_edition{args.edition}.npz', args.workers)


def clip_loss(image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor,
              scale: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy from images to captions and back; each image of a caption's category is a positive."""
    logits = scale * F.normalize(image_features.float(), dim=-1) @ F.normalize(text_features.float(), dim=-1).T
    positive = F.one_hot(labels, logits.shape[1]).float()
    present = positive.sum(0) > 0
    backward = (logits.T.log_softmax(1) * positive.T).sum(1)[present] / positive.sum(0)[present]
    return .5 * F.cross_entropy(logits, labels, label_smoothing=.1) - .5 * backward.mean()


@torch.no_grad()
def accuracy(model: CLIP, tokens: torch.Tensor, images: np.ndarray, labels: np.ndarray, categories: tuple[str, ...],
             device: str) -> tuple[float, float, dict[str, float]]:
    """Return top-1 of single views, of the sum over each object's views, and the latter per category, in percent."""
    model.eval()
    text = torch.stack([F.normalize(model.encode_text(t.to(device)), dim=-1).mean(0) for t in tokens])
    text = F.normalize(text, dim=-1)
    views, labels = images.shape[1], torch.as_tensor(labels)
    scores = []
    for part in torch.from_numpy(images).flatten(0, 1).split(512):
        with torch.autocast(device, torch.bfloat16):
            features = model.encode_image(((part.float() / 255 - MEAN) / STD).to(device))
        scores.append((F.normalize(features.float(), dim=-1) @ text.T).cpu())
    scores = torch.cat(scores).view(-1, views, len(tokens))
    single = (scores.argmax(-1) == labels[:, None]).float().mean().item()
    joint = scores.sum(1).argmax(-1) == labels
    per_class = {c: round(100 * joint[labels == k].float().mean().item(), 1) for k, c in enumerate(categories)}
    return round(100 * single, 2), round(100 * joint.float().mean().item(), 2), per_class


class Training:
    """A CLIP, its optimizer and its data.

    Args:
        args: Options of the command.
        objects: Objects to train on.
        tokens: Captions, int64 (C, T, L): T of each category.
    """

    def __init__(self, args: argparse.Namespace, objects: StoredViews, tokens: torch.Tensor) -> None:
        self.args, self.objects, self.tokens = args, objects, tokens
        self.categories = categories_of(args.edition)
        self.model = CLIP(**CONFIG)
        self.patch = CONFIG['vision_cfg']['patch_size']
        # The decoder predicts a 4 x 4 grid of depths from each patch token.
        self.depth_decoder = torch.nn.Linear(CONFIG['vision_cfg']['width'], (self.patch // 4)**2).to(args.device)
        # For these few words random vectors are as good as learned ones, and save updating 49,408 rows per step.
        torch.nn.init.normal_(self.model.token_embedding.weight, std=.5)
        self.model.token_embedding.requires_grad_(False)
        if args.init and not (Path(args.init).is_file() and load_compact_clip(self.model, args.init, keep_others=True)):
            raise SystemExit(f'--init {args.init} is not a file of weights that this command has written')
        self.model.to(args.device)
        self.trained = [p for p in (*self.model.parameters(), *self.depth_decoder.parameters()) if p.requires_grad]
        decay, other = [p for p in self.trained if p.dim() > 1], [p for p in self.trained if p.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [dict(params=decay, weight_decay=.05), dict(params=other, weight_decay=0)], lr=args.lr, betas=(.9, .98))
        self.labels = torch.from_numpy(np.repeat(objects.labels, args.views))
        self.depth = torch.from_numpy(objects.depth).flatten(0, 1)
        self.steps = len(self.labels) // args.batch_size
        total = self.steps * args.epochs
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: min(
            (step + 1) / 300, .5 * (1 + math.cos(math.pi * min(step / total, 1))) + .01))
        self.log: list[dict] = []

    def resume(self, path: Path) -> None:
        """Load the state of an interrupted run, if there is one."""
        if not path.exists():
            return
        state = torch.load(path, map_location=self.args.device)
        options = deciding_options(self.args)
        changed = [f'--{name.replace("_", "-")} {state["options"].get(name)}' for name in options
                   if state['options'].get(name) != options[name]]
        if changed:
            raise SystemExit(f'{path} is the state of a run with {", ".join(changed)}; give the same options, or '
                             'remove the file to start again')
        for name in STATES:
            getattr(self, name).load_state_dict(state[name])
        self.log = state['log']

    def save(self, path: Path) -> None:
        """Write the state after an epoch."""
        state = {name: getattr(self, name).state_dict() for name in STATES}
        with atomic_write(path) as unfinished:
            torch.save(dict(state, log=self.log, options=deciding_options(self.args)), unfinished)

    def train_epoch(self, epoch: int, images: torch.Tensor) -> tuple[float, float]:
        """Train for one epoch on images uint8 (N V, 3, H, H); return the mean loss and top-1."""
        self.model.train()
        dropout = self.args.patch_dropout if epoch < .8 * self.args.epochs else 0.
        self.model.visual.patch_dropout = PatchDropout(dropout) if dropout else torch.nn.Identity()
        losses, hits = [], []
        batches = torch.randperm(len(self.labels))[:self.steps * self.args.batch_size].view(self.steps, -1)
        bar = tqdm(batches, desc=f'epoch {epoch + 1}')
        for step, batch in enumerate(bar):
            loss, hit = self._losses(batch, images, (epoch + step / self.steps) / self.args.epochs)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained, 1.)
            self.optimizer.step()
            self.schedule.step()
            with torch.no_grad():
                self.model.logit_scale.clamp_(0, math.log(100))
            losses.append(loss.item())
            hits.append(hit)
            bar.set_postfix(loss=f'{np.mean(losses[-50:]):.3f}', top1=f'{100 * np.mean(hits[-50:]):.1f}')
        return float(np.mean(losses)), float(np.mean(hits))

    def _losses(self, batch: torch.Tensor, images: torch.Tensor, progress: float) -> tuple[torch.Tensor, float]:
        """Return the loss of a batch and its top-1 in [0, 1]; ``progress`` runs from 0 to 1 during training."""
        device, weight = self.args.device, self.args.depth_weight * max(0., 1 - progress / .6)
        both = augment(torch.cat((images[batch], self.depth[batch, None]), 1).to(device).float() / 255)
        normalized, target = (both[:, :3] - MEAN.to(device)) / STD.to(device), 1 - both[:, 3:]
        count = len(self.categories)
        caption = self.tokens[torch.arange(count), torch.randint(len(CAPTIONS), (count,))]
        self.model.visual.output_tokens = True
        with torch.autocast(device, torch.bfloat16):
            image_features, patches = self.model.visual(normalized)
            decoded = self.depth_decoder(patches) if weight else None
        self.model.visual.output_tokens = False
        text_features = self.model.encode_text(caption.to(device))
        loss = clip_loss(image_features, text_features, self.labels[batch].to(device), self.model.logit_scale.exp())
        if decoded is not None:
            grid = F.unfold(F.avg_pool2d(target, 4), self.patch // 4, stride=self.patch // 4).transpose(1, 2)
            loss = loss + weight * F.mse_loss(decoded.float(), grid)
        with torch.no_grad():
            guess = (F.normalize(image_features.float(), dim=-1) @ F.normalize(text_features, dim=-1).T).argmax(1)
            return loss, (guess.cpu() == self.labels[batch]).float().mean().item()

    def run(self, state_path: Path, unseen: StoredViews) -> None:
        """Train for the remaining epochs; after each, test on every third view of ``unseen`` and save the state."""
        unseen_images = draw_images(unseen, (1., 1.), 99, 'unseen images')
        self.resume(state_path)
        images, drawn = None, None
        for epoch in range(len(self.log), self.args.epochs):
            torch.manual_seed(self.args.seed * 1000 + epoch)
            began = time.time()
            if drawn != epoch - epoch % 2:
                drawn = epoch - epoch % 2  # new images every other epoch
                images = torch.from_numpy(draw_images(
                    self.objects, clutter_range(drawn, self.args.epochs, bool(self.args.init)), 100 + drawn,
                    'images')).flatten(0, 1)
            drew = time.time()
            loss, top1 = self.train_epoch(epoch, images)
            single, joint, _ = self.test(unseen_images[:, ::3], unseen.labels)
            depth_single, depth_joint, _ = self.test(as_images(unseen.depth[:, ::3]), unseen.labels)
            self.log.append(dict(
                epoch=epoch + 1, lr=self.schedule.get_last_lr()[0], loss=round(loss, 4),
                train_top1=round(100 * top1, 2), image_top1=single, image_top1_4_views=joint, depth_top1=depth_single,
                depth_top1_4_views=depth_joint, seconds=round(time.time() - began), drawing=round(drew - began)))
            print(json.dumps(self.log[-1]), flush=True)
            self.save(state_path)

    def test(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, float, dict[str, float]]:
        """Return the accuracy on images uint8 (N, V, 3, H, H)."""
        return accuracy(self.model, self.tokens, images, labels, self.categories, self.args.device)


def deciding_options(args: argparse.Namespace) -> dict[str, object]:
    """Return the options that decide about the weights."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(args).items()
            if key not in FREE_OPTIONS}


def main() -> None:
    args = parse_args()
    torch.set_flush_denormal(True)
    work_dir, out, categories = Path(args.work_dir), Path(args.out), categories_of(args.edition)
    objects, validation = make_objects(args), make_unseen(args, 'val', args.val_objects, 2)
    tokenizer = SimpleTokenizer(context_length=CONFIG['text_cfg']['context_length'])
    tokens = torch.stack([tokenizer([caption.format(c) for caption in CAPTIONS]) for c in categories])
    # Not before: making the views, which a resumed run reads from its files, takes random numbers.
    torch.manual_seed(args.seed)
    training = Training(args, objects, tokens)
    training.run(work_dir / 'state.pth', validation)
    unseen = make_unseen(args, 'unseen', args.test_objects, 3)
    single, joint, per_class = training.test(draw_images(unseen, (1., 1.), 98, 'unseen images'), unseen.labels)
    depth_single, depth_joint, _ = training.test(as_images(unseen.depth), unseen.labels)
    save_compact_clip(training.model.cpu(), CONFIG, [0, *tokens.unique().tolist()], out)
    options = ' '.join(f'--{key.replace("_", "-")} {" ".join(value) if isinstance(value, list) else value}'
                       for key, value in deciding_options(args).items() if value is not None)
    record = dict(command=f'python tools/analysis_tools/train_tiny_clip.py {options}', device=args.device,
                  torch=torch.__version__, captions=CAPTIONS, categories=categories,
                  unseen_objects=len(unseen.labels), image_top1=single, image_top1_10_views=joint,
                  depth_top1=depth_single, depth_top1_10_views=depth_joint, per_class_10_views=per_class,
                  epochs=training.log)
    with atomic_write(out.with_name(f'{out.stem}.log.json')) as unfinished:
        unfinished.write_text(json.dumps(record, indent=1) + '\n')
    print(f'unseen images: top-1 {single} % of single views, {joint} % of objects with 10 views -> {out}')


if __name__ == '__main__':
    main()
