"""Deep and unusual pixels of other kinds: CIELab against scikit-image, PGM and PPM of any white, deep PNG."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from weatherproof.data.decoding import BadImage, Decoder


@pytest.mark.parametrize("channels", [1, 3])
def test_cielab_under_d50_is_scikit_images_or_refused(tmp_path: Path, channels: int) -> None:
    from skimage.color import rgb2xyz, xyz2lab

    colours = np.random.default_rng(0).integers(60, 200, (6, 8, 3)).astype(np.uint8)
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d65, d50 = np.array([0.95047, 1, 1.08883]), np.array([0.96422, 1, 0.82521])
    adapted = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ d65)) @ bradford
    levels = xyz2lab(rgb2xyz(colours) @ adapted.T, illuminant="D50")
    lab = np.round(levels * (2.55, 1, 1)).astype(int).astype(np.uint8)  # a and b in two's complement
    tifffile.imwrite(tmp_path / "a.tif", lab, photometric="cielab")
    expected = Image.fromarray(colours).convert("L" if channels == 1 else "RGB")
    found = Decoder(channels=channels).file(str(tmp_path / "a.tif")).transpose(1, 2, 0).squeeze().astype(int)
    assert np.abs(found - np.asarray(expected)).max() <= 5  # a and b are whole numbers
    for kind, planes in (("cielab", "separate"), ("icclab", "contig")):
        stored = lab if planes == "contig" else np.ascontiguousarray(lab.transpose(2, 0, 1))
        tifffile.imwrite(tmp_path / "b.tif", stored, photometric=kind, planarconfig=planes)
        with pytest.raises(BadImage, match="CIELab|ICCLab"):
            Decoder(channels=channels).file(str(tmp_path / "b.tif"))


@pytest.mark.parametrize("white", [1, 31, 255, 1023, 4095, 65535])
def test_pgm_and_ppm_of_any_white(tmp_path: Path, white: int) -> None:
    levels = np.linspace(0, white, 8).round().astype(int)
    data = levels.astype(">u2" if white > 255 else "u1")
    (tmp_path / "a.pgm").write_bytes(b"P5 8 1 %d\n" % white + data.tobytes())
    (tmp_path / "b.pgm").write_bytes(b"P2 8 1 %d\n" % white + " ".join(map(str, levels)).encode())
    (tmp_path / "c.ppm").write_bytes(b"P6 8 1 %d\n" % white + np.repeat(data, 3).tobytes())
    for name in ("a.pgm", "b.pgm", "c.ppm"):
        assert np.abs(Decoder(channels=1).file(str(tmp_path / name)).ravel() - levels * 255 / white).max() <= 0.51


def test_the_transparent_level_of_a_deep_png_is_white(tmp_path: Path) -> None:
    deep = np.array([[0, 4095, 32768]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png", transparency=4095)
    assert Decoder(channels=1).file(str(tmp_path / "a.png")).ravel().tolist() == [0, 255, 128]
