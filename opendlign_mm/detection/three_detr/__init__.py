"""3DETR and 3DETR-m (Misra et al., ICCV 2021), transformers from points to boxes."""
from .detector import ThreeDETR
from .released import from_released_3detr, to_released_3detr

__all__ = ['ThreeDETR', 'from_released_3detr', 'to_released_3detr']
