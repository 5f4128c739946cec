"""Points of files of any format: clouds, meshes, RGB-D frames, and the frame that a scene is level in."""
