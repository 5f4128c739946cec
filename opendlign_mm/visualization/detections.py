"""The pictures of one scene: boxes from above and in space, and the depth views of what is in them."""
from pathlib import Path
from typing import List, Sequence, Union

from ..apis.detect_scene import detect_scene
from ..detection import OpenVocabDetector3D
from .boxes import draw_scene_from_above
from .scene_page import write_scene_page
from .sheets import depth_contact_sheet


def draw_scene(detector: OpenVocabDetector3D,
               batch: dict,
               class_names: Sequence[str],
               out_dir: Union[str, Path],
               max_boxes: int = 30,
               num_classes: int = 5) -> List[Path]:
    """Detect in one scene and draw it; arguments as in :func:`detect_scene`.

    Returns:
        list[Path]: in ``out_dir`` ``SCENE.html``, ``SCENE_boxes.png`` and, if anything is detected,
        ``SCENE_views.png``.
    """
    scene, out_dir = detect_scene(detector, batch, class_names, max_boxes, num_classes), Path(out_dir)
    numbered = [f'{number} {label}' for number, label in enumerate(scene.labels, start=1)]
    paths = [
        write_scene_page(scene, out_dir / f'{scene.name}.html'),
        draw_scene_from_above(scene.points, out_dir / f'{scene.name}_boxes.png', scene.boxes, numbered,
                              scene.true_boxes, scene.true_labels, scene.name)
    ]
    if scene.depth_views is None:
        return paths
    titles = ['\n'.join([f'{number}:', *(f'{name} {value:.2f}' for name, value in classes), match]).rstrip()
              for number, (classes, match) in enumerate(zip(scene.classes, scene.matches), start=1)]
    return paths + [depth_contact_sheet(scene.depth_views, titles, out_dir / f'{scene.name}_views.png')]
