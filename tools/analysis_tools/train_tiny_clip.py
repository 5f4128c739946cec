"""Train the demonstration CLIP that ships in opendlign_mm/assets: images of built-in objects with captions.

    python tools/analysis_tools/train_tiny_clip.py --out opendlign_mm/assets/tiny_clip.safetensors

The images begin as plain objects on a light background and become cluttered, since a small ViT learns nothing from
clutter alone. At the end no background is light any more: depth maps, gray on white, are then as unfamiliar to this
CLIP as to one that was trained on photographs. In the first part the patch tokens also learn to predict the depth of
the image through a linear layer that is discarded; a depth map is never an input. An interrupted run resumes from its
last epoch (--work-dir).
"""
import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import CLIP
from open_clip.tokenizer import SimpleTokenizer
from tqdm import tqdm

from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.datasets.procedural import CATEGORIES, sample_shape
from opendlign_mm.generation import ShadedTextureGenerator
from opendlign_mm.models.clip_loading import save_compact_clip
from opendlign_mm.projection import ContourAwareProjection

CONFIG = dict(
    embed_dim=256,
    vision_cfg=dict(image_size=112, patch_size=16, width=256, layers=4, head_width=64),
    text_cfg=dict(context_length=16, vocab_size=49408, width=128, heads=2, layers=2))
CAPTIONS = ('a photo of a {}', 'a picture of a {}', 'an image of one {}', 'a {}', 'the {}', 'a realistic {}',
            'a 3D model of a {}', 'a {} in a room', 'a {} on a plain background', 'a rendering of a {}',
            'a gray {}', 'a silhouette of a {}', 'a depth image of a {}', 'a depth map of a {}')
MEAN = torch.tensor((.485, .456, .406)).view(1, 3, 1, 1)
STD = torch.tensor((.229, .224, .225)).view(1, 3, 1, 1)


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
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args()


class Objects(NamedTuple):
    """Depth views uint8 (N, V, H, H), labels int (N,) and two colors uint8 (N, 2, 3) of N objects."""
    depth: np.ndarray
    labels: np.ndarray
    colors: np.ndarray


class DepthViews(torch.utils.data.Dataset):
    """Depth views uint8 (V, H, H), label and two colors uint8 (2, 3) of random objects.

    Args:
        objects: Number of objects per category.
        views: Number of views, V.
        seed: Seed of the objects.
        standard: Whether the views are the method's ten; otherwise azimuth and elevation are random.
    """

    def __init__(self, objects: int, views: int, seed: int, standard: bool) -> None:
        self.objects, self.views, self.seed, self.standard = objects, views, seed, standard

    def __len__(self) -> int:
        return self.objects * len(CATEGORIES)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int, np.ndarray]:
        label = index % len(CATEGORIES)
        rng = np.random.default_rng((self.seed, index))
        shape = sample_shape(CATEGORIES[label], rng, 5000)
        angles = range(30, 330, 30) if self.standard else rng.uniform(0, 360, self.views)
        projection = ContourAwareProjection(
            resolution=CONFIG['vision_cfg']['image_size'], depth_bins=32, densify_kernel=5, sigma_space=1.,
            view_angles=angles, elevation=20. if self.standard else rng.uniform(5, 35))
        depth = (projection(torch.from_numpy(shape.points)[None])[0] * 255).round().byte().numpy()
        return depth, label, shape.colors[rng.integers(0, len(shape.colors), 2)]


def make_depth_views(objects: int, views: int, seed: int, path: Path, standard: bool) -> Objects:
    """Return all of :class:`DepthViews`, from ``path`` if an earlier run has stored them there."""
    if path.exists():
        with np.load(path) as file:
            return Objects(file['depth'], file['label'], file['colors'])
    loader = torch.utils.data.DataLoader(DepthViews(objects, views, seed, standard), batch_size=None,
                                         num_workers=os.cpu_count() or 1)
    depth, labels, colors = zip(*tqdm(loader, desc=f'depth views -> {path.name}'), strict=True)
    depth, labels, colors = np.stack(depth), np.asarray(labels), np.stack(colors)
    with atomic_write(path) as unfinished:
        np.savez(unfinished, depth=depth, label=labels, colors=colors)
    return Objects(depth, labels, colors)


def draw_images(objects: Objects, clutter: tuple[float, float], seed: int, desc: str) -> np.ndarray:
    """Return images uint8 (N, V, 3, H, H) of all views, each chunk of 64 with a random clutter of the given range."""
    n, views, *size = objects.depth.shape
    depth, colors = objects.depth.reshape(-1, *size), np.repeat(objects.colors, views, axis=0)
    images = np.empty((len(depth), 3, *size), dtype=np.uint8)
    rng = np.random.default_rng(seed)
    for start in tqdm(range(0, len(depth), 64), desc=desc, leave=False):
        part = slice(start, start + 64)
        generator = ShadedTextureGenerator(clutter=float(rng.uniform(*clutter)))
        chunk = torch.from_numpy(depth[part]).float() / 255
        seeds = seed * 10_000_000 + np.arange(start, start + len(chunk))
        images[part] = generator(chunk, seeds, colors[part]).permute(0, 3, 1, 2).numpy()
    return images.reshape(n, views, *images.shape[1:])


def as_images(depth: np.ndarray) -> np.ndarray:
    """Return depth views uint8 (N, V, H, W) as gray images (N, V, 3, H, W)."""
    return np.broadcast_to(depth[:, :, None], (*depth.shape[:2], 3, *depth.shape[2:])).copy()


def clutter_range(epoch: int, epochs: int) -> tuple[float, float]:
    """Return the range of clutter of an epoch: plain at first, then everything, at the end no light background."""
    progress = epoch / epochs
    return (0., .15) if progress < .12 else (.0, .5) if progress < .3 else (.1, 1.) if progress < .6 else (.7, 1.)


def augment(images: torch.Tensor) -> torch.Tensor:
    """Return float images (N, C, H, W), half of them mirrored, each scaled and shifted a little."""
    n = len(images)
    scale = torch.empty(n).uniform_(.9, 1.15)
    flip = torch.where(torch.rand(n) < .5, -1., 1.)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale * flip, scale
    theta[:, :, 2] = torch.empty(n, 2).uniform_(-.06, .06)
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode='reflection', align_corners=False)


def clip_loss(image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor,
              scale: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy from images to captions and back; each image of a caption's category is a positive."""
    logits = scale * F.normalize(image_features.float(), dim=-1) @ F.normalize(text_features.float(), dim=-1).T
    positive = F.one_hot(labels, logits.shape[1]).float()
    present = positive.sum(0) > 0
    backward = (logits.T.log_softmax(1) * positive.T).sum(1)[present] / positive.sum(0)[present]
    return .5 * F.cross_entropy(logits, labels, label_smoothing=.1) - .5 * backward.mean()


@torch.no_grad()
def accuracy(model: CLIP, tokens: torch.Tensor, images: np.ndarray, labels: np.ndarray,
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
    per_class = {c: round(100 * joint[labels == k].float().mean().item(), 1) for k, c in enumerate(CATEGORIES)}
    return round(100 * single, 2), round(100 * joint.float().mean().item(), 2), per_class


class Training:
    """A CLIP, its optimizer and its data.

    Args:
        args: Options of the command.
        objects: Objects to train on.
        tokens: Captions, int64 (C, T, L): T of each category.
    """

    def __init__(self, args: argparse.Namespace, objects: Objects, tokens: torch.Tensor) -> None:
        self.args, self.objects, self.tokens = args, objects, tokens
        self.model = CLIP(**CONFIG).to(args.device)
        self.patch = CONFIG['vision_cfg']['patch_size']
        # The decoder predicts a 4 x 4 grid of depths from each patch token.
        self.depth_decoder = torch.nn.Linear(CONFIG['vision_cfg']['width'], (self.patch // 4)**2).to(args.device)
        # For these few words random vectors are as good as learned ones, and save updating 49,408 rows per step.
        torch.nn.init.normal_(self.model.token_embedding.weight, std=.5)
        self.model.token_embedding.requires_grad_(False)
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
        if state['epochs'] != self.args.epochs:
            raise SystemExit(f"{path} is the state of a run of {state['epochs']} epochs, not {self.args.epochs}; set "
                             '--epochs to that number, or remove the file to start again')
        for name in ('model', 'optimizer', 'schedule'):
            getattr(self, name).load_state_dict(state[name])
        self.log = state['log']

    def save(self, path: Path) -> None:
        """Write the state after an epoch."""
        state = {name: getattr(self, name).state_dict() for name in ('model', 'optimizer', 'schedule')}
        with atomic_write(path) as unfinished:
            torch.save(dict(state, log=self.log, epoch=len(self.log), epochs=self.args.epochs), unfinished)

    def train_epoch(self, epoch: int, images: torch.Tensor) -> tuple[float, float]:
        """Train for one epoch on images uint8 (N V, 3, H, H); return the mean loss and top-1."""
        self.model.train()
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
        device = self.args.device
        both = augment(torch.cat((images[batch], self.depth[batch, None]), 1).to(device).float() / 255)
        normalized, target = (both[:, :3] - MEAN.to(device)) / STD.to(device), 1 - both[:, 3:]
        caption = self.tokens[torch.arange(len(CATEGORIES)), torch.randint(len(CAPTIONS), (len(CATEGORIES),))]
        self.model.visual.output_tokens = True
        with torch.autocast(device, torch.bfloat16):
            image_features, patches = self.model.visual(normalized)
            decoded = self.depth_decoder(patches)
        self.model.visual.output_tokens = False
        text_features = self.model.encode_text(caption.to(device))
        grid = F.unfold(F.avg_pool2d(target, 4), self.patch // 4, stride=self.patch // 4).transpose(1, 2)
        loss = clip_loss(image_features, text_features, self.labels[batch].to(device), self.model.logit_scale.exp())
        loss = loss + self.args.depth_weight * max(0., 1 - progress / .6) * F.mse_loss(decoded.float(), grid)
        with torch.no_grad():
            guess = (F.normalize(image_features.float(), dim=-1) @ F.normalize(text_features, dim=-1).T).argmax(1)
            return loss, (guess.cpu() == self.labels[batch]).float().mean().item()

    def run(self, state_path: Path, unseen: Objects) -> None:
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
                    self.objects, clutter_range(drawn, self.args.epochs), 100 + drawn, 'images')).flatten(0, 1)
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
        return accuracy(self.model, self.tokens, images, labels, self.args.device)


def main() -> None:
    args = parse_args()
    torch.manual_seed(args.seed)
    torch.set_flush_denormal(True)
    work_dir, out = Path(args.work_dir), Path(args.out)
    objects = make_depth_views(args.objects, args.views, 1, work_dir / f'train_{args.objects}x{args.views}.npz', False)
    validation = make_depth_views(25, 10, 2, work_dir / 'val.npz', True)
    tokenizer = SimpleTokenizer(context_length=CONFIG['text_cfg']['context_length'])
    tokens = torch.stack([tokenizer([caption.format(c) for caption in CAPTIONS]) for c in CATEGORIES])
    training = Training(args, objects, tokens)
    training.run(work_dir / 'state.pth', validation)
    unseen = make_depth_views(100, 10, 3, work_dir / 'unseen.npz', True)
    single, joint, per_class = training.test(draw_images(unseen, (1., 1.), 98, 'unseen images'), unseen.labels)
    depth_single, depth_joint, _ = training.test(as_images(unseen.depth), unseen.labels)
    save_compact_clip(training.model.cpu(), CONFIG, [0, *tokens.unique().tolist()], out)
    options = ' '.join(f'--{key.replace("_", "-")} {value}' for key, value in vars(args).items()
                       if key not in ('work_dir', 'out', 'device'))
    record = dict(command=f'python tools/analysis_tools/train_tiny_clip.py {options}', device=args.device,
                  torch=torch.__version__, captions=CAPTIONS, categories=CATEGORIES,
                  unseen_objects=len(unseen.labels), image_top1=single, image_top1_10_views=joint,
                  depth_top1=depth_single, depth_top1_10_views=depth_joint, per_class_10_views=per_class,
                  epochs=training.log)
    with atomic_write(out.with_name(f'{out.stem}.log.json')) as unfinished:
        unfinished.write_text(json.dumps(record, indent=1) + '\n')
    print(f'unseen images: top-1 {single} % of single views, {joint} % of objects with 10 views -> {out}')


if __name__ == '__main__':
    main()
