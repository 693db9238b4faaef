"""A head that picks: a micrograph in, picks in that micrograph's pixels out."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hydrapicker.errors import InvalidInputError, MicrographError
from hydrapicker.files.micrographs import Micrograph, read_micrograph
from hydrapicker.picking.modules import build_modules
from hydrapicker_core.inference import InferenceConfig, detect
from hydrapicker_core.preprocess import PreparedMicrograph, prepare, working_scale
from hydrapicker_registry.metadata import Contrast
from hydrapicker_registry.package import HeadPackage, TrunkPackage
from hydrapicker_registry.registry import LoadedHead
from hydrapicker_registry.versions import SHIPPED

_DEFAULT_THRESHOLD = 0.5


def check_options(
    threshold: float | None,
    min_distance_angstrom: float | None,
    memory_bound_gib: float,
    contrast: str | None,
    exclude_edges_angstrom: float = 0.0,
) -> None:
    """Refuse options of :meth:`Picker.pick` that make no sense, with :class:`InvalidInputError`."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise InvalidInputError(f"threshold {threshold} is not a probability: give a number from 0 to 1")
    if min_distance_angstrom is not None and not (math.isfinite(min_distance_angstrom) and min_distance_angstrom >= 0):
        raise InvalidInputError(
            f"min_distance_angstrom {min_distance_angstrom} is not a distance: give it in Angstrom, or 0 for none"
        )
    if not memory_bound_gib > 0:
        raise InvalidInputError(f"memory_bound_gib {memory_bound_gib} is not positive: give it in GiB")
    if not (math.isfinite(exclude_edges_angstrom) and exclude_edges_angstrom >= 0):
        raise InvalidInputError(
            f"exclude_edges_angstrom {exclude_edges_angstrom} is not a width: give it in Angstrom, or 0 for none"
        )
    if contrast not in (None, *get_args(Contrast)):
        raise InvalidInputError(f"contrast {contrast!r} is unknown: give {' or '.join(get_args(Contrast))}")


@dataclass(frozen=True, eq=False)
class Picks:
    """Picks of one micrograph, most confident first.

    Attributes:
        xy: Centres, float32 ``(n, 2)``, x (column) then y (row), in the micrograph's pixels, pixel centres at integers.
        score: Probability of a particle, float32 ``(n,)``.
        pixel_size_angstrom: Of the micrograph.
        diameter_angstrom: The diameter that was picked for.
        excluded: Where nothing was to be picked: True there, in a coarser grid over the whole micrograph; None where
            nothing was excluded.
    """

    xy: NDArray[np.float32]
    score: NDArray[np.float32]
    pixel_size_angstrom: float
    diameter_angstrom: float
    excluded: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """How many picks there are."""
        return len(self.score)

    @property
    def x(self) -> NDArray[np.float32]:
        """Columns, float32 ``(n,)``."""
        return self.xy[:, 0]

    @property
    def y(self) -> NDArray[np.float32]:
        """Rows, float32 ``(n,)``."""
        return self.xy[:, 1]

    def above(self, threshold: float) -> "Picks":
        """Those whose score is at least `threshold`, compared as float32 like the scores."""
        kept = int(np.count_nonzero(self.score >= np.float32(threshold)))  # the most confident come first
        return replace(self, xy=self.xy[:kept], score=self.score[:kept])

    @property
    def diameter_px(self) -> float:
        """The particle's diameter in the micrograph's pixels."""
        return self.diameter_angstrom / self.pixel_size_angstrom


@dataclass(frozen=True, eq=False)
class AtScale:
    """A micrograph as the network wants it, of which particles have the same extent on all.

    Attributes:
        prepared: The image at the working scale.
        shape: (height, width) of the micrograph, in its own pixels.
        pixel_size_angstrom: Of the micrograph.
        diameter_angstrom: The diameter to be picked for.
        excluded: As in :class:`Picks`, at the working scale.
    """

    prepared: PreparedMicrograph
    shape: tuple[int, int]
    pixel_size_angstrom: float
    diameter_angstrom: float
    excluded: NDArray[np.bool_] | None


class Picker:
    """A head ready to pick, with its trunk.

    Made by :func:`hydrapicker.load_head`. ``name`` and ``version`` are the head's in the registry (None where it comes
    from none, as the shipped one does), ``diameter_angstrom`` and ``threshold`` what its record recommends (None where
    it has none).

    Raises:
        TrunkMismatchError: When the head was trained on another trunk.
        PackageError: When this HydraPicker cannot build such a network.
    """

    def __init__(self, head: HeadPackage, trunk: TrunkPackage, version: int | None = None) -> None:
        metadata = head.metadata
        self.name, self.version = metadata.dataset, version
        self._called = metadata.dataset if version is None else f"{metadata.dataset} version {version}"
        self.diameter_angstrom = metadata.input.diameter_angstrom
        self.threshold = metadata.threshold
        self._box_px = metadata.input.box_px
        self._contrast: Contrast = metadata.input.contrast
        self._trunk, self._head = build_modules(head, trunk, version)

    @classmethod
    def of(cls, loaded: LoadedHead) -> "Picker":
        """A head of the registry, or the shipped one, ready to pick."""
        version = loaded.version
        picker = cls(loaded.head, loaded.trunk, None if version.version == SHIPPED else version.version)
        picker._called = version.called
        return picker

    def __repr__(self) -> str:
        return f"Picker({self._called})" if self.version is None else f"Picker({self.name!r}, version={self.version})"

    def _prepare(
        self, image: NDArray[np.float32], pixel_size: float, diameter: float, contrast: Contrast, named: str
    ) -> PreparedMicrograph:
        try:
            scale = working_scale(pixel_size, diameter, self._box_px)
            return prepare(torch.from_numpy(image), scale, box_px=self._box_px, light_particles=contrast == "light")
        except InvalidInputError as error:
            raise MicrographError(f"{named}{error}") from error

    def diameter_or_own(self, diameter_angstrom: float | None) -> float:
        """The diameter given, or else that of the head's own dataset.

        Raises:
            InvalidInputError: When there is neither: the generic head has no dataset of its own.
        """
        if diameter_angstrom is not None:
            return diameter_angstrom
        if self.diameter_angstrom is None:
            raise InvalidInputError(
                f"head {self.name!r} has no diameter of its own: give the particle's diameter in Angstrom "
                "(--diameter-angstrom, or diameter_angstrom=)"
            )
        return self.diameter_angstrom

    def threshold_or_own(self, threshold: float | None) -> float:
        """The threshold given, or else what the head's record recommends, or else 0.5."""
        if threshold is not None:
            return threshold
        return _DEFAULT_THRESHOLD if self.threshold is None else self.threshold

    def contrast_or_own(self, contrast: Contrast | None) -> Contrast:
        """The contrast given, or else that of the head's own dataset."""
        return contrast or self._contrast

    def to_gpu(self) -> "Picker":
        """The same picker, with its networks on the GPU.

        Raises:
            InvalidInputError: When torch sees none.
        """
        if not torch.cuda.is_available():
            raise InvalidInputError("no GPU is there that torch can use: leave --gpu out, or install torch with CUDA")
        for module in (self._trunk, self._head):
            module.to("cuda")
        return self

    def pick(
        self,
        micrograph: str | Path | Micrograph | ArrayLike,
        *,
        pixel_size_angstrom: float | None = None,
        diameter_angstrom: float | None = None,
        threshold: float | None = None,
        min_distance_angstrom: float | None = None,
        contrast: Contrast | None = None,
        exclude_edges_angstrom: float = 0.0,
        mask_contamination: bool = False,
        memory_bound_gib: float = InferenceConfig.memory_bound_gib,
    ) -> Picks:
        """Pick one micrograph.

        Args:
            micrograph: A file, or an image as a 2D array (rows first).
            pixel_size_angstrom: Of the micrograph; None: what its file says.
            diameter_angstrom: Of the particle; None: that of the head's own dataset.
            threshold: Least probability of a pick; None: what the head's record recommends, or else 0.5.
            min_distance_angstrom: Least distance between two picks; None: 0.6 of the diameter.
            contrast: Whether particles are darker or lighter than the ice; None: as in the head's own dataset.
            exclude_edges_angstrom: How far from the edges the nearest pick may be centred.
            mask_contamination: Pick nothing on carbon and contaminants larger than a particle.
            memory_bound_gib: Above this estimate of memory the micrograph goes through the network in bands.

        Raises:
            MicrographError: For a file or image that cannot be used.
            InvalidInputError: When pixel size or diameter is neither given nor on record, or an option makes no sense.
        """
        check_options(threshold, min_distance_angstrom, memory_bound_gib, contrast, exclude_edges_angstrom)
        at_scale = self.prepare(
            micrograph, pixel_size_angstrom, diameter_angstrom, contrast, exclude_edges_angstrom, mask_contamination
        )
        return self.pick_prepared(at_scale, threshold, min_distance_angstrom, memory_bound_gib)

    def prepare(
        self,
        micrograph: str | Path | Micrograph | ArrayLike,
        pixel_size_angstrom: float | None = None,
        diameter_angstrom: float | None = None,
        contrast: Contrast | None = None,
        exclude_edges_angstrom: float = 0.0,
        mask_contamination: bool = False,
    ) -> AtScale:
        """The first part of :meth:`pick`, without the network: what it keeps of a large micrograph is small."""
        diameter = self.diameter_or_own(diameter_angstrom)
        image, pixel_size = _image(micrograph, pixel_size_angstrom)
        prepared = self._prepare(image, pixel_size, diameter, self.contrast_or_own(contrast), _named(micrograph))
        excluded = None
        if exclude_edges_angstrom > 0 or mask_contamination:
            from hydrapicker.picking.masks import excluded_area

            excluded = excluded_area(prepared, self._box_px, exclude_edges_angstrom / pixel_size, mask_contamination)
        return AtScale(prepared, (image.shape[0], image.shape[1]), pixel_size, diameter, excluded)

    def pick_prepared(
        self,
        micrograph: AtScale,
        threshold: float | None = None,
        min_distance_angstrom: float | None = None,
        memory_bound_gib: float = InferenceConfig.memory_bound_gib,
    ) -> Picks:
        """The second part of :meth:`pick`: the network, and what follows."""
        threshold = self.threshold_or_own(threshold)
        if min_distance_angstrom is None:
            distance = InferenceConfig.min_distance_boxes
        else:
            distance = min_distance_angstrom / micrograph.diameter_angstrom
        prepared, excluded = micrograph.prepared, micrograph.excluded
        found = detect(
            self._trunk,
            {self.name: self._head},
            prepared.image,
            prepared.background,
            self._box_px,
            InferenceConfig(threshold, distance, memory_bound_gib),
            None if excluded is None else torch.from_numpy(excluded),
        )[self.name]
        scales = np.array([prepared.scale_x, prepared.scale_y], dtype=np.float32)
        xy = (found.xy.numpy() / scales).astype(np.float32)
        return Picks(xy, found.score.numpy(), micrograph.pixel_size_angstrom, micrograph.diameter_angstrom, excluded)


def _named(micrograph: object) -> str:
    if isinstance(micrograph, Micrograph):
        return f"{micrograph.path}: "
    return f"{micrograph}: " if isinstance(micrograph, str | Path) else ""


def _image(micrograph: object, pixel_size_angstrom: float | None) -> tuple[NDArray[np.float32], float]:
    if isinstance(micrograph, str | Path):
        micrograph = read_micrograph(Path(micrograph))
    if isinstance(micrograph, Micrograph):
        pixel_size = micrograph.pixel_size_angstrom if pixel_size_angstrom is None else pixel_size_angstrom
        if pixel_size is None:
            raise MicrographError(
                f"{micrograph.path}: its header holds no pixel size: give it in Angstrom "
                "(--pixel-size-angstrom, or pixel_size_angstrom=)"
            )
        return micrograph.image, pixel_size
    array = np.asarray(micrograph)
    if array.ndim != 2 or array.dtype.kind not in "iufb":
        raise MicrographError(f"an array of shape {array.shape} and type {array.dtype} is no image: give 2D numbers")
    if pixel_size_angstrom is None:
        raise InvalidInputError("an array has no pixel size of its own: give pixel_size_angstrom=")
    # torch warns of memory it may not write to, such as a file's mapped into memory.
    return np.require(array, np.float32, ["C", "W"]), pixel_size_angstrom
