"""Train the demonstration CLIP that ships in opendlign_mm/assets: pictures of built-in objects with captions.

    python tools/analysis_tools/train_tiny_clip.py --out opendlign_mm/assets/tiny_clip.safetensors

The pictures go from plain objects on a light ground to cluttered ones: a small ViT that starts with clutter does not
get off the ground. At the end no ground is light any more, so that depth maps, gray on white, are as strange to this
CLIP as they are to one that was trained on photographs. In the first part the patch tokens also learn to tell the
depth of what a picture shows, through a linear layer that is thrown away; a depth map is never an input. A killed run
goes on from its last epoch (--work-dir).
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


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='opendlign_mm/assets/tiny_clip.safetensors')
    parser.add_argument('--work-dir', default='work_dirs/tiny_clip', help='pictures and the state to resume from')
    parser.add_argument('--objects', type=int, default=600, help='training objects a category')
    parser.add_argument('--views', type=int, default=3, help='views of each training object')
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--lr', type=float, default=1e-3)
    parser.add_argument('--depth-weight', type=float, default=4.,
                        help='weight of the loss on the depth of the patches at the start; it falls to 0 in 60 %%')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args()


class DepthViews(torch.utils.data.Dataset):
    """Depth views uint8 (V, H, H), label and two colors uint8 (2, 3) of random objects.

    ``standard`` takes the ten views of the method; otherwise azimuth and elevation are random.
    """

    def __init__(self, objects: int, views: int, seed: int, standard: bool) -> None:
        self.objects, self.views, self.seed, self.standard = objects, views, seed, standard

    def __len__(self) -> int:
        return self.objects * len(CATEGORIES)

    def __getitem__(self, index: int):
        label = index % len(CATEGORIES)
        rng = np.random.default_rng((self.seed, index))
        shape = sample_shape(CATEGORIES[label], rng, 5000)
        angles = range(30, 330, 30) if self.standard else rng.uniform(0, 360, self.views)
        projection = ContourAwareProjection(
            resolution=CONFIG['vision_cfg']['image_size'], depth_bins=32, densify_kernel=5, sigma_space=1.,
            view_angles=angles, elevation=20. if self.standard else rng.uniform(5, 35))
        depth = (projection(torch.from_numpy(shape.points)[None])[0] * 255).round().byte().numpy()
        return depth, label, shape.colors[rng.integers(0, len(shape.colors), 2)]


def make_depth_views(objects: int, views: int, seed: int, path: Path, standard: bool):
    """All of :class:`DepthViews` as arrays, kept at ``path``: depth (N, V, H, H), labels (N,), colors (N, 2, 3)."""
    if path.exists():
        with np.load(path) as file:
            return file['depth'], file['label'], file['colors']
    loader = torch.utils.data.DataLoader(DepthViews(objects, views, seed, standard), batch_size=None,
                                         num_workers=os.cpu_count() or 1)
    depth, labels, colors = zip(*tqdm(loader, desc=f'depth views -> {path.name}'))
    depth, labels, colors = np.stack(depth), np.asarray(labels), np.stack(colors)
    with atomic_write(path) as unfinished:
        np.savez(unfinished, depth=depth, label=labels, colors=colors)
    return depth, labels, colors


def draw_pictures(depth, colors, low: float, high: float, seed: int, desc: str):
    """Pictures uint8 (N, V, 3, H, W) of depth views (N, V, H, W), each chunk with a clutter between low and high."""
    n, views = depth.shape[:2]
    flat, colors = depth.reshape(-1, *depth.shape[2:]), np.repeat(colors, views, axis=0)
    pictures = np.empty((len(flat), 3, *flat.shape[1:]), dtype=np.uint8)
    rng = np.random.default_rng(seed)
    for start in tqdm(range(0, len(flat), 64), desc=desc, leave=False):
        part = slice(start, start + 64)
        generator = ShadedTextureGenerator(clutter=float(rng.uniform(low, high)))
        chunk = torch.from_numpy(flat[part]).float() / 255
        seeds = seed * 10_000_000 + np.arange(start, start + len(chunk))
        pictures[part] = generator(chunk, seeds, colors[part]).permute(0, 3, 1, 2).numpy()
    return pictures.reshape(n, views, *pictures.shape[1:])


def as_pictures(depth: np.ndarray) -> np.ndarray:
    """Depth views uint8 (N, V, H, W) as gray pictures (N, V, 3, H, W)."""
    return np.broadcast_to(depth[:, :, None], (*depth.shape[:2], 3, *depth.shape[2:])).copy()


def augment(pictures: torch.Tensor) -> torch.Tensor:
    """Mirror half of the pictures, zoom and shift each a little. float (N, C, H, W) in and out."""
    n = len(pictures)
    scale = torch.empty(n).uniform_(.9, 1.15)
    flip = torch.where(torch.rand(n) < .5, -1., 1.)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale * flip, scale
    theta[:, :, 2] = torch.empty(n, 2).uniform_(-.06, .06)
    grid = F.affine_grid(theta.to(pictures.device), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode='reflection', align_corners=False)


def clip_loss(image_features, text_features, labels, scale):
    """Image-to-caption and caption-to-image cross entropy; every picture of a caption's category is a positive."""
    logits = scale * F.normalize(image_features.float(), dim=-1) @ F.normalize(text_features.float(), dim=-1).T
    positive = F.one_hot(labels, logits.shape[1]).float()
    present = positive.sum(0) > 0
    backward = (logits.T.log_softmax(1) * positive.T).sum(1)[present] / positive.sum(0)[present]
    return .5 * F.cross_entropy(logits, labels, label_smoothing=.1) - .5 * backward.mean()


@torch.no_grad()
def accuracy(model, tokens, pictures, labels, device):
    """Top-1 of single views and of the sum over an object's views, in percent. pictures (N, V, 3, H, W)."""
    model.eval()
    text = torch.stack([F.normalize(model.encode_text(t.to(device)), dim=-1).mean(0) for t in tokens])
    text = F.normalize(text, dim=-1)
    views, labels = pictures.shape[1], torch.as_tensor(labels)
    scores = []
    for part in torch.from_numpy(pictures).flatten(0, 1).split(512):
        with torch.autocast(device, torch.bfloat16):
            features = model.encode_image(((part.float() / 255 - MEAN) / STD).to(device))
        scores.append((F.normalize(features.float(), dim=-1) @ text.T).cpu())
    scores = torch.cat(scores).view(-1, views, len(tokens))
    single = (scores.argmax(-1) == labels[:, None]).float().mean().item()
    joint = scores.sum(1).argmax(-1) == labels
    per_class = {c: round(100 * joint[labels == k].float().mean().item(), 1) for k, c in enumerate(CATEGORIES)}
    return round(100 * single, 2), round(100 * joint.float().mean().item(), 2), per_class


def stage(epoch: int, epochs: int):
    """Range of clutter in an epoch: plain for the first eighth, then all of it, at the end no light ground any more."""
    progress = epoch / epochs
    return (0., .15) if progress < .12 else (.0, .5) if progress < .3 else (.1, 1.) if progress < .6 else (.7, 1.)


def main():
    args = parse_args()
    torch.manual_seed(args.seed)
    torch.set_flush_denormal(True)
    work_dir = Path(args.work_dir)
    train = make_depth_views(args.objects, args.views, 1, work_dir / f'train_{args.objects}x{args.views}.npz', False)
    val = make_depth_views(25, 10, 2, work_dir / 'val.npz', True)
    val_pictures = draw_pictures(val[0], val[2], 1., 1., 99, 'unseen pictures')
    tokenizer = SimpleTokenizer(context_length=CONFIG['text_cfg']['context_length'])
    tokens = torch.stack([tokenizer([caption.format(c) for caption in CAPTIONS]) for c in CATEGORIES])  # (C, T, L)

    model = CLIP(**CONFIG).to(args.device)
    patch, width = CONFIG['vision_cfg']['patch_size'], CONFIG['vision_cfg']['width']
    depth_decoder = torch.nn.Linear(width, (patch // 4)**2).to(args.device)  # each patch: a 4 x 4 grid of depths
    # Random word vectors are as good as learnt ones for these few words, and spare an update of 49,408 rows a step.
    torch.nn.init.normal_(model.token_embedding.weight, std=.5)
    model.token_embedding.requires_grad_(False)
    trained = [p for p in (*model.parameters(), *depth_decoder.parameters()) if p.requires_grad]
    decay, other = [p for p in trained if p.dim() > 1], [p for p in trained if p.dim() <= 1]
    optimizer = torch.optim.AdamW([dict(params=decay, weight_decay=.05), dict(params=other, weight_decay=0)],
                                  lr=args.lr, betas=(.9, .98))
    labels = torch.from_numpy(np.repeat(train[1], args.views))
    depth = torch.from_numpy(train[0]).flatten(0, 1)
    steps = len(labels) // args.batch_size
    total = steps * args.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / 300, .5 * (1 + math.cos(math.pi * min(step / total, 1))) + .01))
    state_path, log, first = work_dir / 'state.pth', [], 0
    if state_path.exists():
        state = torch.load(state_path, map_location=args.device)
        model.load_state_dict(state['model'])
        optimizer.load_state_dict(state['optimizer'])
        schedule.load_state_dict(state['schedule'])
        log, first = state['log'], state['epoch']
        if state['epochs'] != args.epochs:
            raise SystemExit(f"{state_path} is of a run of {state['epochs']} epochs, not {args.epochs}; give that "
                             'number, or remove the file to start again')
    pictures, drawn = None, None
    for epoch in range(first, args.epochs):
        torch.manual_seed(args.seed * 1000 + epoch)
        began = time.time()
        if drawn != epoch - epoch % 2:
            drawn = epoch - epoch % 2  # fresh pictures every other epoch
            pictures = draw_pictures(train[0], train[2], *stage(drawn, args.epochs), 100 + drawn, 'pictures')
            pictures = torch.from_numpy(pictures).flatten(0, 1)
        drew = time.time()
        model.train()
        losses, hits = [], []
        bar = tqdm(torch.randperm(len(labels))[:steps * args.batch_size].view(steps, -1), desc=f'epoch {epoch + 1}')
        for step, batch in enumerate(bar):
            both = torch.cat((pictures[batch], depth[batch, None]), 1).to(args.device).float() / 255
            both = augment(both)
            images, target = (both[:, :3] - MEAN.to(args.device)) / STD.to(args.device), 1 - both[:, 3:]
            caption = tokens[torch.arange(len(CATEGORIES)), torch.randint(len(CAPTIONS), (len(CATEGORIES),))]
            model.visual.output_tokens = True
            with torch.autocast(args.device, torch.bfloat16):
                image_features, patches = model.visual(images)
                decoded = depth_decoder(patches)
            model.visual.output_tokens = False
            text_features = model.encode_text(caption.to(args.device))
            wanted = F.unfold(F.avg_pool2d(target, 4), patch // 4, stride=patch // 4).transpose(1, 2)
            loss = clip_loss(image_features, text_features, labels[batch].to(args.device), model.logit_scale.exp())
            progress = (epoch + step / steps) / args.epochs
            loss = loss + args.depth_weight * max(0., 1 - progress / .6) * F.mse_loss(decoded.float(), wanted)
            with torch.no_grad():
                guess = (F.normalize(image_features.float(), dim=-1) @ F.normalize(text_features, dim=-1).T).argmax(1)
                hits.append((guess.cpu() == labels[batch]).float().mean().item())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            losses.append(loss.item())
            bar.set_postfix(loss=f'{np.mean(losses[-50:]):.3f}', top1=f'{100 * np.mean(hits[-50:]):.1f}')
        single, joint, _ = accuracy(model, tokens, val_pictures[:, ::3], val[1], args.device)
        depth_single, depth_joint, _ = accuracy(model, tokens, as_pictures(val[0][:, ::3]), val[1], args.device)
        log.append(dict(
            epoch=epoch + 1, lr=schedule.get_last_lr()[0],
            loss=round(float(np.mean(losses)), 4), train_top1=round(100 * float(np.mean(hits)), 2), picture_top1=single,
            picture_top1_4_views=joint, depth_top1=depth_single, depth_top1_4_views=depth_joint,
            seconds=round(time.time() - began), drawing=round(drew - began)))
        print(json.dumps(log[-1]), flush=True)
        with atomic_write(state_path) as unfinished:
            torch.save(dict(model=model.state_dict(), optimizer=optimizer.state_dict(), schedule=schedule.state_dict(),
                            log=log, epoch=epoch + 1, epochs=args.epochs), unfinished)
    unseen = make_depth_views(100, 10, 3, work_dir / 'unseen.npz', True)
    pictures = draw_pictures(unseen[0], unseen[2], 1., 1., 98, 'unseen pictures')
    single, joint, per_class = accuracy(model, tokens, pictures, unseen[1], args.device)
    depth_single, depth_joint, _ = accuracy(model, tokens, as_pictures(unseen[0]), unseen[1], args.device)
    out = Path(args.out)
    save_compact_clip(model.cpu(), CONFIG, [0, *tokens.unique().tolist()], out)
    options = ' '.join(f'--{key.replace("_", "-")} {value}' for key, value in vars(args).items()
                       if key not in ('work_dir', 'out', 'device'))
    record = dict(command=f'python tools/analysis_tools/train_tiny_clip.py {options}', device=args.device, torch=torch.__version__,
                  captions=CAPTIONS, categories=CATEGORIES, unseen_objects=len(unseen[0]), picture_top1=single,
                  picture_top1_10_views=joint, depth_top1=depth_single, depth_top1_10_views=depth_joint,
                  per_class_10_views=per_class, epochs=log)
    with atomic_write(out.with_name(f'{out.stem}.log.json')) as unfinished:
        unfinished.write_text(json.dumps(record, indent=1) + '\n')
    print(f'unseen pictures: top-1 {single} % of single views, {joint} % of objects with 10 views -> {out}')


if __name__ == '__main__':
    main()
