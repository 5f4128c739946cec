"""The image stage: generate depth-aligned images for all shards of a store of depth views.

:func:`generate_images` runs the stage of a config; :class:`ImageStage` makes the images of given shards.
"""
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config

from ..datasets.store import PackedShape, ShapeStore, encode_image
from ..datasets.store.manifest import problem_row
from ..datasets.store.packed_shape import ImageFormat
from ..datasets.unreadable import Unreadable
from ..file_keys import readable_text
from ..processes import (
    of_all_processes,
    on_first_process,
    only_run,
    own_share,
    process_name,
    progress,
    say,
)
from .depth_sources import DepthSource, check_same_texts, open_depth_source, texts_of
from .diffusion import single_color
from .image_prompts import PromptStyle
from .missing_shards import missing_shards, say_known_problems
from .throughput import Throughput, together


def generate_images(cfg: dict | Config, device: torch.device | None = None) -> dict[str, str]:
    """Run this process's part of the image stage of a config; see configs/generation/.

    Args:
        cfg: ``source``, ``out_dir``, ``generator``; optional ``metadata``, ``prompt``, ``layout``, ``seed``,
            ``batch_size``, ``shapes_per_shard``, ``depth_shape``, ``image_format``, ``image_quality``.
        device: Device of the generator; default the CPU.

    Returns:
        sample_id -> why the object has no images, of all processes; each process waits for the last one.

    Raises:
        FileNotFoundError, ValueError, OSError, RuntimeError: The input or the output folder cannot be used; the message
            says what to do. Finished shards are kept; rerun to complete the rest.
    """
    cfg = Config(dict(cfg)) if not isinstance(cfg, Config) else cfg
    device = device or torch.device('cpu')
    out_dir, layout = Path(cfg.out_dir), cfg.get('layout', 'shards')
    image_format = 'png' if layout == 'folder' else cfg.get('image_format', 'jpg')
    options = dict(seed=cfg.get('seed', 0), depth_shape=cfg.get('depth_shape'), image_format=image_format,
                   image_quality=cfg.get('image_quality', 95))
    prompts, generator_config = PromptStyle(**cfg.get('prompt', {})), cfg.generator.to_dict()

    def start() -> tuple[DepthSource, dict[str, str]]:
        source = open_depth_source(cfg.source, cfg.get('shapes_per_shard', 64))
        texts = texts_of(source, cfg.get('metadata'))
        settings = dict(options, stage='images', generator=generator_config, prompt=vars(prompts),
                        source=source.settings())
        store = ShapeStore.create(out_dir, layout, source.num_shapes, source.shapes_per_shard, settings)
        check_same_texts(store, texts)
        return source, texts

    with only_run(out_dir):
        source, texts = on_first_process(start)
        store = ShapeStore(out_dir)
        generator = MODELS.build(dict(generator_config))
        if hasattr(generator, 'to'):
            generator.to(device)
        stage = ImageStage(source, texts, store, generator, prompts, batch_size=cfg.get('batch_size', 64),
                           device=device, **options)
        shards = missing_shards(store, stage.is_outdated)
        say(f'{len(shards)} of {store.num_shards} shards of {out_dir} are to be made')
        own = own_share(shards)
        if own and hasattr(generator, 'load'):
            generator.load()
        stage.throughput = Throughput(device)
        problems = stage.run(own)
        measured = stage.throughput.measured()
        print(f'{process_name()}: {measured.line()}', flush=True)
    # Problems are raised by the caller, after this wait: a launcher ends all processes when one of them fails.
    parts = of_all_processes((problems, measured))
    if len(parts) > 1:
        say(f'all {len(parts)} processes: {together([part for _, part in parts]).line()}')
    problems = {name: problem for own, _ in parts for name, problem in own.items()}
    say_known_problems(store, problems)
    return problems


def image_seed(sample_id: str, view: int, run_seed: int = 0) -> int:
    """Return the seed of one image in [0, 2**63), which is independent of all other images.

    Args:
        sample_id: Name of the object.
        view: Index of the view.
        run_seed: Seed of the run; another one gives other images.
    """
    digest = hashlib.sha256(json.dumps([sample_id, view, run_seed]).encode()).digest()
    return int.from_bytes(digest[:8], 'big') >> 1


class ImageStage:
    """Pipeline that reads depth views, generates their images and writes them, shard by shard.

    Args:
        source: Depth views.
        texts: sample_id -> text.
        store: Store of the images, with the same shards as ``source``.
        generator: Function ``(depth_views (N, H, H), seeds, prompts=prompts) -> uint8 (N, H', H', 3)``.
        prompts: Function from a text to its prompt.
        seed: Seed of the run.
        batch_size: Number of images that the generator gets at a time, of one or several objects. It is rounded up to
            whole passes of the networks (``generator.pass_size``), so that it affects the speed but not the images: an
            image rounds differently next to other images.
        depth_shape: Required shape (V, H, W) of the depth views; None allows any square views.
        image_format: Format of the image files; see :func:`encode_image`.
        image_quality: JPEG quality; see :func:`encode_image`.
        device: Device of the generator, for the measurement; default the CPU.

    Raises:
        ValueError: ``batch_size`` < 1.
    """

    def __init__(self, source: DepthSource, texts: dict[str, str], store: ShapeStore, generator: Callable,
                 prompts: PromptStyle, seed: int = 0, batch_size: int = 64,
                 depth_shape: Sequence[int] | None = None, image_format: ImageFormat = 'jpg', image_quality: int = 95,
                 device: torch.device | None = None) -> None:
        if batch_size < 1:
            raise ValueError(f'batch_size must be >= 1, got {batch_size}')
        self.source, self.texts, self.store, self.generator = source, texts, store, generator
        pass_size = getattr(generator, 'pass_size', 1)
        self.prompts, self.seed, self.batch_size = prompts, seed, -(-batch_size // pass_size) * pass_size
        self.depth_shape = None if depth_shape is None else tuple(depth_shape)
        self.image_format, self.image_quality = image_format, image_quality
        self.throughput = Throughput(device or torch.device('cpu'))
        self.problems: dict[str, str] = {}

    def run(self, shards: Sequence[int]) -> dict[str, str]:
        """Make shards.

        While the generator works on a shard, threads read the next one and encode and write the previous one.

        Returns:
            sample_id -> why the object has no images.
        """
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(4) as encoder, \
                progress(total=sum(len(self.store.indices(shard)) for shard in shards), desc='images',
                         unit='shape') as bar:
            written: Future | None = None
            upcoming = [reader.submit(self._read, shard) for shard in shards[:1]]
            for position, shard in enumerate(shards):
                work = upcoming.pop().result()
                upcoming = [reader.submit(self._read, following) for following in shards[position + 1:position + 2]]
                self._generate(work, encoder)
                self.problems.update(work.problems)
                if written is not None:
                    written.result()
                written = writer.submit(self._write, work)
                bar.update(len(self.store.indices(shard)))
            if written is not None:
                written.result()
        self.throughput.stop()
        return self.problems

    def is_outdated(self, shard: int) -> bool:
        """Return whether a finished shard has to be made again.

        It has if its depth views have changed, or if objects that it lacks can be read now. Objects whose files have
        not changed are not tried again.
        """
        manifest = self.store.manifest(shard)
        if manifest.facts.get('source', now := self.source.fingerprint(shard)) != now:
            return True
        changed = {row['sample_id'] for row in manifest.rows if row['problem'] and json.loads(
            row['metadata']).get('source') != self.source.file_state(shard, row['sample_id'])}
        return bool(changed) and not changed.isdisjoint(shape.sample_id for shape in self._read(shard).shapes)

    def _read(self, shard: int) -> '_Work':
        work = _Work(shard, self.source.fingerprint(shard))
        for shape in self.source.read(shard):
            if isinstance(shape, Unreadable):
                work.problems[shape.sample_id] = shape.reason
                continue
            try:
                views = self._checked_views(shape)
            except ValueError as error:
                work.problems[shape.sample_id] = str(error)
            else:
                work.views.append(views)
                work.shapes.append(shape)
        return work

    def _checked_views(self, shape: PackedShape) -> torch.Tensor:
        views = shape.depth_views()
        if self.depth_shape is not None and views.shape != self.depth_shape or views.shape[1] != views.shape[2]:
            expected = 'square views' if self.depth_shape is None else f'{self.depth_shape} (depth_shape)'
            raise ValueError(f'the depth views of {shape.sample_id} are {views.shape} (views, height, width), but must '
                             f'be {expected}. Project it again or correct depth_shape.')
        if shape.sample_id not in self.texts:
            raise ValueError(f'{shape.sample_id} has no text')
        return torch.from_numpy(views)

    def _generate(self, work: '_Work', encoder: ThreadPoolExecutor) -> None:
        """Set the images (as futures of their encoded files), prompts and seeds of the objects of a shard."""
        prompts, seeds, pending, single = [], [], [], []
        for shape, views in zip(work.shapes, work.views, strict=True):
            text = self.texts[shape.sample_id]
            prompt = self.prompts(text)
            own_seeds = [image_seed(shape.sample_id, view, self.seed) for view in range(len(views))]
            shape.metadata = dict(shape.metadata, text=text, prompt=prompt.positive, negative_prompt=prompt.negative,
                                  seeds=own_seeds)
            shape.image_format, shape.image_files = self.image_format, []
            prompts += [prompt] * len(views)
            seeds += own_seeds
        depth = torch.cat(work.views) if work.views else torch.zeros(0, 8, 8, dtype=torch.uint8)
        for begin in range(0, len(seeds), self.batch_size):
            chosen = slice(begin, begin + self.batch_size)
            start = time.perf_counter()
            images = self.generator(depth[chosen].float() / 255, seeds[chosen], prompts=prompts[chosen])
            self.throughput.generating += time.perf_counter() - start
            single += single_color(images).tolist()
            pending += [encoder.submit(encode_image, image.numpy(), self.image_format, self.image_quality)
                        for image in images]
        self.throughput.images += len(pending)
        self.throughput.shapes += len(work.shapes)
        encoded, blank = iter(pending), iter(single)
        complete = []
        for shape, views in zip(work.shapes, work.views, strict=True):
            shape.image_files = [next(encoded) for _ in views]
            wrong = [view for view in range(len(views)) if next(blank)]
            if wrong:
                work.problems[shape.sample_id] = (
                    f'{shape.sample_id}: the generator made images of a single color (views '
                    f'{", ".join(map(str, wrong))}): its networks overflowed, also in float32, or a safety checker '
                    'blacked the images out')
            else:
                complete.append(shape)
        work.shapes = complete

    def _write(self, work: '_Work') -> None:
        for shape in work.shapes:
            shape.image_files = [future.result() for future in shape.image_files]
        problems = [problem_row(name, problem, self.source.file_state(work.shard, readable_text(name)))
                    for name, problem in work.problems.items()]
        self.store.write(work.shard, work.shapes, problems, dict(source=work.source))


@dataclass
class _Work:
    """A shard on its way through the stage.

    Attributes:
        shard: Number of the shard.
        source: Fingerprint of its depth views.
        shapes: Objects that can be read.
        views: Their depth views, uint8 (V, H, H).
        problems: sample_id -> why the object has no images.
    """
    shard: int
    source: str
    shapes: list[PackedShape] = field(default_factory=list)
    views: list[torch.Tensor] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
