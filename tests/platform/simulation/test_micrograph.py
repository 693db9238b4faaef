"""One micrograph: known physics and particles where they are said to be."""

import dataclasses

import numpy as np
import pytest
import torch

from hydrapicker.simulation import optics
from hydrapicker.simulation.builtin import build
from hydrapicker.simulation.config import SimulateConfig
from hydrapicker.simulation.micrograph import (
    expected_counts,
    particle_count,
    plan_micrograph,
    render_micrograph,
)
from hydrapicker.simulation.projection import Projector
from hydrapicker.simulation.structure import StructureError, diameter_angstrom

_CONFIG = SimulateConfig(
    name="test", structure="builtin:globule", height=200, width=330, pixel_size_angstrom=4.0, particles=25
)
_GLOBULE = build("globule")
_DIAMETER = diameter_angstrom(_GLOBULE)


@pytest.fixture(scope="module")
def projector() -> Projector:
    return Projector(_GLOBULE, _CONFIG.pixel_size_angstrom)


def test_constants_of_the_electron() -> None:
    assert optics.wavelength_angstrom(300) == pytest.approx(0.019687, rel=1e-4)  # Reimer & Kohl, table
    assert optics.wavelength_angstrom(200) == pytest.approx(0.025079, rel=1e-4)
    assert optics.interaction_rad_per_volt_angstrom(300) == pytest.approx(6.526e-4, rel=1e-3)  # Kirkland
    assert optics.interaction_rad_per_volt_angstrom(100) == pytest.approx(9.244e-4, rel=1e-3)


def test_counts_are_dose_times_area(projector: Projector) -> None:
    config = dataclasses.replace(_CONFIG, particles=0)
    plan = plan_micrograph(config, _DIAMETER, projector.box_px, 0)
    assert plan.labelled(config).shape == (0, 2)
    image = render_micrograph(config, projector, plan, 0)
    assert image.shape == (200, 330)
    assert float(image.mean()) == pytest.approx(40 * 4**2, rel=0.02)
    assert torch.equal(image, image.round())


def test_noise_is_poissons(projector: Projector) -> None:
    plan = plan_micrograph(_CONFIG, _DIAMETER, projector.box_px, 0)
    expected = expected_counts(_CONFIG, projector, plan, 0)
    deviation = (render_micrograph(_CONFIG, projector, plan, 0) - expected) / expected.sqrt()
    assert float(deviation.mean()) == pytest.approx(0, abs=0.02)
    assert float(deviation.std()) == pytest.approx(1, abs=0.02)


def test_particles_are_dark_and_where_they_are_said_to_be(projector: Projector) -> None:
    """Cross-correlation of the image without counting noise with blobs at the coordinates: best unmoved."""
    config = dataclasses.replace(_CONFIG, ice_thickness_angstrom=0.0)
    plan = plan_micrograph(config, _DIAMETER, projector.box_px, 3)
    particles = plan.labelled(config)
    assert len(particles) > 10
    image = expected_counts(config, projector, plan, 3).numpy()
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    blobs = np.zeros(image.shape)
    for x, y in particles:
        blobs += np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 6.0**2))
    dark = image.mean() - image
    correlation = np.fft.irfft2(np.fft.rfft2(dark) * np.fft.rfft2(blobs - blobs.mean()).conj(), s=image.shape)
    down, across = np.unravel_index(correlation.argmax(), correlation.shape)
    assert min(down, image.shape[0] - down) < 1
    assert min(across, image.shape[1] - across) < 1
    # Not only on average: every particle is a dark spot.
    at = particles.astype(int)
    inner = [dark[max(0, y - 5) : y + 6, max(0, x - 5) : x + 6].mean() for x, y in at]
    assert min(inner) > 0


def test_first_zero_of_the_ctf(projector: Projector) -> None:
    """The rings of amorphous ice vanish where pi lambda df s^2 - pi/2 Cs lambda^3 s^4 + asin(w) = pi."""
    config = dataclasses.replace(
        _CONFIG, particles=0, height=384, width=512, pixel_size_angstrom=2.5, defocus_min_um=2.0, defocus_max_um=2.0
    )
    plan = plan_micrograph(config, _DIAMETER, projector.box_px, 0)
    image = expected_counts(config, projector, plan, 0).numpy()
    window = np.outer(np.hanning(384), np.hanning(512))
    power = np.abs(np.fft.rfft2((image - image.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(384, 2.5)[:, None], np.fft.rfftfreq(512, 2.5)[None])
    edges = np.arange(0.02, 0.12, 0.0015)
    ring = [power[(frequency >= low) & (frequency < low + 0.0015)].mean() for low in edges]
    lowest = edges[1 + int(np.argmin(ring[1:40]))] + 0.00075
    s = np.linspace(0.02, 0.12, 20_001)
    wave = 0.019687
    chi = np.pi * wave * 2e4 * s**2 - np.pi / 2 * 2.7e7 * wave**3 * s**4 + np.arcsin(0.1)
    zeros = [float(s[np.argmin(np.abs(chi - n * np.pi))]) for n in (1, 2)]
    assert min(abs(lowest - zero) for zero in zeros) < 0.0015
    first = [value for low, value in zip(edges, ring, strict=True) if abs(low + 0.00075 - zeros[0]) < 0.0008]
    assert min(first) < 0.1 * max(ring)


def test_transfer_starts_at_the_amplitude_contrast() -> None:
    transfer = optics.transfer((64, 96), _CONFIG, optics.Defocus(1.5, 0.0, 0.0))
    assert transfer.shape == (64, 49)
    assert float(transfer[0, 0]) == pytest.approx(0.1, abs=1e-6)


def test_average_number_of_particles(projector: Projector) -> None:
    counts = [
        len(plan_micrograph(_CONFIG, _DIAMETER, projector.box_px, index).labelled(_CONFIG)) for index in range(60)
    ]
    assert np.mean(counts) == pytest.approx(25, abs=2)
    assert len(set(counts)) > 3


def test_some_particles_touch_the_edge(projector: Projector) -> None:
    everyone = np.concatenate(
        [plan_micrograph(_CONFIG, _DIAMETER, projector.box_px, index).labelled(_CONFIG) for index in range(30)]
    )
    assert everyone.dtype == np.float32
    assert everyone.min() >= 0
    assert everyone[:, 0].max() <= 329
    assert everyone[:, 1].max() <= 199
    radius = _DIAMETER / 4.0 / 2
    assert ((everyone < radius) | (everyone > np.array([329, 199]) - radius)).any(axis=1).mean() > 0.1


@pytest.mark.parametrize("level", ["light", "heavy"])
def test_contamination_is_never_labelled(level: str, projector: Projector) -> None:
    config = dataclasses.replace(_CONFIG, contamination=level, height=400, width=600, particles=80)  # type: ignore[arg-type]
    spacing = config.spacing_diameters * _DIAMETER / config.pixel_size_angstrom
    clumped, blocked = 0, 0
    for index in range(12):
        plan = plan_micrograph(config, _DIAMETER, projector.box_px, index)
        dirt = plan.contamination
        clumped += len(dirt.clumped)
        blocked += int((~dirt.free).sum())
        x, y = plan.positions.T
        assert (dirt.crystal_angstrom[y, x] == 0).all()
        assert (dirt.carbon_angstrom[y, x] < 1).all()
        if len(dirt.clumped):
            apart = np.hypot(*(plan.positions[:, None] - dirt.clumped[None]).transpose(2, 0, 1))
            assert apart.min() >= spacing
    assert clumped > 0
    assert blocked > 0


def test_contamination_shows(projector: Projector) -> None:
    """Crystals are darker than the ice around them."""
    config = dataclasses.replace(_CONFIG, contamination="heavy", particles=0, height=400, width=600)
    plan = plan_micrograph(config, _DIAMETER, projector.box_px, 2)
    image = expected_counts(config, projector, plan, 2).numpy()
    top, left = plan.margin
    crystal = plan.contamination.crystal_angstrom[top : top + 400, left : left + 600]
    assert (crystal > 100).any()
    assert image[crystal > 100].mean() < 0.95 * image[crystal == 0].mean()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(StructureError, match="at most"):
        particle_count(dataclasses.replace(_CONFIG, particles=5000), _DIAMETER)
    with pytest.raises(StructureError, match="larger"):
        particle_count(_CONFIG, 900.0)
