"""Training of the demonstration CLIP on images of depth views, with captions of their categories."""
import copy
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import CLIP
from tqdm import tqdm

from ..atomic_files import atomic_write
from ..datasets.random_views import StoredViews
from ..generation.drawn_views import as_images, augment, clutter_range, draw_batch, draw_images
from ..models.pixels import IMAGENET_MEAN, IMAGENET_STD

# Images that are drawn or encoded at once where nothing is trained.
CHUNK = 512


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training.

    Attributes:
        epochs: Number of passes over all views.
        batch_size: Images of a step.
        lr: Largest learning rate.
        depth_weight: Initial weight of the loss on the depth of the patches, 0 after 60 % of the run.
        patch_dropout: Share of patches that are left out, but for the last fifth of the run.
        draw: 'stored' draws the images of an epoch on the CPU before it, new ones every other epoch; 'batch' draws
            those of a step on the device.
        average: Decay of the moving average of the weights, which is then tested and kept; 0 for the last weights.
        warm: Whether the weights have been trained before.
        seed: Seed of everything random.
        device: Device of the training.
    """
    epochs: int
    batch_size: int
    lr: float
    depth_weight: float = 0.
    patch_dropout: float = 0.
    draw: str = 'stored'
    average: float = 0.
    warm: bool = False
    seed: int = 0
    device: str = 'cpu'


class PatchDropout(torch.nn.Module):
    """Random choice of patches while training; the class token stays.

    open_clip's draws and sorts on the CPU, for which a GPU would have to wait.

    Args:
        share: Share of the patches that are left out, in [0, 1).
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return (N, 1 + K, D) of tokens (N, 1 + L, D), or all of them while not training."""
        if not self.training:
            return tokens
        n, count = len(tokens), tokens.shape[1] - 1
        kept = torch.randn(n, count, device=tokens.device).topk(max(1, int(count * (1 - self.share)))).indices + 1
        index = F.pad(kept, (1, 0))[..., None].expand(-1, -1, tokens.shape[-1])
        return tokens.gather(1, index)


def clip_loss(image_features: torch.Tensor, text_features: torch.Tensor, labels: torch.Tensor,
              scale: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy from images to captions and back; each image of a caption's category is a positive."""
    logits = scale * F.normalize(image_features.float(), dim=-1) @ F.normalize(text_features.float(), dim=-1).T
    positive = F.one_hot(labels, logits.shape[1]).float()
    count = positive.sum(0)
    backward = (logits.T.log_softmax(1) * positive.T).sum(1) / count.clamp(min=1)  # 0 for absent categories
    return .5 * F.cross_entropy(logits, labels, label_smoothing=.1) - .5 * backward.sum() / (count > 0).sum()


def normalized(images: torch.Tensor) -> torch.Tensor:
    """Return images (N, 3, H, W) in [0, 1] as the CLIP takes them."""
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1)
                 for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images - mean) / std


@torch.no_grad()
def accuracy(model: CLIP, tokens: torch.Tensor, images: np.ndarray, labels: np.ndarray, categories: Sequence[str],
             device: str) -> tuple[float, float, dict[str, float]]:
    """Return top-1 of single views, of the sum over each object's views, and the latter per category, in percent."""
    model.eval()
    text = torch.stack([F.normalize(model.encode_text(t.to(device)), dim=-1).mean(0) for t in tokens])
    text = F.normalize(text, dim=-1)
    views, truth = images.shape[1], torch.as_tensor(labels)
    parts = []
    for part in torch.from_numpy(images).flatten(0, 1).split(CHUNK):
        with torch.autocast(device, torch.bfloat16):
            features = model.encode_image(normalized(part.to(device).float() / 255))
        parts.append((F.normalize(features.float(), dim=-1) @ text.T).cpu())
    scores = torch.cat(parts).view(-1, views, len(tokens))
    single = (scores.argmax(-1) == truth[:, None]).float().mean().item()
    joint = scores.sum(1).argmax(-1) == truth
    per_class = {c: round(100 * joint[truth == k].float().mean().item(), 1) for k, c in enumerate(categories)}
    return round(100 * single, 2), round(100 * joint.float().mean().item(), 2), per_class


def draw_unseen(unseen: StoredViews, seed: int, draw: str, device: str) -> np.ndarray:
    """Return cluttered images uint8 (N, V, 3, H, H) to test on, drawn as those of the training were."""
    if draw == 'stored':
        return draw_images(unseen, (1., 1.), seed, 'unseen images')
    generator = torch.Generator(device).manual_seed(seed)
    depth = torch.from_numpy(unseen.depth).flatten(0, 1).split(CHUNK)
    colors = torch.from_numpy(np.repeat(unseen.colors, unseen.depth.shape[1], axis=0)).split(CHUNK)
    images = torch.cat([(draw_batch(d.to(device), c.to(device), (1., 1.), generator) * 255).round().byte().cpu()
                        for d, c in zip(depth, colors, strict=True)])
    return images.view(*unseen.depth.shape[:2], *images.shape[1:]).numpy()


class CLIPTraining:
    """A CLIP, its optimizer and its data.

    Args:
        model: The CLIP, on the device.
        depth_decoder: Layer from a patch token to a grid of depths of 4 pixels each, on the device.
        options: Options of the training.
        objects: Objects to train on.
        tokens: Captions, int64 (C, T, L): T of each category.
        categories: Names of the C categories.
    """

    def __init__(self, model: CLIP, depth_decoder: torch.nn.Linear, options: TrainingOptions, objects: StoredViews,
                 tokens: torch.Tensor, categories: Sequence[str]) -> None:
        self.options, self.objects, self.tokens, self.categories = options, objects, tokens, categories
        self.model, self.depth_decoder, self.patch = model, depth_decoder, model.visual.patch_size[0]
        self.trained = [p for p in (*self.model.parameters(), *self.depth_decoder.parameters()) if p.requires_grad]
        decay, other = [p for p in self.trained if p.dim() > 1], [p for p in self.trained if p.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [dict(params=decay, weight_decay=.05), dict(params=other, weight_decay=0)], lr=options.lr,
            betas=(.9, .98), fused=True if 'cuda' in options.device else None)
        self.states = ['model', 'depth_decoder', 'optimizer', 'schedule']
        self.averaged = copy.deepcopy(model) if options.average else None
        if self.averaged is not None:
            self.states.append('averaged')
        # Drawing in batches needs all of the data on the device.
        place = options.device if options.draw == 'batch' else 'cpu'
        views = objects.depth.shape[1]
        self.labels = torch.from_numpy(np.repeat(objects.labels, views)).to(place)
        self.depth = torch.from_numpy(objects.depth).flatten(0, 1).to(place)
        self.colors = torch.from_numpy(np.repeat(objects.colors, views, axis=0)).to(place)
        self.steps = len(self.labels) // options.batch_size
        if not self.steps:
            raise ValueError(f'a batch of {options.batch_size} needs as many views, got {len(self.labels)}')
        total = self.steps * options.epochs
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: min(
            (step + 1) / 300, .5 * (1 + math.cos(math.pi * min(step / total, 1))) + .01))
        self.log: list[dict] = []

    def load(self, state: dict) -> None:
        """Go on from a state that :meth:`save` has written."""
        for name in self.states:
            getattr(self, name).load_state_dict(state[name])
        self.log = state['log']

    def save(self, path: Path, **more: object) -> None:
        """Write the state after an epoch, with ``more`` beside it."""
        state = {name: getattr(self, name).state_dict() for name in self.states}
        with atomic_write(path) as unfinished:
            torch.save(dict(state, log=self.log, **more), unfinished)

    def train_epoch(self, epoch: int, images: torch.Tensor | None) -> tuple[float, float]:
        """Train for one epoch on images uint8 (N V, 3, H, H), or drawn ones; return the mean loss and top-1."""
        self.model.train()
        dropout = self.options.patch_dropout if epoch < .8 * self.options.epochs else 0.
        self.model.visual.patch_dropout = PatchDropout(dropout) if dropout else torch.nn.Identity()
        losses, hits = [], []
        batches = torch.randperm(len(self.labels))[:self.steps * self.options.batch_size].view(self.steps, -1)
        bar = tqdm(batches.to(self.labels.device), desc=f'epoch {epoch + 1}')
        for step, batch in enumerate(bar):
            loss, hit = self._losses(batch, images, epoch, (epoch + step / self.steps) / self.options.epochs)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained, 1.)
            self.optimizer.step()
            self.schedule.step()
            with torch.no_grad():
                self.model.logit_scale.clamp_(0, math.log(100))
                self._average()
            losses.append(loss.detach())
            hits.append(hit)
            if step % 50 == 49:  # not more often: a GPU would have to finish for it
                recent = torch.stack((torch.stack(losses[-50:]).mean(), 100 * torch.stack(hits[-50:]).mean())).tolist()
                bar.set_postfix(loss=f'{recent[0]:.3f}', top1=f'{recent[1]:.1f}')
        return float(np.mean(torch.stack(losses).tolist())), float(np.mean(torch.stack(hits).tolist()))

    def _average(self) -> None:
        """Move the averaged weights toward those of this step, faster at the beginning."""
        if self.averaged is not None:
            step = self.schedule.last_epoch
            weight = 1 - min(self.options.average, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.model.parameters()), weight)

    def _pictures(self, batch: torch.Tensor, images: torch.Tensor | None, epoch: int) -> torch.Tensor:
        """Return images and depth of a batch, float32 (N, 4, H, H) in [0, 1]."""
        depth = self.depth[batch]
        if images is not None:
            return torch.cat((images[batch], depth[:, None]), 1).to(self.options.device).float() / 255
        clutter = clutter_range(epoch, self.options.epochs, self.options.warm)
        return torch.cat((draw_batch(depth, self.colors[batch], clutter), depth[:, None].float() / 255), 1)

    def _losses(self, batch: torch.Tensor, images: torch.Tensor | None, epoch: int, progress: float
                ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of a batch and its top-1 in [0, 1]; ``progress`` runs from 0 to 1 during training."""
        device, weight = self.options.device, self.options.depth_weight * max(0., 1 - progress / .6)
        both = augment(self._pictures(batch, images, epoch))
        target = 1 - both[:, 3:]
        count, labels = len(self.categories), self.labels[batch].to(device)
        caption = self.tokens[torch.arange(count), torch.randint(self.tokens.shape[1], (count,))]
        self.model.visual.output_tokens = True
        with torch.autocast(device, torch.bfloat16):
            image_features, patches = self.model.visual(normalized(both[:, :3]))
            decoded = self.depth_decoder(patches) if weight else None
        self.model.visual.output_tokens = False
        text_features = self.model.encode_text(caption.to(device))
        loss = clip_loss(image_features, text_features, labels, self.model.logit_scale.exp())
        if decoded is not None:
            grid = F.unfold(F.avg_pool2d(target, 4), self.patch // 4, stride=self.patch // 4).transpose(1, 2)
            loss = loss + weight * F.mse_loss(decoded.float(), grid)
        with torch.no_grad():
            guess = (F.normalize(image_features.float(), dim=-1) @ F.normalize(text_features, dim=-1).T).argmax(1)
            return loss, (guess == labels).float().mean()

    def run(self, unseen: StoredViews, state_path: Path, **more: object) -> None:
        """Train for the remaining epochs; after each, test on every third view of ``unseen`` and save the state."""
        unseen_images = draw_unseen(unseen, 99, self.options.draw, self.options.device)[:, ::3]
        images, drawn = None, None
        for epoch in range(len(self.log), self.options.epochs):
            torch.manual_seed(self.options.seed * 1000 + epoch)
            began = time.time()
            if self.options.draw == 'stored' and drawn != epoch - epoch % 2:
                drawn = epoch - epoch % 2  # new images every other epoch
                clutter = clutter_range(drawn, self.options.epochs, self.options.warm)
                images = torch.from_numpy(draw_images(self.objects, clutter, 100 + drawn, 'images')).flatten(0, 1)
            drew = time.time()
            loss, top1 = self.train_epoch(epoch, images)
            single, joint, _ = self.test(unseen_images, unseen.labels)
            depth_single, depth_joint, _ = self.test(as_images(unseen.depth[:, ::3]), unseen.labels)
            self.log.append(dict(
                epoch=epoch + 1, lr=self.schedule.get_last_lr()[0], loss=round(loss, 4),
                train_top1=round(100 * top1, 2), image_top1=single, image_top1_4_views=joint, depth_top1=depth_single,
                depth_top1_4_views=depth_joint, seconds=round(time.time() - began), drawing=round(drew - began)))
            print(json.dumps(self.log[-1]), flush=True)
            self.save(state_path, **more)

    @property
    def result(self) -> CLIP:
        """The CLIP that is tested and kept: with averaged weights, if they are."""
        return self.model if self.averaged is None else self.averaged

    def test(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, float, dict[str, float]]:
        """Return the :func:`accuracy` on images uint8 (N, V, 3, H, H)."""
        return accuracy(self.result, self.tokens, images, labels, self.categories, self.options.device)
