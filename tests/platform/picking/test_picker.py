"""A head that picks: against what the core finds, and against a head whose answer is known."""

import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
import torch

from hydrapicker import list_heads, load_head
from hydrapicker.errors import HydraPickerError, InvalidInputError, MicrographError
from hydrapicker.files import read_micrograph
from hydrapicker.picking.picker import Picker
from hydrapicker_core.inference import InferenceConfig, detect
from hydrapicker_core.network import Head, NetworkConfig, Trunk
from hydrapicker_core.preprocess import prepare
from hydrapicker_registry import HeadNotFoundError, HeadRegistry

PIXEL = 1.9
DIAMETER = 42.0


def test_picks_are_what_the_core_detects_divided_by_each_axis_scale(any_head: Picker, image: np.ndarray) -> None:
    loaded = HeadRegistry().load("any")
    trunk, head = Trunk(NetworkConfig(width=4)).eval(), Head(NetworkConfig(width=4)).eval()
    trunk.load_state_dict(dict(loaded.trunk.weights))
    head.load_state_dict(dict(loaded.head.weights))
    prepared = prepare(torch.from_numpy(image), 21 * PIXEL / DIAMETER)
    assert prepared.scale_x != prepared.scale_y
    config = InferenceConfig(score_floor=0.0)
    found = detect(trunk, {"any": head}, prepared.image, prepared.background, 21, config)["any"]
    picks = any_head.pick(image, pixel_size_angstrom=PIXEL)
    assert len(picks) == len(found.score) > 20
    assert np.ptp(picks.score) > 0.1
    # The picker keeps weights in channels-last memory, where sums run in another order.
    np.testing.assert_allclose(picks.x, found.xy[:, 0].numpy() * 203 / prepared.image.shape[1], atol=5e-3)
    np.testing.assert_allclose(picks.y, found.xy[:, 1].numpy() * 131 / prepared.image.shape[0], atol=5e-3)
    np.testing.assert_allclose(picks.score, found.score.numpy(), atol=1e-3)
    assert (np.diff(picks.score) <= 0).all()
    assert picks.xy.dtype == picks.score.dtype == np.float32
    assert (picks.diameter_angstrom, picks.pixel_size_angstrom) == (DIAMETER, PIXEL)
    assert picks.diameter_px == pytest.approx(DIAMETER / PIXEL)


@pytest.mark.parametrize("diameter", [24.0, 42.0, 97.0])
def test_a_head_that_answers_everywhere_answers_at_known_places(
    grid_head: Picker, image: np.ndarray, diameter: float
) -> None:
    """Cell k has its anchor at 16 k + 7.5, the margin is 32, a tanh of 1 is 12 pixels: all from the paper and FACTS."""
    height, width = (round(side * 21 * PIXEL / diameter) for side in image.shape)
    expected = []
    for cell_y in range(99):
        for cell_x in range(99):
            x = 16 * cell_x + 7.5 + 12 * np.tanh(0.3) - 32
            y = 16 * cell_y + 7.5 + 12 * np.tanh(-0.7) - 32
            if -0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5:
                expected.append((x * 203 / width, y * 131 / height))
    picks = grid_head.pick(image, pixel_size_angstrom=PIXEL, diameter_angstrom=diameter, min_distance_angstrom=0)
    np.testing.assert_allclose(sorted(map(tuple, picks.xy.tolist())), sorted(expected), atol=2e-4)
    np.testing.assert_allclose(picks.score, 1 / (1 + np.exp(-1.5)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["float32", "float16", "int8", "int16", "uint16", ">f4", "float64", "list"])
def test_a_file_and_an_array_of_any_type_give_the_same_picks(
    any_head: Picker, image: np.ndarray, tmp_path: Path, kind: str
) -> None:
    stored = image.round() if "int" in kind else image
    array = stored.tolist() if kind == "list" else stored.astype(kind)
    from_array = any_head.pick(array, pixel_size_angstrom=PIXEL)
    if kind in ("list", "float64"):
        from_file = any_head.pick(image, pixel_size_angstrom=PIXEL)
    elif kind == ">f4":
        tifffile.imwrite(tmp_path / "m.tif", array, byteorder=">")
        from_file = any_head.pick(tmp_path / "m.tif", pixel_size_angstrom=PIXEL)
    else:
        with mrcfile.new(tmp_path / "m.mrc", array) as file:
            file.voxel_size = PIXEL
        from_file = any_head.pick(str(tmp_path / "m.mrc"))
        assert from_file.pixel_size_angstrom == pytest.approx(PIXEL)
        np.testing.assert_array_equal(any_head.pick(read_micrograph(tmp_path / "m.mrc")).xy, from_file.xy)
    assert len(from_array) > 20
    np.testing.assert_allclose(from_array.xy, from_file.xy, rtol=1e-5)
    np.testing.assert_allclose(from_array.score, from_file.score, rtol=1e-5)


def test_the_users_array_is_left_as_it_was(any_head: Picker, image: np.ndarray) -> None:
    """Also at a scale of exactly 1, where nothing needs resizing; and one that may not be written gives no warning."""
    own = image.copy()
    own.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picks = any_head.pick(own, pixel_size_angstrom=2.0, diameter_angstrom=42.0, contrast="light")
    np.testing.assert_array_equal(own, image)
    view = np.repeat(image, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(
        any_head.pick(view, pixel_size_angstrom=2.0, diameter_angstrom=42.0, contrast="light").xy, picks.xy
    )


def test_light_particles_are_dark_ones_of_the_negative(any_head: Picker, image: np.ndarray) -> None:
    dark = any_head.pick(image, pixel_size_angstrom=PIXEL)
    light = any_head.pick(-image, pixel_size_angstrom=PIXEL, contrast="light")
    np.testing.assert_allclose(light.xy, dark.xy, atol=1e-2)
    np.testing.assert_allclose(light.score, dark.score, atol=1e-3)
    assert not np.array_equal(any_head.pick(-image, pixel_size_angstrom=PIXEL).score, dark.score)


def test_the_threshold_keeps_the_best(any_head: Picker, image: np.ndarray) -> None:
    everything = any_head.pick(image, pixel_size_angstrom=PIXEL)
    middle = float(np.median(everything.score))
    some = any_head.pick(image, pixel_size_angstrom=PIXEL, threshold=middle)
    assert 0 < len(some) < len(everything)
    assert (some.score >= middle).all()
    none = any_head.pick(image, pixel_size_angstrom=PIXEL, threshold=0.99999)
    assert (len(none), none.xy.shape, none.x.shape) == (0, (0, 2), (0,))


def test_no_two_picks_are_nearer_than_asked(any_head: Picker, image: np.ndarray) -> None:
    counts = []
    for distance in (0.0, 30.0, 80.0):
        picks = any_head.pick(image, pixel_size_angstrom=PIXEL, min_distance_angstrom=distance)
        apart = np.linalg.norm((picks.xy[:, None] - picks.xy[None]) * PIXEL, axis=2)
        # In working pixels both axes have one scale up to rounding of the size, here within 1 %.
        assert apart[~np.eye(len(picks), dtype=bool)].min(initial=np.inf) >= 0.99 * distance
        counts.append(len(picks))
    assert counts[0] > counts[1] > counts[2] > 1
    default = any_head.pick(image, pixel_size_angstrom=PIXEL)
    same = any_head.pick(image, pixel_size_angstrom=PIXEL, min_distance_angstrom=0.6 * DIAMETER)
    np.testing.assert_array_equal(default.xy, same.xy)


def test_little_memory_changes_nothing(any_head: Picker, image: np.ndarray) -> None:
    once = any_head.pick(image, pixel_size_angstrom=PIXEL)
    banded = any_head.pick(image, pixel_size_angstrom=PIXEL, memory_bound_gib=1e-6)
    np.testing.assert_allclose(banded.xy, once.xy, atol=1e-2)
    np.testing.assert_allclose(banded.score, once.score, atol=1e-4)


def test_what_lacks_is_asked_for(here: Path, any_head: Picker, image: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="head 'generic' has no diameter of its own: give the particle's"):
        load_head("generic").pick(image, pixel_size_angstrom=PIXEL)
    assert len(load_head("generic").pick(image, pixel_size_angstrom=PIXEL, diameter_angstrom=50.0)) > 0
    with pytest.raises(InvalidInputError, match="give pixel_size_angstrom="):
        any_head.pick(image)
    tifffile.imwrite("m.tif", image)
    with pytest.raises(MicrographError, match=r"m\.tif: its header holds no pixel size"):
        any_head.pick("m.tif")


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (np.zeros((3, 50, 50)), {}),
        (np.zeros(50), {}),
        (np.zeros((50, 50), complex), {}),
        (np.full((50, 50), "a"), {}),
        (np.zeros((0, 50)), {}),
        (np.zeros((50, 50)), {}),
        (np.full((50, 50), np.nan), {}),
        (None, {"pixel_size_angstrom": 0.0}),
        (None, {"pixel_size_angstrom": -1.0}),
        (None, {"pixel_size_angstrom": np.nan}),
        (None, {"diameter_angstrom": 0.0}),
        (None, {"diameter_angstrom": 0.0, "min_distance_angstrom": 5.0}),
        (None, {"diameter_angstrom": np.inf}),
        (None, {"diameter_angstrom": 5.0}),
        (None, {"diameter_angstrom": 900.0}),
        (None, {"threshold": 1.5}),
        (None, {"threshold": np.nan}),
        (None, {"min_distance_angstrom": -1.0}),
        (None, {"min_distance_angstrom": np.nan}),
        (None, {"memory_bound_gib": np.nan}),
        (None, {"contrast": "white"}),
    ],
)
def test_nonsense_is_refused_in_one_line(any_head: Picker, image: np.ndarray, array: object, options: dict) -> None:
    with pytest.raises(InvalidInputError) as caught:
        any_head.pick(image if array is None else array, **({"pixel_size_angstrom": PIXEL} | options))
    assert "\n" not in str(caught.value)


def test_a_pixel_size_of_nothing_is_not_the_headers(any_head: Picker, image: np.ndarray, tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "m.mrc", image) as file:
        file.voxel_size = PIXEL
    with pytest.raises(InvalidInputError, match="pixel size is 0 Angstrom"):
        any_head.pick(tmp_path / "m.mrc", pixel_size_angstrom=0.0)


def test_heads_by_alias_and_version(here: Path) -> None:
    assert repr(load_head("any")) == "Picker('any', version=1)"
    for challenger in (load_head("any@challenger"), load_head("any", alias="challenger"), load_head("any", version=2)):
        assert (challenger.version, challenger.threshold) == (2, 0.6)
    assert load_head("generic").diameter_angstrom is None
    assert {(head.dataset, head.version) for head in list_heads()} >= {("any", 1), ("any", 2), ("generic", 1)}


def test_the_recommended_threshold_is_the_default(here: Path, image: np.ndarray) -> None:
    challenger = load_head("any@challenger")
    default = challenger.pick(image, pixel_size_angstrom=PIXEL)
    np.testing.assert_array_equal(challenger.pick(image, pixel_size_angstrom=PIXEL, threshold=0.6).xy, default.xy)
    assert len(default) < len(challenger.pick(image, pixel_size_angstrom=PIXEL, threshold=0.0))


def test_a_recommended_threshold_of_1_can_be_used(here: Path, image: np.ndarray) -> None:
    """A head that is sure of every hit has its best F1 at a score of 1.0 in float32."""
    sure = load_head("sure")
    assert sure.threshold == 1
    picks = sure.pick(image, pixel_size_angstrom=PIXEL)
    assert len(picks) > 20
    assert (picks.score == 1).all()
    assert len(load_head("grid").pick(image, pixel_size_angstrom=PIXEL, threshold=1)) == 0


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("anny", {}, "any"),
        ("GRID", {}, "grid"),
        ("any@chalenger", {}, "challenger"),
        ("grid", {"version": 7}, "7"),
        ("grid@challenger", {}, "challenger"),
    ],
)
def test_an_unknown_head_has_its_nearest_named(here: Path, name: str, options: dict, words: str) -> None:
    with pytest.raises(HeadNotFoundError) as caught:
        load_head(name, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_head_of_another_architecture_is_refused(here: Path) -> None:
    with pytest.raises(HydraPickerError, match=r"head 'later' version 1.*attention") as caught:
        load_head("later")
    assert "\n" not in str(caught.value)
