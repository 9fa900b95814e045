"""The packages of the wheel: the four folders under one name, whether or not a checkout has its links."""

from setuptools import find_packages, setup

FOLDERS = ("catalogs", "models", "tasks", "flows")

setup(
    packages=[
        "tilewright",
        *(f"tilewright.{folder}" for folder in FOLDERS),
        *(f"tilewright.{folder}.{wing}" for folder in FOLDERS for wing in find_packages(folder)),
    ],
    package_dir={f"tilewright.{folder}": folder for folder in FOLDERS},
)
