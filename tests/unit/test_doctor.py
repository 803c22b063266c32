"""The verb doctor: installation, decoding, processes; against other libraries' own words."""

import io
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image

import weatherproof as wp
from weatherproof import cli
from weatherproof.errors import InputError
from weatherproof.verbs.doctor import distributed, feeding, installation
from weatherproof.verbs.doctor.feeding import Fed, ReadSpeed
from weatherproof.verbs.doctor.outcome import Diagnosis, Finding, Section, bytes_words
from weatherproof.verbs.doctor.samples import write_samples


def photos(folder: Path, count: int = 70) -> Path:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(stream, "JPEG")
    for number in range(count):
        path = folder / ("bee", "cat")[number % 2] / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stream.getvalue())
    return folder


# the installation


def test_a_missing_torch_is_said_in_words_and_not_by_a_traceback(tmp_path: Path) -> None:
    """A package of that name that cannot be imported, before the real one."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')")
    paths = os.pathsep.join([str(tmp_path), str(Path(wp.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-m", "weatherproof", "doctor"], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "X torch" in done.stdout and "libcudart.so.12" in done.stdout
    assert "broken   torch: pip install" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_installation_of_these_tests(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == 0 and told["kind"] == "installation"
    found = {item["what"]: item["found"] for item in told["sections"]["Versions"]}
    for package in ("torch", "timm", "numpy"):
        assert found[package] == metadata.version(package)
    extras = {item["what"]: item for item in told["sections"]["Extras"]}
    for extra, module in (("tensorboard", "tensorboard"), ("attacks", "pyautoattack")):
        absent = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True).returncode != 0
        assert (extras[extra]["state"] == "absent") == absent
        assert not absent or f"pip install 'weatherproof[{extra}]'" in extras[extra]["found"]


def test_requirements_are_read_as_packaging_reads_them() -> None:
    packaging = pytest.importorskip("packaging.requirements")
    lines = metadata.requires("weatherproof") or []
    expected: dict[str, list[tuple[str, str]]] = {}
    for line in lines:
        one = packaging.Requirement(line)
        extra = str(one.marker).rpartition("extra == ")[2].strip('"') if one.marker else ""
        expected.setdefault(extra, []).append((one.name, str(one.specifier)))
    assert installation.requirements(lines) == expected
    assert len(expected[""]) > 10


def test_bounds_of_versions() -> None:
    assert installation._within("2.15.0+cpu", ">=2.6") and not installation._within("2.5.1", ">=2.6")
    broken = installation._essential("numpy", ">=999")
    assert broken.state == "broken" and "pip install --upgrade 'numpy>=999'" in broken.advice
    assert installation._essential("no-such-package-here", "").state == "broken"


def test_caches_are_where_their_libraries_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import huggingface_hub.constants as c; print(c.HF_HUB_CACHE)"
    for own in ({"XDG_CACHE_HOME": str(tmp_path / "x")}, {"HF_HOME": str(tmp_path / "h"), "TORCH_HOME": "/t"}):
        for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "TORCH_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in own.items():
            monkeypatch.setenv(name, value)
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found = installation.cache_places()
        assert str(found["hub cache"]) == said.stdout.strip()
        assert str(found["torch cache"]) == torch.hub._get_torch_home()


def test_problems_are_marked_and_only_broken_ones_end_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    found = Diagnosis("installation", [Section("A", [Finding("disk", "full", "problem", "free some space")])])
    found.show()
    assert found.status == 0 and "problem  disk: free some space" in capsys.readouterr().out
    assert Diagnosis("installation", [Section("A", [Finding("torch", "gone", "broken", "install it")])]).status == 1


def test_too_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "usable_cores", lambda: 0.5)
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    found = {finding.what: finding for finding in installation._cores()}
    assert found["threads"].state == "problem" and found["threads"].advice == "export OMP_NUM_THREADS=1"


@pytest.mark.parametrize(("count", "said"), [(0, "0 B"), (999, "999 B"), (3_400_000_000, "3.4 GB"), (2e15, "2,000 TB")])
def test_bytes_in_words(count: float, said: str) -> None:
    assert bytes_words(count) == said


# decoding


def test_decoding_is_measured_with_more_and_more_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = photos(tmp_path / "photos")
    words = ["doctor", "--data", str(source), "--split", "all", "--size", "32", "--seconds", "0.1", "--workers", "1"]
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "1 worker" in capsys.readouterr().out
    told = json.loads((tmp_path / "out" / "doctor.json").read_text())["measured"]["data"]
    assert told["images"] == 70
    assert [one["workers"] for one in told["decoded_per_second"]] == [0, 1]
    assert all(one["per_second"] > 0 for one in told["decoded_per_second"])
    size = sum(file.stat().st_size for file in source.rglob("*.jpg")) / 70
    assert told["reading"]["image_bytes"] == pytest.approx(size)


def test_from_shards_too(tmp_path: Path) -> None:
    wp.shard(photos(tmp_path / "photos"), split=["all"], out=tmp_path / "shards")
    found = wp.doctor(data=f"shards:{tmp_path / 'shards'}", split="all", size=16, seconds=0.05, workers=0)
    told = found.measured["data"]
    assert found.status == 0 and told["reading"]["per_second"] > 0 and told["per_core"] > 0


def test_what_lies_in_memory_is_not_decoded() -> None:
    with pytest.raises(InputError, match="digits/train lies in memory"):
        wp.doctor(data="digits", size=8, seconds=0.01, workers=0)


def test_worker_counts() -> None:
    assert [feeding.worker_counts(most) for most in (0, 1, 2, 6, 8)] == [
        [0], [0, 1], [0, 1, 2], [0, 1, 2, 4, 6], [0, 1, 2, 4, 8],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "four", "reading", "said"),
    [(100, 380, 5000, "decoding"), (100, 380, 150, "reading"), (100, 120, 5000, "4 workers give 1.2 times")],
)
def test_what_holds_images_back(
    monkeypatch: pytest.MonkeyPatch, one: float, four: float, reading: float, said: str
) -> None:
    monkeypatch.setattr(feeding, "usable_cores", lambda: 4.0)
    found = feeding.limit([Fed(0, one, 0.1), Fed(1, one, 0.1), Fed(4, four, 0.1)], ReadSpeed(1e5, reading))
    assert found.found.startswith(said)


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ([Fed(0, 100, 0.1), Fed(1, 80, 0.1)], "100 images/s is what one core gives;"),
        ([Fed(1, 100, 0.1), Fed(2, 190, 0.1)], "190 images/s is what 2 cores give (95 each);"),
    ],
)
def test_cores_that_were_not_asked_to_decode_are_not_counted(
    monkeypatch: pytest.MonkeyPatch, rates: list[Fed], said: str
) -> None:
    monkeypatch.setattr(feeding, "usable_cores", lambda: 4.0)
    assert said in feeding.limit(rates, None).found


def test_samples_are_as_heavy_as_those_of_imagenet(tmp_path: Path) -> None:
    folder = write_samples(tmp_path / "samples", 10)
    with Image.open(folder / "000009.jpg") as image:
        assert image.size == (500, 375)
    assert 6e4 < (folder / "000000.jpg").stat().st_size < 2e5
    assert len([*folder.iterdir()]) == 10


# processes


def test_gradients_of_one_process_are_its_own_and_a_gather_that_loses_some_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    assert distributed.gradient_difference(fabric, 0) == 0
    monkeypatch.setattr(distributed, "gather_by", lambda _: lambda rows: rows + 0.1)
    assert distributed.gradient_difference(fabric, 0) > distributed.AGREE


def measurements(**other: object) -> dict[str, object]:
    speeds = [{"bytes": size, "seconds": 1e-4, "bytes_per_second": 1e9} for size in (4096, 1 << 24)]
    present = [
        {"host": host, "rank": rank, "device": "CPU", "cores": 2, "versions": {"torch": "2"}}
        for rank, host in enumerate(("a", "b"))
    ]
    return {
        "processes": 2, "backend": "gloo", "strategy": "ddp", "present": present, "gradient_difference": 1e-7,
        "gather": speeds, "all_reduce": speeds, "flops": [1e12, 1e12], "decoded_per_second": [100.0, 100.0],
        "workers": 1, "source": None, "shared_folder": True, **other,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("other", "state", "said"),
    [
        ({}, None, ""),
        ({"gradient_difference": 0.5}, "broken", "do not compute what one process does"),
        (
            {"flops": [1e12, 1e12, 4e11], "present": [{**one} for one in measurements()["present"]] * 2},
            "problem",
            "process 2 on a",
        ),
        ({"shared_folder": False}, "problem", "a disk that all machines share"),
    ],
)
def test_what_is_wrong_among_processes(other: dict[str, object], state: str | None, said: str) -> None:
    wrong = [one for one in distributed.section(measurements(**other)).findings if one.state != "ok"]
    assert [one.state for one in wrong] == ([] if state is None else [state])
    assert all(said in one.advice for one in wrong)


def test_unlike_machines() -> None:
    present = measurements()["present"]
    present[1] = {**present[1], "versions": {"torch": "3"}, "device": "H100"}
    wrong = [one.what for one in distributed.section(measurements(present=present)).findings if one.state == "problem"]
    assert wrong == ["torch", "devices"]


@pytest.mark.slow
@pytest.mark.parametrize(("launched", "strategy"), [("here", "fsdp"), ("torchrun", "ddp")])
def test_two_processes(tmp_path: Path, launched: str, strategy: str) -> None:
    start = ["-m", "torch.distributed.run", "--nproc-per-node", "2"] if launched == "torchrun" else []
    done = subprocess.run(
        [sys.executable, *start, "-m", "weatherproof", "doctor", "--distributed", "--seconds", "0.1", "--out", tmp_path,
         "--device", "cpu", "--strategy", strategy],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("gradients") == 1  # the first process speaks
    found = json.loads((tmp_path / "doctor.json").read_text())["measured"]["distributed"]
    assert found["processes"] == 2 and found["backend"] == "gloo" and found["shared_folder"]
    assert found["gradient_difference"] < 1e-5 and found["strategy"] == strategy
    assert f"2 processes by {strategy}" in done.stdout
    assert len(found["decoded_per_second"]) == len(found["flops"]) == 2
    assert all(one["bytes_per_second"] > 0 for one in [*found["gather"], *found["all_reduce"]])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seconds": 0}, "seconds is a number above 0"),
        ({"workers": -1}, "workers is a number 0 or more"),
        ({"utilisation": 1.5}, "at most 1"),
        ({"processes": 1000}, "at most 64"),
        ({"price": -1.0}, "price is a number above 0"),
        ({"plan": "resnet20", "distributed": True}, "--plan goes by itself"),
        ({"price": 3.0}, "--price belongs to --plan: give that, or leave it out"),
        ({"data": "digits", "batch_size": 64}, "--batch-size belongs to --plan"),
        ({"plan": "resnet20", "workers": 1}, "--workers belongs to --data or --distributed"),
        ({"data": "digits", "strategy": "fsdp"}, "--strategy belongs to --distributed"),
        ({"distributed": True, "measured": "doctor.json"}, "--measured belongs to --plan"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        wp.doctor(**given)  # type: ignore[arg-type]
