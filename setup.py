"""Metadata and the contents of the wheel; settings of tools are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="retracker",
    version="0.1.0",
    description="Follow any chosen points through a video, online, and match points between images.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    install_requires=[
        "av>=16",
        "einops>=0.8",
        "fsspec>=2024.2",
        "h5py>=3.10",
        "huggingface-hub>=0.23",
        "hydra-core>=1.3.2",
        "jaxtyping>=0.2.34",
        "kornia>=0.9",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "omegaconf>=2.3",
        "opencv-python-headless>=4.9",
        "pillow>=10",
        "pytorch-lightning>=2.6",
        "pyyaml>=6",
        "rich>=13.7",
        "safetensors>=0.4.3",
        "scikit-image>=0.22",
        "tensorboard>=2.16",
        "timm>=1.0.20",
        "torch>=2.5",
    ],
    extras_require={
        "test": [
            "beartype>=0.19",
            "poselib>=2.0.4",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff==0.17.6",
            "setuptools>=68",
            "wheel",
        ],
        "flash": ["flash-attn>=2.6"],
        "poselib": ["poselib>=2.0.4"],
    },
    packages=[*find_packages(include=["retracker", "retracker.*"]), "retracker.configs"],
    # The yaml files lie at the top of the repository, where people edit them; installed, inside the package.
    package_dir={"retracker": "retracker", "retracker.configs": "configs"},
    package_data={
        "retracker": ["py.typed", "weights/*.safetensors", "weights/*.md", "benchmarks/*.yaml"],
        "retracker.configs": ["**/*.yaml"],
    },
    entry_points={"console_scripts": ["retracker = retracker.__main__:main"]},
)
