"""Packaging of opendlign_mm; tools/install.sh installs it with all extras in tested versions."""
import os
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.develop import develop

here = Path(__file__).resolve().parent
# What OpenMMLab's packages carry in .mim, by which mmengine and mim find configs, tools and models by name.
MIM = {'configs': 'configs', 'tools': 'tools', 'model-index.yml': 'configs/model-index.yml'}


def link_mim() -> None:
    """Link .mim of the checkout, where an editable installation looks for it, to the files themselves."""
    folder = here / 'opendlign_mm' / '.mim'
    folder.mkdir(exist_ok=True)
    for name, source in MIM.items():
        link = folder / name
        if not link.is_symlink() or os.readlink(link) != f'../../{source}':
            link.unlink(missing_ok=True)
            link.symlink_to(f'../../{source}')


class BuildWithMim(build_py):
    """Copy configs, tools and model index into the package; an editable installation gets links to them."""

    def run(self) -> None:
        """Build as setuptools does, and add the files."""
        super().run()
        if self.editable_mode:
            link_mim()
            return
        folder = Path(self.build_lib) / 'opendlign_mm' / '.mim'
        shutil.rmtree(folder, ignore_errors=True)
        for name, source in MIM.items():
            for file in files_of(source):
                copy = folder / name / file.relative_to(here / source)
                self.mkpath(str(copy.parent))
                self.copy_file(str(file), str(copy))

    def get_source_files(self) -> list[str]:
        """Add the files to source distributions."""
        copied = [file for source in MIM.values() for file in files_of(source)]
        return super().get_source_files() + [str(file.relative_to(here)) for file in dict.fromkeys(copied)]


class DevelopWithMim(develop):
    """Editable installation by older versions of pip."""

    def run(self) -> None:
        """Install as setuptools does, and add the links."""
        super().run()
        link_mim()


def files_of(source: str) -> list[Path]:
    """Return a file, or all files in a folder, without what Python compiled."""
    path = here / source
    return [path] if path.is_file() else sorted(
        file for file in path.rglob('*') if file.is_file() and '__pycache__' not in file.parts)


version = {}
exec((here / 'opendlign_mm' / 'version.py').read_text(), version)

setup(
    name='opendlign_mm',
    version=version['__version__'],
    description='Open-world point cloud understanding with depth-aligned images, as a plugin for mmdetection3d',
    long_description=(here / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    cmdclass={'build_py': BuildWithMim, 'develop': DevelopWithMim},
    packages=find_packages(include=['opendlign_mm', 'opendlign_mm.*']),
    package_data={'opendlign_mm': ['assets/*', 'assets/*/*', 'py.typed']},
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
        'huggingface_hub>=0.23',
        'pyyaml',
        'rich>=13',
    ],
    entry_points={'console_scripts': ['opendlign = opendlign_mm.command_line.main:main']},
    extras_require={
        'generation': ['diffusers>=0.30', 'transformers>=4.40', 'accelerate>=0.30', 'webdataset>=0.2.100',
                       'pyarrow>=14,<26'],
        'retrieval': ['faiss-cpu>=1.8', 'pyarrow>=14,<26'],
        # Gradio needs pillow < 13: without saying so, pip takes a Gradio of years ago next to a newer pillow.
        'demo': ['gradio>=6.10,<7', 'pillow>=10,<13', 'faiss-cpu>=1.8'],
        'scans': ['laspy>=2.5', 'lazrs>=0.6'],
        'sparse': ['spconv>=2.3.8'],
        'all': ['opendlign_mm[demo,generation,retrieval,scans]'],
        'tests': ['pytest>=7.4', 'pytest-xdist>=3.5', 'dockerfile>=3.3', 'hypothesis>=6.100', 'mypy>=1.11', 'ruff>=0.6',
                  'selenium>=4.20'],
    },
    classifiers=[
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'License :: OSI Approved :: Apache Software License',
    ],
)
