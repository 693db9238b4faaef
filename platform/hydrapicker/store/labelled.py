"""A lab's own micrographs and picks, as commands take them that put them into a store on their way."""

from dataclasses import dataclass, fields

from hydrapicker.errors import InvalidInputError
from hydrapicker.store.config import IngestConfig, IngestReport
from hydrapicker.store.progress import Progress, untold
from hydrapicker_registry.metadata import Contrast

__all__ = ["Labelled"]


@dataclass(frozen=True)
class Labelled:
    """Micrographs with known particles; nothing given stands for a dataset that is in the store already.

    Attributes:
        micrographs: Micrograph files, folders or quoted patterns such as 'mics/*.mrc', to ingest first.
        particles: File with their true particles (.star, .box, .csv), or a folder with one per micrograph.
        diameter_angstrom: The particle's diameter.
        pixel_size_angstrom: Pixel size of the micrographs; read from their headers when not given.
        contrast: Whether particles are darker or lighter than the background.
        val_size: Validation micrographs, a count or a share below 1; by default a tenth, at least one of three or more.
        test_size: Test micrographs, a count or a share below 1; by default a tenth, at least one of three or more.
        split_seed: Another seed draws other validation and test micrographs.
    """

    micrographs: tuple[str, ...] = ()
    particles: str | None = None
    diameter_angstrom: float | None = None
    pixel_size_angstrom: float | None = None
    contrast: Contrast = "dark"
    val_size: float | None = None
    test_size: float | None = None
    split_seed: int = 0

    def __post_init__(self) -> None:
        options = {field.name: "--" + field.name.replace("_", "-") for field in fields(self)}
        if self.micrographs:
            lacking = [options[name] for name in ("particles", "diameter_angstrom") if getattr(self, name) is None]
            if lacking:
                raise InvalidInputError(f"micrographs are given without {' and '.join(lacking)}: give it too")
            self._config("check", None, box_px=1)
            return
        given = [options[field.name] for field in fields(self) if getattr(self, field.name) != field.default]
        if given:
            raise InvalidInputError(f"{' and '.join(given)} given without micrographs: give --micrographs too")

    def __bool__(self) -> bool:
        """Whether there is anything to ingest."""
        return bool(self.micrographs)

    def ingest(self, name: str, store: str | None, box_px: int, progress: Progress = untold) -> IngestReport:
        """Put them into a store as a dataset; see :func:`hydrapicker.store.ingest.ingest`."""
        from hydrapicker.store.ingest import ingest

        return ingest(self._config(name, store, box_px), progress)

    def _config(self, name: str, store: str | None, box_px: int) -> IngestConfig:
        assert self.particles is not None
        assert self.diameter_angstrom is not None
        return IngestConfig(
            name,
            self.micrographs,
            self.particles,
            self.diameter_angstrom,
            pixel_size_angstrom=self.pixel_size_angstrom,
            contrast=self.contrast,
            box_px=box_px,
            val_size=self.val_size,
            test_size=self.test_size,
            split_seed=self.split_seed,
            store=store,
        )
