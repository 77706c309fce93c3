"""TernausNet: the paper's size, exact tiles, VGG11's weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_clusternet.errors import FileFormatError, InputError
from napari_clusternet.networks.ternausnet import TernausNet
from napari_clusternet.networks.weight_files import read_state_dict
from napari_clusternet.tiles import plan_tiles

#: Output and input widths of VGG11's convolutions ("A" of Simonyan & Zisserman 2015, table 1).
VGG11 = {0: (64, 3), 3: (128, 64), 6: (256, 128), 8: (256, 256), 11: (512, 256), 13: (512, 512),
         16: (512, 512), 18: (512, 512)}  # fmt: skip


def network(**changes: int) -> TernausNet:
    torch.manual_seed(0)
    return TernausNet(**{"in_channels": 3, "n_classes": 2, "width": 4} | changes).eval()


def vgg11() -> dict[str, torch.Tensor]:
    """Weights as torchvision's vgg11 names them, every tensor of one value of its own."""
    weights = {}
    for i, (layer, (out, into)) in enumerate(VGG11.items(), start=1):
        weights[f"features.{layer}.weight"] = torch.full((out, into, 3, 3), float(i))
        weights[f"features.{layer}.bias"] = torch.full((out,), -float(i))
    weights["classifier.0.weight"] = torch.zeros(4, 4)
    return weights


def test_size_is_the_papers() -> None:
    """VGG11's eight convolutions have 9 220 480 parameters, the whole network 22.9 million."""
    whole = TernausNet(3, 1)
    encoder = sum(p.numel() for p in whole.encoder.parameters())
    assert encoder == sum(9 * out * into + out for out, into in VGG11.values())
    assert sum(p.numel() for p in whole.parameters()) == 22_927_393


def test_scores_have_the_extent_of_the_image() -> None:
    assert network(in_channels=5, n_classes=7)(torch.zeros(2, 5, 64, 96)).shape == (2, 7, 64, 96)


def test_nothing_further_than_the_halo_matters() -> None:
    net = network().double()
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(1, 3, 512, 32))).requires_grad_()
    reach = 0
    for row in (256, 271, 287):
        (gradient,) = torch.autograd.grad(net(x)[0, :, row].sum(), x)
        rows = gradient.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
        reach = max(reach, row - int(rows.min()), int(rows.max()) - row)
    assert 128 < reach <= net.halo[0]
    assert net.halo[0] % 32 == 0


def test_tiles_equal_the_whole() -> None:
    net = network()
    x = torch.randn(1, 3, 512, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = net(x)[0]
        for tile in plan_tiles((512, 96), (128, 96), net.halo, net.multiple):
            part = net(x[(slice(None), slice(None), *tile.read)])[0]
            torch.testing.assert_close(
                part[(slice(None), *tile.crop)], whole[(slice(None), *tile.write)],
                rtol=0, atol=2e-5,
            )  # fmt: skip


def test_weights_of_vgg11_go_into_the_encoder() -> None:
    net = TernausNet(3, 2)
    net.load_vgg11(vgg11())
    convolutions = [c for stage in net.encoder for c in stage]
    for i, convolution in enumerate(convolutions, start=1):
        assert (convolution.weight == i).all()
        assert (convolution.bias == -i).all()


@pytest.mark.parametrize("n_bands", [1, 2, 4, 12])
def test_other_bands_respond_as_strongly(n_bands: int) -> None:
    weights = vgg11()
    weights["features.0.weight"] = torch.randn(64, 3, 3, 3).abs()
    net = TernausNet(n_bands, 2)
    net.load_vgg11(weights)
    first = net.encoder[0][0].weight.detach()
    flat = weights["features.0.weight"].sum(dim=1)  # response to equal bands
    if n_bands in (1, 2):  # the file's first bands, scaled up
        expected = weights["features.0.weight"][:, :n_bands].sum(dim=1) * 3 / n_bands
    else:  # with the mean of the file's for the others: (3 + (n - 3)) * mean * 3 / n
        expected = flat
    torch.testing.assert_close(first.sum(dim=1), expected)


def test_weights_that_do_not_fit_are_named() -> None:
    net, missing = TernausNet(3, 2), vgg11()
    del missing["features.8.bias"]
    with pytest.raises(InputError, match=r"there is no 'features\.8\.bias'.*not vgg11_bn"):
        net.load_vgg11(missing)
    wrong = vgg11() | {"features.3.weight": torch.zeros(128, 64, 1, 1)}
    with pytest.raises(InputError, match=r"'features\.3\.weight' is \(128, 64, 1, 1\)"):
        net.load_vgg11(wrong)
    broken = vgg11() | {"features.6.bias": torch.full((256,), float("nan"))}
    with pytest.raises(InputError, match="not finite"):
        net.load_vgg11(broken)
    with pytest.raises(InputError, match="width=32"):
        TernausNet(3, 2, width=32).load_vgg11(vgg11())


def test_files_of_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = {"features.0.bias": torch.arange(3.0)}
    torch.save(weights, tmp_path / "a.pth")
    save_file(weights, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        assert read_state_dict(tmp_path / name)["features.0.bias"].tolist() == [0.0, 1.0, 2.0]


class Payload:
    """What pickle would run."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


def test_files_that_are_no_weights_are_refused_and_run_nothing(tmp_path: Path) -> None:
    torch.save({"a": Payload(tmp_path / "ran")}, tmp_path / "bad.pth")
    with pytest.raises(FileFormatError, match=r"weights=.*bad\.pth.*cannot be read"):
        read_state_dict(tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(FileFormatError, match="holds a list"):
        read_state_dict(tmp_path / "list.pth")
    (tmp_path / "short.pt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(FileFormatError, match="cannot be read as weights"):
        read_state_dict(tmp_path / "short.pt")
    with pytest.raises(FileFormatError, match="no such file"):
        read_state_dict(tmp_path / "none.pth")
    with pytest.raises(FileFormatError, match="not a file of weights"):
        read_state_dict(tmp_path / "a.txt")
