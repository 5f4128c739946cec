"""Pictures of depth views and of boxes in scenes."""
from .boxes import draw_scene_from_above
from .contact_sheet import depth_contact_sheet

__all__ = ['depth_contact_sheet', 'draw_scene_from_above']
