"""An open_clip model configuration small enough for a test."""


def tiny_clip(embed_dim: int = 32, image_size: int = 32, patch_size: int = 8, width: int = 32, layers: int = 2,
              text_layers: int = 1) -> dict:
    """Return the configuration of a CLIP whose towers have two heads and the same width."""
    return dict(
        embed_dim=embed_dim,
        vision_cfg=dict(image_size=image_size, patch_size=patch_size, width=width, layers=layers,
                        head_width=width // 2),
        text_cfg=dict(context_length=77, vocab_size=49408, width=width, heads=2, layers=text_layers))


TINY_CLIP = tiny_clip()
TINY_BACKBONE = dict(type='CLIPDepthBackbone', clip='tiny', model_config=TINY_CLIP, pretrained=None)
