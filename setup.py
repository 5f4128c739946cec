"""Packaging of opendlign_mm; tools/install.sh installs it with all extras in tested versions."""
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = {}
exec((here / 'opendlign_mm' / 'version.py').read_text(), version)

setup(
    name='opendlign_mm',
    version=version['__version__'],
    description='Open-world point cloud understanding with depth-aligned images, as a plugin for mmdetection3d',
    long_description=(here / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['opendlign_mm', 'opendlign_mm.*']),
    package_data={'opendlign_mm': ['assets/*', 'py.typed']},
    python_requires='>=3.10,<3.13',
    # Upper bounds follow the last releases of the OpenMMLab packages: mmdet3d 1.4 asserts mmcv < 2.2, and
    # nuscenes-devkit (a requirement of mmdet3d) needs numpy < 2, which in turn bounds OpenCV.
    install_requires=[
        'torch>=2.6',
        'torchvision>=0.21',
        'numpy>=1.24,<2',
        'numba>=0.59',
        'opencv-python<4.11',
        'mmengine>=0.10.4,<0.11',
        'mmcv>=2.0.0rc4,<2.2',
        'mmdet>=3.0.0,<3.4',
        'mmdet3d>=1.4,<1.5',
        'open_clip_torch>=2.32,<4',
        'safetensors>=0.4',
        'scipy>=1.10',
        'scikit-learn>=1.3',
        'trimesh>=4.6',
        'h5py>=3.9',
        'plyfile>=1.0',
        'pypcd4>=1.3',
        'matplotlib>=3.7',
        'plotly>=5.15',
        'timm>=1.0',
        'terminaltables',
        'tqdm',
    ],
    extras_require={
        'generation': ['diffusers>=0.30', 'transformers>=4.40', 'accelerate>=0.30', 'webdataset>=0.2.100',
                       'pyarrow>=14,<26'],
        'retrieval': ['faiss-cpu>=1.8'],
        'scans': ['laspy>=2.5', 'lazrs>=0.6'],
        'sparse': ['spconv>=2.3.8'],
        'tests': ['pytest>=7.4', 'hypothesis>=6.100', 'mypy>=1.11', 'ruff>=0.6'],
    },
    classifiers=[
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'License :: OSI Approved :: Apache Software License',
    ],
)
