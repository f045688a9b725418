"""Settings: every choice of one training, written once. The command line and run.json are generated from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from guarismo.choices import check_choices, choice
from guarismo.errors import RunError, unknown

SCHEDULES = ("one-cycle", "plateau", "constant")
MONITORS = ("validation_loss", "validation_accuracy")
PRECISIONS = ("auto", "float32", "bfloat16")
KEEP = ("best", "last")
VARIANTS = ("none", "handwriting")


@dataclass(frozen=True)
class Settings:
    """Every choice of one training.

    The defaults suit every network here: one-cycle Adam, the best epoch on validation kept.
    `dataclasses.replace(settings, seed=1)` makes a variant. Raises RunError for a value out of range.
    """

    model: str = choice("cnn", "Name of a model; `guarismo models` lists them.")
    width: float = choice(
        1.0, "Filters and units of the network's hidden layers, times those it was made with.", least=0.05, most=10
    )
    epochs: int = choice(10, "Most passes over the training images.", least=1, most=100_000)
    batch_size: int = choice(128, "Images per step.", least=1, most=1_000_000)
    learning_rate: float = choice(2e-3, "Peak step size of Adam.", least=1e-9, most=10)
    beta_2: float = choice(0.999, "How long Adam remembers the size of gradients; short trainings want less.", most=1)
    weight_decay: float = choice(0.0, "Weights shrink by this share of the step size at each step.", most=10)
    schedule: str = choice(
        "one-cycle",
        "How the step size moves: one-cycle (up, then down to nothing), plateau (halved when stuck), constant.",
        SCHEDULES,
    )
    plateau_patience: int = choice(3, "Epochs without improvement before 'plateau' halves the step size.", least=1)
    patience: int = choice(0, "Stop after this many epochs without improvement; 0 never stops early.")
    monitor: str = choice("validation_loss", "What counts as improvement.", MONITORS)
    keep: str = choice("best", "Which epoch's weights become the model, by the monitored figure.", KEEP)
    label_smoothing: float = choice(0.0, "Share of each label spread over all the classes.", most=0.5)
    rotation: float = choice(0.0, "Augmentation: turn by up to ± this many degrees.", most=180)
    shift: float = choice(0.0, "Augmentation: move by up to ± this share of the image.", most=0.5)
    zoom: float = choice(0.0, "Augmentation: enlarge or shrink by up to ± this share.", most=0.5)
    mirror: bool = choice(False, "Augmentation: half of the images left for right.")
    erase: float = choice(0.0, "Augmentation: blank a square of this share of the image's side.", most=0.9)
    neighbours: bool = choice(
        False,
        "Answer by the mean over an image and itself moved by a pixel in four directions, mirrored too with --mirror: "
        "5 or 10 times the work.",
    )
    variants: str = choice(
        "none",
        "New images each epoch: 'handwriting' makes digits as photos show them, and marks that are none.",
        VARIANTS,
    )
    precision: str = choice("auto", "Arithmetic; auto takes bfloat16 where the processor gains by it.", PRECISIONS)
    devices: int = choice(1, "Devices that share each batch, with Keras on JAX; 0 takes all there are.", most=4096)
    seed: int = choice(0, "Start of all randomness: same seed, same machine, same weights.", most=2**31 - 1)

    def __post_init__(self) -> None:
        check_choices(self, RunError)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The Settings that `asdict` wrote. Raises RunError for a field that this version does not know."""
        known = [item.name for item in fields(cls)]
        for name in values:
            if name not in known:
                raise RunError(unknown("setting", name, known))
        return cls(**values)

    def changes(self) -> dict[str, Any]:
        """The fields that differ from the defaults."""
        return {name: value for name, value in asdict(self).items() if value != getattr(Settings(), name)}


def recipe_for(name: str, data: str = "") -> Settings:
    """The recipe of that name; for data that have a recipe of their own, such as "best-fashion_mnist", that one.

    Raises RunError for a name that is none.
    """
    if name not in RECIPES:
        raise RunError(unknown("recipe", name, RECIPES))
    return RECIPES.get(f"{name}-{data}", RECIPES[name])


PUBLISHED = Settings(schedule="constant", learning_rate=1e-3)
"""What the published projects did: Keras' Adam at its default step size."""

FAST = Settings(model="fast", epochs=1, learning_rate=2e-2, beta_2=0.95, label_smoothing=0.05, keep="last")
"""Seconds for small images of any kind.

Of MNIST's test images 99.34 ± 0.06 % after an epoch of 5.9 ± 0.4 s, 99.43 ± 0.04 after two; of Fashion-MNIST's
after two 90.84 ± 0.15, three 91.31 ± 0.16 % in 15.6 s, eight 92.09 ± 0.28 (2 cores with AMX, 5 seeds; docs/speed.md).
"""

BEST = replace(FAST, model="vgg", epochs=24, learning_rate=5e-3, beta_2=0.99, rotation=8.0, shift=0.08, zoom=0.1)
"""Minutes, for the most accurate of our single networks.

Of MNIST's test images 99.68 ± 0.03 % in 289 s (2 cores with AMX, 5 seeds); of Fashion-MNIST's, by a recipe of their
own, 94.62 ± 0.08 % in 15 minutes, its answers ten times the work (2 seeds; docs/speed.md).
"""

SMALL = replace(FAST, model="small", epochs=20, learning_rate=1e-2, beta_2=0.99, shift=0.07)
"""8,898 parameters: of MNIST's test images 99.46 ± 0.02 %, in 83 s (2 cores with AMX, 5 seeds; docs/speed.md)."""

TINY = replace(FAST, model="tiny", epochs=40, beta_2=0.99, label_smoothing=0.0)
"""960 parameters: of MNIST's test images 98.39 ± 0.10 %, in 163 s (2 cores with AMX, 3 seeds; docs/speed.md)."""

RECIPES: dict[str, Settings] = {
    "fast": FAST,
    "fast-fashion_mnist": replace(FAST, epochs=3),
    "best": BEST,
    "best-fashion_mnist": replace(
        BEST, model="vgg-wide", rotation=0.0, shift=0.07, zoom=0.0, mirror=True, erase=0.3, neighbours=True
    ),
    "small": SMALL,
    "tiny": TINY,
    # What reads photos, and comes with the package (trained on mnist)
    "reader": Settings(model="reader", epochs=24, learning_rate=3e-3, keep="last", variants="handwriting"),
    # Published laboratories, at their own settings. Where their authors state nothing, Keras' usual value stands.
    "mnist-mlp": replace(PUBLISHED, model="mnist-mlp", epochs=20, keep="last"),
    "mnist-cnn": replace(PUBLISHED, model="mnist-cnn", epochs=5, batch_size=64, keep="last"),
    "mnist-cnn-bn": replace(
        PUBLISHED,
        model="mnist-cnn-bn",
        epochs=20,
        schedule="plateau",
        plateau_patience=3,
        patience=5,
        monitor="validation_accuracy",
        rotation=10.0,
        shift=0.1,
        zoom=0.1,
    ),
    "fashion-cnn": replace(PUBLISHED, model="fashion-cnn", epochs=25, batch_size=32, keep="last"),
    "fashion-cnn-strided": replace(PUBLISHED, model="fashion-cnn-strided", epochs=50, keep="last"),
    "poly-modality-mlp": replace(PUBLISHED, model="poly-modality-mlp", epochs=20, batch_size=256, patience=3),
    "poly-modality-cnn": replace(PUBLISHED, model="poly-modality-cnn", epochs=20, batch_size=256, patience=3),
    "poly-modality-cnn-augmented": replace(
        PUBLISHED, model="poly-modality-cnn", epochs=20, patience=3, rotation=15.0, shift=0.1, zoom=0.1
    ),
    "poly-modality-forest": Settings(model="forest", seed=42),
}
