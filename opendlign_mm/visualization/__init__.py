"""Figures and pages of plain data: depth views, boxes in scenes and results."""
from .boxes import draw_scene_from_above
from .oblique import draw_scene_at_an_angle
from .plots import draw_confusion_matrix, draw_few_shot_plot
from .sheets import depth_contact_sheet, draw_gallery, draw_image_sheet

__all__ = [
    'depth_contact_sheet', 'draw_confusion_matrix', 'draw_few_shot_plot', 'draw_gallery', 'draw_image_sheet',
    'draw_scene_at_an_angle', 'draw_scene_from_above'
]
