"""The maps of a network of ours that was learned before, without labels, on many images.

Its weights are in the package (`data/generic.safetensors`; what they were learned from, how, and
what they are worth is in `docs/generic-weights.md`), so they are there on the first stroke.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from napari_clusternet.errors import FileFormatError, invalid
from napari_clusternet.features.combined import CombinedFeatures
from napari_clusternet.features.filters import FilterFeatures
from napari_clusternet.features.pretrained import MAP_COMPONENTS, PretrainedFeatures
from napari_clusternet.networks.generic import GenericNetwork
from napari_clusternet.networks.weight_files import read_state_dict

if TYPE_CHECKING:
    from napari_clusternet.image import Image

#: Weights in the package, float16.
WEIGHTS = Path(__file__).parent.parent / "data" / "generic.safetensors"
#: Principal components of each map that clusters are made of; the last map is the decoder's.
COMPONENTS = (*MAP_COMPONENTS, 32)


@cache
def _network(file: Path) -> GenericNetwork:
    network, state = GenericNetwork(), read_state_dict(file)
    try:
        found = network.load_state_dict(state, strict=False)
        left = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
        if left or found.unexpected_keys:
            raise KeyError(*left, *found.unexpected_keys)
    except (KeyError, RuntimeError) as error:
        problem = f"not weights of the generic network ({type(error).__name__}: {error})"
        invalid("weights", str(file), problem[:300], "Install napari-clusternet again",
                error=FileFormatError)  # fmt: skip
    return network.eval()


class GenericFeatures:
    """The filter bank, and beside it what the generic network sees."""

    @staticmethod
    def fit(
        image: Image, random_state: int = 0, weights: str | Path | None = None
    ) -> CombinedFeatures:
        """Measure contrast, scales and components on `image`.

        Parameters
        ----------
        image : Image
            The image: any number of bands, a picture or a volume (slice by slice). The network
            sees three colours, chosen as `PretrainedFeatures` does.
        random_state : int
            Seed of the sample.
        weights : path-like, optional
            Weights that ``benchmarks/learn_generic.py`` wrote; by default those in the package.

        Raises
        ------
        FileFormatError
            If the file does not hold such weights.
        """
        network = _network(WEIGHTS if weights is None else Path(weights))
        filters = FilterFeatures.fit(image, random_state)
        maps = PretrainedFeatures.of(network, image, random_state, COMPONENTS)
        return CombinedFeatures((filters, maps))
