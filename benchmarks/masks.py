"""What `--mask-contamination` finds and what it costs, on simulated micrographs whose contamination is known.

    python benchmarks/masks.py [--structures builtin:shell FILE ...] [--head NAME] [--picture FILE]

With a head of the registry also what it does to that head's picks at the threshold it recommends.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, spatial

from hydrapicker.cli.console import print_table
from hydrapicker.picking.masks import contamination_mask
from hydrapicker.picking.overlay import draw_overlay
from hydrapicker.simulation.builtin import builtin_names
from hydrapicker.simulation.config import SimulateConfig
from hydrapicker.simulation.micrograph import plan_micrograph, render_micrograph
from hydrapicker.simulation.projection import Projector, projection_box_px
from hydrapicker.simulation.source import load_structure
from hydrapicker.simulation.structure import diameter_angstrom
from hydrapicker_core.preprocess import DEFAULT_BOX_PX, prepare, working_scale

SIDE, PIXEL = 1400, 2.0
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Contaminated:
    """A micrograph, where its carbon and crystals are, and its particles (x, y)."""

    image: NDArray[np.float32]
    carbon: Mask
    crystals: Mask
    particles: NDArray[np.float32]


def simulated(structure: str, count: int) -> tuple[float, list[Contaminated]]:
    """The particle's diameter in Angstrom, and micrographs."""
    atoms = load_structure(structure)
    diameter = diameter_angstrom(atoms)
    config = SimulateConfig(
        "m", structure, height=SIDE, width=SIDE, pixel_size_angstrom=PIXEL, contamination="heavy", seed=3
    )
    projector, micrographs = Projector(atoms, PIXEL), []
    for index in range(count):
        plan = plan_micrograph(config, diameter, projection_box_px(atoms, PIXEL), index)
        top, left = plan.margin
        field = np.s_[top : top + SIDE, left : left + SIDE]
        crystals, carbon = plan.contamination.crystal_angstrom[field] > 0, plan.contamination.carbon_angstrom[field] > 1
        image = render_micrograph(config, projector, plan, index).numpy()
        micrographs.append(Contaminated(image, carbon, crystals, plan.labelled(config)))
    return diameter, micrographs


def mask_of(micrograph: Contaminated, diameter: float) -> Mask:
    """The mask, in the micrograph's pixels."""
    prepared = prepare(torch.from_numpy(micrograph.image), working_scale(PIXEL, diameter))
    mask = contamination_mask(prepared.image.numpy(), DEFAULT_BOX_PX)
    return ndimage.zoom(mask.astype(np.uint8), SIDE / np.array(mask.shape), order=0).astype(bool)


def areas(micrographs: list[Contaminated], masks: list[Mask], diameter: float) -> list[str]:
    """The table's cells on areas: shares of carbon, large crystals, clean ice and particles that are masked."""
    pairs: list[list[Mask]] = [[], [], [], []]
    for micrograph, mask in zip(micrographs, masks, strict=True):
        inner = ndimage.distance_transform_edt(np.pad(micrograph.crystals, 1, mode="edge"))[1:-1, 1:-1]
        x, y = micrograph.particles.astype(int).T
        clean = ~micrograph.carbon & ~micrograph.crystals
        of = (mask[micrograph.carbon], mask[inner > 0.75 * diameter / PIXEL], mask[clean], mask[y, x])
        for kept, each in zip(pairs, of, strict=True):
            kept.append(each)
    joined = [np.concatenate(each) for each in pairs]
    return [f"{100 * each.mean():.1f} %" if len(each) else "none" for each in joined]


def picked(micrographs: list[Contaminated], diameter: float, head: str) -> list[str]:
    """The table's cells on picks: on contamination, and true ones, without and with the mask."""
    from hydrapicker import load_head

    picker, cells = load_head(head), []
    for masked in (False, True):
        dirty = true = 0
        for each in micrographs:
            picks = picker.pick(
                each.image, pixel_size_angstrom=PIXEL, diameter_angstrom=diameter, mask_contamination=masked
            )
            x, y = np.clip(picks.xy.round().astype(int), 0, SIDE - 1).T
            dirty += int((each.carbon | each.crystals)[y, x].sum())
            distance, _ = spatial.KDTree(picks.xy).query(each.particles) if len(picks) else (np.zeros(0), None)
            true += int((distance < 0.3 * diameter / PIXEL).sum())
        cells.append(f"{dirty / len(micrographs):.1f}, {true / len(micrographs):.1f}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known = [f"builtin:{name}" for name in builtin_names()]
    parser.add_argument("--structures", nargs="+", default=known, help="PDB or mmCIF files, or builtin:NAME")
    parser.add_argument("--micrographs", type=int, default=4)
    parser.add_argument("--head", help="of the registry")
    parser.add_argument("--picture", type=Path, help="write the first micrograph with its mask there")
    arguments = parser.parse_args()
    columns = ["structure", "carbon masked", "large crystals", "clean ice", "particles"]
    if arguments.head:
        columns += ["on contamination, true: no mask", "mask"]
    rows = []
    for number, structure in enumerate(arguments.structures):
        diameter, micrographs = simulated(structure, arguments.micrographs)
        masks = [mask_of(each, diameter) for each in micrographs]
        if arguments.picture and number == 0:
            image = micrographs[0].image
            draw_overlay(arguments.picture, image, np.zeros((0, 2), np.float32), 60, PIXEL, excluded=masks[0])
        cells = areas(micrographs, masks, diameter)
        if arguments.head:
            cells += picked(micrographs, diameter, arguments.head)
        rows.append([Path(structure).name, *cells])
    print_table(columns, rows, "Share that is masked" + ("; picks per micrograph" if arguments.head else ""))


if __name__ == "__main__":
    main()
