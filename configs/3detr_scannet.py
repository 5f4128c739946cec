"""3DETR on ScanNet: every point attends to every other one; everything else as in 3detr_m_scannet.py."""
_base_ = '3detr_m_scannet.py'

model = dict(
    encoder=dict(_delete_=True, num_layers=3, num_heads=4, feedforward_channels=128, dropout=0.1),
    memory_layers=3)
