"""Images that a diffusion model fails on: repeated in float32, else reported, and never stored."""
import pytest
import torch
from mmdet3d.registry import MODELS

from helpers.stored_shapes import noise_store
from helpers.tiny_generation import SIZE, VIEWS, diffusion_config, generation_config
from opendlign_mm.datasets.store import ShapeStore
from opendlign_mm.generation import diffusion
from opendlign_mm.generation.diffusion import single_color
from opendlign_mm.generation.image_prompts import PromptStyle, TextEmbeddings
from opendlign_mm.generation.image_stage import generate_images

VIEW = torch.ones(4, SIZE, SIZE)
PROMPTS = [PromptStyle()(text) for text in ('cup', 'lamp', 'cup', 'chair')]
SEEDS = [3, 4, 5, 6]


def half_precision(fail, **options):
    """A generator in bfloat16 whose decoded images pass through ``fail(images (N, 3, H, W))``."""
    model = MODELS.build(diffusion_config(dtype='bfloat16', pass_size=2, **options)).load()
    model._pipeline.vae.decoder.register_forward_hook(lambda module, inputs, output: fail(output))
    return model


def overflow(images: torch.Tensor) -> torch.Tensor:
    """The second image of a pass overflows in half precision."""
    if images.dtype != torch.float32:
        images[1, :, 4, 5] = float('nan')
    return images


def test_an_image_that_overflows_in_half_precision_is_made_again_in_float32(monkeypatch):
    said = []
    monkeypatch.setattr(diffusion, 'print_log', lambda text, *_: said.append(text))
    whole, failing = half_precision(lambda images: images), half_precision(overflow)
    weights = {name: value.clone() for name, value in failing._pipeline.unet.state_dict().items()}
    images, expected = failing(VIEW, SEEDS, PROMPTS), whole(VIEW, SEEDS, PROMPTS)
    assert torch.equal(images[[0, 2]], expected[[0, 2]]), 'the other images of a pass stay as they are'
    full = MODELS.build(diffusion_config(dtype='float32', pass_size=1)).load()
    for name, part in full._pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            part.load_state_dict(failing._pipeline.components[name].state_dict())  # the rounded weights
    for place in (1, 3):
        assert torch.equal(images[place], full(VIEW[:1], SEEDS[place:place + 1], PROMPTS[place:place + 1])[0])
        assert not torch.equal(images[place], expected[place])
    assert failing.images_repeated == 2 and len(said) == 1 and 'but not in float32' in said[0]
    for name, value in failing._pipeline.unet.state_dict().items():
        assert value.dtype == torch.bfloat16 and torch.equal(value, weights[name])
    assert torch.equal(failing(VIEW, SEEDS, PROMPTS), images), 'the same call gives the same images'


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -1.])
def test_an_image_that_fails_in_float32_too_is_black(value):
    def fail(images):
        images[-1] = value
        return images

    model = half_precision(fail)
    assert single_color(model(VIEW, SEEDS, PROMPTS)).tolist() == [False, True, False, True]
    assert model.images_repeated == 2


def test_single_colors():
    images = torch.zeros(4, 5, 6, 3, dtype=torch.uint8)
    images[1] = torch.tensor([1, 2, 3])
    images[2, 4, 5, 2] = 1
    images[3] = torch.arange(6)[None, :, None]
    assert single_color(images).tolist() == [True, True, False, False]


class Blackout:
    """A generator of noise that blacks out the images of some seeds, as a safety checker does."""

    def __init__(self, seeds) -> None:
        self.seeds, self.calls = seeds, 0

    def __call__(self, depth_views, seeds, prompts=None):
        self.calls += 1
        images = torch.randint(0, 256, (len(seeds), SIZE, SIZE, 3), dtype=torch.uint8)
        for place, seed in enumerate(seeds):
            if seed in self.seeds:
                images[place] = 0
        return images


def test_objects_with_a_failed_image_are_reported_and_not_stored(tmp_path, monkeypatch):
    from opendlign_mm.generation import image_stage
    noise_store(tmp_path / 'depth', images=False)
    bad = image_stage.image_seed('c', 1, 1)
    model = Blackout([bad])
    monkeypatch.setattr(MODELS, 'build', lambda config: model)
    config = generation_config(tmp_path / 'depth', tmp_path / 'images', generator=dict(type='Blackout'))
    (name, problem), = generate_images(config).items()
    assert name == 'c' and problem.startswith('c: the generator made images of a single color (views 1)')
    store = ShapeStore(tmp_path / 'images')
    assert store.missing() == []
    assert [shape.sample_id for shard in range(3) for shape in store.read(shard)] == list('abdef')
    assert all(shape.images().shape[0] == VIEWS for shard in range(3) for shape in store.read(shard))
    calls = model.calls
    assert generate_images(config) == {} and model.calls == calls, 'a deterministic failure is not tried again'


def test_embeddings_of_texts_are_bounded_by_memory():
    class Pipeline:
        encoded = []

        def encode_prompt(self, prompt):
            self.encoded.append(prompt)
            return torch.zeros(1, 256), None

    pipeline, texts = Pipeline(), TextEmbeddings(('prompt_embeds', None), max_bytes=3 * 1024)
    for text in ('a', 'b', 'c', 'a', 'd', 'a', 'b'):
        assert texts(pipeline, text, torch.device('cpu'))['prompt_embeds'].shape == (1, 256)
        assert texts.bytes_kept <= 3 * 1024
    assert pipeline.encoded == ['a', 'b', 'c', 'd', 'b'], 'the least recently used text is dropped'
    with pytest.raises(ValueError, match='text_cache_mib must be >= 1'):
        MODELS.build(diffusion_config(text_cache_mib=0))
