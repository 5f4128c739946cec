#!/usr/bin/env python
"""The pictures of ``tools/visualize_detections.py`` under a shorter name."""
from visualize_detections import main

if __name__ == '__main__':
    main()
