"""Pictures of depth views, of boxes in scenes and of results."""
from .boxes import draw_scene_from_above
from .confusion_matrix import draw_confusion_matrix
from .sheets import depth_contact_sheet

__all__ = ['depth_contact_sheet', 'draw_confusion_matrix', 'draw_scene_from_above']
