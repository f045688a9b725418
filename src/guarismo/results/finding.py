"""Finding: one thing worth knowing, with its number, the images that show it, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.language import ENGLISH, Language

NO_IMAGES = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing that was found.

    name: which kind, as ``over-fitting``; number: the figure that decided; says, advises: English texts with fields,
    marked with `N_`, that `values` fill; epochs: where the curves show it; split and images: which images show it,
    int64 (m,), the clearest first; classes: the classes concerned.
    """

    name: str
    number: float
    says: str
    advises: str
    values: Mapping[str, Any] = field(default_factory=dict)
    epochs: tuple[int, ...] = ()
    split: str = ""
    images: NDArray[np.int64] = field(default_factory=NO_IMAGES.copy)
    classes: tuple[int, ...] = ()

    def sentence(self, _: Language = ENGLISH) -> str:
        """What was found, in words."""
        return _(self.says, **self.values)

    def remedy(self, _: Language = ENGLISH) -> str:
        """What to do about it, in words."""
        return _(self.advises, **self.values)

    def as_json(self) -> dict[str, Any]:
        """Plain values for json.dumps."""
        return {
            "finding": self.name,
            "number": self.number,
            "sentence": self.sentence(),
            "remedy": self.remedy(),
            "epochs": list(self.epochs),
            "split": self.split,
            "images": self.images.tolist(),
            "classes": list(self.classes),
        }
