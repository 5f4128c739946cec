"""OpenDlign on PE-Core-L-14-336 (Meta), outside the paper; data and schedule of opendlign_h14.py.

It reads 32 tokens of a text, and the paper's prompts have 35 to 42, so the prompts here end before their keywords.
"""
_base_ = 'opendlign_h14.py'

model = dict(
    backbone=dict(
        clip='PE-Core-L-14-336', pretrained='meta', pixel_mean='clip', pixel_std='clip',
        # The released depth maps have 224 x 224 pixels.
        resize=True),
    zero_shot_head=dict(templates=(
        'a depth map of a gray {} 3D model with white background.', 'a depth image of a gray {} 3D model.',
        'a silhouette of a {}, a raytraced image.', 'a rendering of a {}.')))
