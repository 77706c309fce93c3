"""Methods without strokes on images whose regions are known."""

from __future__ import annotations

import numpy as np
import pytest

import napari_clusternet as cn
from napari_clusternet.api.regions import default_tools, make_method
from napari_clusternet.errors import InputError, StrokeError
from napari_clusternet.progress import drain
from napari_clusternet.unsupervised.dfc import DFC, FSF, SCF, Kanezaki
from napari_clusternet.unsupervised.superpixels import Felzenszwalb, is_photo, lab_or_bands, slic

TOOLS = default_tools("cpu")
QUICK = {"n_channels": 8, "n_blocks": 1, "n_iterations": 5}


def quarters() -> tuple[np.ndarray, np.ndarray]:
    """Four squares of 4 colours with noise, uint8 (3, 40, 40), and which is which, 1..4."""
    truth = np.kron([[1, 2], [3, 4]], np.ones((20, 20), int))
    colours = np.array([[0, 0, 0], [230, 30, 30], [30, 30, 230], [220, 220, 220], [20, 160, 40]])
    noise = np.random.default_rng(0).normal(0, 4, (3, 40, 40))
    image = np.moveaxis(colours[truth], -1, 0) + noise
    return image.clip(0, 255).astype(np.uint8), truth


def same(regions: np.ndarray, truth: np.ndarray) -> bool:
    """Whether two partitions are the same, whatever the numbers."""
    pairs = set(zip(regions.ravel().tolist(), truth.ravel().tolist(), strict=True))
    return len(pairs) == len(np.unique(regions)) == len(np.unique(truth))


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("kmeans", {"n_clusters": 4}),
        ("gmm", {"n_clusters": 4}),
        ("felzenszwalb", {"min_size": 100, "sigma": 0.0}),
        ("slic", {"n_segments": 64, "n_regions": 4}),
    ],
)
def test_quarters_are_found(method, parameters):
    image, truth = quarters()
    assert same(cn.unsupervised(image, "CYX", method=method, **parameters), truth)


def test_felzenszwalb_is_that_of_scikit_image():
    from skimage.segmentation import felzenszwalb

    image = (np.random.default_rng(0).random((3, 40, 50)) * 255).astype(np.uint8)
    expected = felzenszwalb(image / 255, scale=50, sigma=0.8, min_size=30, channel_axis=0)
    found = cn.unsupervised(image, "CYX", method="felzenszwalb", scale=50, sigma=0.8, min_size=30)
    # at the border our smoothing looks at valid pixels only, theirs repeats the edge
    inner = (slice(8, -8), slice(8, -8))
    agree = (np.unique(expected[inner]).size, np.unique(found[inner]).size)
    assert agree[0] == pytest.approx(agree[1], rel=0.2)
    plain = cn.unsupervised(image, "CYX", method="felzenszwalb", scale=50, sigma=0, min_size=30)
    theirs = felzenszwalb(image / 255, scale=50, sigma=0, min_size=30, channel_axis=0)
    assert same(plain, theirs)


def test_larger_scale_gives_fewer_regions():
    image = np.random.default_rng(0).random((3, 40, 40))
    counts = [
        cn.unsupervised(image, "CYX", method="felzenszwalb", scale=scale, min_size=1).max()
        for scale in (30, 300, 3000)
    ]
    assert counts[0] > counts[1] > counts[2]


def test_superpixels_hold_valid_pixels_only_and_have_no_gaps():
    image, _ = quarters()
    picture = cn.Image.from_array(image, axes="CYX", spacing=(2, 1))
    valid = np.ones((40, 40), bool)
    valid[10:20, 5:30] = False
    segments = slic(picture, image / np.float32(255), valid, 30, 10.0)
    numbers = np.unique(segments[valid])
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    assert 10 < len(numbers) < 60


def test_photos_are_compared_in_cielab_and_others_by_their_bands():
    white = cn.Image.from_array(np.full((3, 2, 2), 255, np.uint8), axes="CYX")
    assert is_photo(white)
    np.testing.assert_allclose(
        lab_or_bands(white, np.ones((3, 2, 2), np.float32))[:, 0, 0], [100, 0, 0], atol=0.01
    )  # white is L* = 100
    scene = cn.Image.from_array(np.ones((3, 2, 2), np.uint16), axes="CYX")
    assert not is_photo(scene)
    assert lab_or_bands(scene, np.full((3, 2, 2), 0.5, np.float32)).max() == 50


def test_papers_settings():
    for kind, weighting, mu in ((DFC, "fixed", 5), (FSF, "fsf", 15), (SCF, "scf", 50)):
        made = kind().settings()
        assert (made.weighting, made.mu, made.n_blocks, made.n_channels) == (weighting, mu, 3, 100)
        assert (made.n_iterations, made.min_labels, made.learning_rate) == (1000, 3, 0.1)
    kanezaki = Kanezaki()
    assert (kanezaki.n_segments, kanezaki.compactness) == (10_000, 100)
    assert (kanezaki.settings().n_blocks, kanezaki.settings().mu) == (2, 0)
    # q' = 20 labels: FSF counts continuity 20/15, SCF 50/20 times
    assert FSF().settings().continuity_weight(20) == pytest.approx(20 / 15)
    assert SCF().settings().continuity_weight(20) == pytest.approx(2.5)


def test_labels_of_kanezaki_follow_superpixels():
    image, truth = quarters()
    regions = cn.unsupervised(
        image, "CYX", method="kanezaki", n_segments=100, n_channels=16, n_iterations=30
    )
    # every quarter is nearly one label, and no two quarters share it
    mains = [np.bincount(regions[truth == quarter]).argmax() for quarter in (1, 2, 3, 4)]
    shares = [
        (regions[truth == q] == main).mean() for q, main in zip((1, 2, 3, 4), mains, strict=True)
    ]
    assert min(shares) > 0.6
    assert len(set(mains)) == 4


def test_strong_scribbles_become_the_first_regions():
    image, truth = quarters()
    scribbles = np.zeros((40, 40), np.uint8)
    for quarter, (y, x) in {1: (8, 8), 2: (8, 28), 3: (28, 8), 4: (28, 28)}.items():
        scribbles[y : y + 5, x : x + 5] = quarter
    regions = cn.unsupervised(
        image, "CYX", method="dfc", n_channels=16, n_blocks=1, n_iterations=60, mu=1.0,
        scribbles=scribbles, scribble_weight=10.0,
    )  # fmt: skip
    assert (regions[scribbles > 0] == scribbles[scribbles > 0]).mean() > 0.95
    assert (regions == truth).mean() > 0.8
    with pytest.raises(StrokeError, match="has shape"):
        cn.unsupervised(image, "CYX", method="dfc", scribbles=scribbles[:9])


def test_references_train_and_the_image_is_only_labelled():
    image, _ = quarters()
    other = image[:, ::-1]
    method = make_method("dfc", **QUICK)
    pictures = [cn.Image.from_array(one, axes="CYX") for one in (image, other)]
    drain(method.fit_steps(pictures, TOOLS, 2))
    expected = drain(method.apply_steps(pictures[1]))
    found = cn.unsupervised(
        other, "CYX", method="dfc", random_state=2, references=[image, other], **QUICK
    )
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(InputError, match=r"image has 2 bands.*reference.*3 bands"):
        cn.unsupervised(image[:2], "CYX", method="dfc", references=cn.Image.from_array(
            image, axes="CYX"), **QUICK)  # fmt: skip


def test_what_does_not_fit_is_refused():
    image, _ = quarters()
    with pytest.raises(InputError, match=r"1600 pixels, more than max_pixels=1000"):
        cn.unsupervised(image, "CYX", method="fsf", max_pixels=1000)
    with pytest.raises(InputError, match=r"references=.*scribbles"):
        cn.unsupervised(
            image, "CYX", method="dfc", references=[image], scribbles=np.eye(40, dtype=int)
        )
    with pytest.raises(InputError, match="Run fit_steps first"):
        drain(DFC().apply_steps(cn.Image.from_array(image, axes="CYX")))
    with pytest.raises(InputError, match=r"min_size=0"):
        Felzenszwalb(min_size=0)


def test_clusters_of_other_features():
    # the same two values in stripes on the left and in a checkerboard on the right
    y, x = np.mgrid[:48, :48]
    left = x < 24
    image = 100 + 40 * (-1.0) ** np.where(left, y // 8, x + y)

    def share(features: str) -> float:
        regions = cn.unsupervised(image, method="kmeans", features=features, n_clusters=4)
        sides = np.stack([np.bincount(regions[side], minlength=5) for side in (left, ~left)])
        return sides.max(0).sum() / image.size

    with pytest.warns(UserWarning, match="only 2 distinct"):
        assert share("bands") == 0.5
    assert share("filters") > 0.9
