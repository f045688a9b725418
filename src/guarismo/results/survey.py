"""Exploration + Dataset → one self-contained HTML page: what the data holds, what varies in it, what to mend first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import UNKNOWN, Dataset, pick_samples
from guarismo.data.exploration import QUANTILES, THUMBNAIL, Exploration, Variation
from guarismo.errors import RunError
from guarismo.language import ENGLISH, N_, Language
from guarismo.models.runs import write_out
from guarismo.results.finding import Finding
from guarismo.results.html import isolated, render, sprite

MOST_CLASSES = 20
"""Classes that are shown with images; the others keep their numbers."""

SAMPLES = 8
"""Images of each class."""

MOST_PAIRS = 12
"""Copies of a kind that are shown."""

MOST_IMAGE_BYTES = 1_500_000
"""Of a page's 3 MB, what its images may take."""

SIZES = ((48, 8), (48, 6), (48, 4), (32, 4), (24, 4), (16, 3))
"""Pixels of an image's side, and images at each end of a measure: the first that fits is taken."""

EVEN = 1.05
"""Commonest class against the rarest, below which they are called equal."""

IMBALANCED = 2.0
"""Commonest class against the rarest, from which on it is told."""

FEW = 20
"""Training images of a class, below which it is told."""

SHAPED = 0.5
"""Share of images with a shape to be measured, below which the measures would be of chance ones."""

MOST_COLOURS = 12
"""Classes that the map tells apart by colour."""

MOST_NAMES = 5
"""Classes that a sentence names."""

Place = tuple[str, int]
"""One image: (split, index)."""


@dataclass(frozen=True)
class Words:
    """How a measure is spoken of: its name, what it is, its low and its high end, a value with its unit, and the
    classes that are furthest apart."""

    name: str
    meaning: str
    low: str
    high: str
    value: Callable[[Language, float], str]
    extremes: str


MEASURES: Mapping[str, Words] = {
    "slant": Words(
        N_("Slant"),
        N_("Degrees from upright, by the moments of the ink; to the right is positive."),
        N_("to the left"),
        N_("to the right"),
        lambda _, degrees: _.decimal(round(degrees) + 0.0, 0).replace("-", "−") + "°",
        N_("“{high}” leans furthest to the right, with a median of {most}; “{low}” least, with {least}."),
    ),
    "stroke": Words(
        N_("Stroke width"),
        N_("How many pixels the strokes are wide."),
        N_("thin"),
        N_("thick"),
        lambda _, pixels: _("{value:.1} px", value=pixels),
        N_("“{high}” has the thickest strokes, with a median of {most}; “{low}” the thinnest, with {least}."),
    ),
    "holes": Words(
        N_("Holes and loops"),
        N_("How many pieces of ground the ink encloses; one of a single pixel does not count."),
        N_("fewest"),
        N_("most"),
        lambda _, holes: _.count(holes),
        N_("“{high}” has a hole in {most} of its images, “{low}” in {least}."),
    ),
    "aspect": Words(
        N_("Width for height"),
        N_("Of the box around the ink: below 1 it is higher than wide."),
        N_("narrow"),
        N_("wide"),
        lambda _, ratio: _.decimal(ratio, 2),
        N_("“{high}” is the widest, with a median of {most}; “{low}” the narrowest, with {least}."),
    ),
    "ink": Words(
        N_("Ink"),
        N_("How much of the image is ink."),
        N_("little"),
        N_("much"),
        lambda _, share: _.percent(share, 0),
        N_("“{high}” takes the most ink, with a median of {most}; “{low}” the least, with {least}."),
    ),
}

SPLITS: Mapping[str, str] = {"train": N_("Training"), "validation": N_("Validation"), "test": N_("Test")}

PLACES: Mapping[str, str] = {
    "train": N_("training image {number}"),
    "validation": N_("validation image {number}"),
    "test": N_("test image {number}"),
}
"""How an image is named that has no file."""

BETWEEN: Mapping[tuple[str, str], tuple[str, str, str, str]] = {
    ("train", "validation"): (
        N_("{copies:count} of {images:count} validation images are exact copies of training images."),
        N_("{near:count} of {looked_at:count} validation images are nearly the same as a training image."),
        N_("{shared:count} of the {groups:count} writers of the validation images also wrote training images."),
        N_("{shared:count} of the {groups:count} groups of the validation images are also among the training images."),
    ),
    ("train", "test"): (
        N_("{copies:count} of {images:count} test images are exact copies of training images."),
        N_("{near:count} of {looked_at:count} test images are nearly the same as a training image."),
        N_("{shared:count} of the {groups:count} writers of the test images also wrote training images."),
        N_("{shared:count} of the {groups:count} groups of the test images are also among the training images."),
    ),
    ("validation", "test"): (
        N_("{copies:count} of {images:count} test images are exact copies of validation images."),
        N_("{near:count} of {looked_at:count} test images are nearly the same as a validation image."),
        N_("{shared:count} of the {groups:count} writers of the test images also wrote validation images."),
        N_("{shared:count} of the {groups:count} groups of the test images are also among the validation images."),
    ),
}
"""(earlier, later) → what is said of copies, of near copies, of shared writers, of other shared groups."""


def write_survey(exploration: Exploration, dataset: Dataset, out: str | Path, _: Language = ENGLISH) -> Path:
    """Write the page of an exploration of `dataset` to `out` and give its path back.

    Raises RunError for another suffix than .html, or where it cannot be written.
    """
    place = page_place(out)
    write_out(place, survey(exploration, dataset, _).encode())
    return place


def page_place(out: str | Path) -> Path:
    """Where the page goes. Raises RunError for a name that is not that of a page."""
    place = Path(out)
    if place.suffix.lower() not in (".html", ".htm"):
        raise RunError(f"The name of a page must end in .html, received {place.name or out}.")
    return place


def survey(exploration: Exploration, dataset: Dataset, _: Language = ENGLISH) -> str:
    """The page as text."""
    stretch = stretched(exploration)
    most, ends = affordable(exploration, dataset)
    parts = choose(exploration, dataset, ends)
    places = list(dict.fromkeys(all_places(parts)))
    averages = averages_of(exploration)
    return render(
        "survey.html.j2",
        _,
        title=_("What is in {name}", name=isolated(exploration.name)),
        told=exploration,
        dataset=dataset,
        summary=summary(exploration, _),
        splits={name: _(words) for name, words in SPLITS.items()},
        names=tuple(map(isolated, exploration.class_names)),
        findings=find_in_data(exploration),
        parts=parts,
        measures=[measured(exploration, name, rows, _) for name, rows in parts.ends.items() if rows],
        writers=writers(exploration, _),
        drawn=draw_map(exploration, dataset, parts.thumbnails),
        averages=sprite(np.stack(averages), most) if averages else None,
        thumbnail=THUMBNAIL,
        stretch=stretch,
        album=sprite(images_of(dataset, places), most) if places else None,
        position={place: number for number, place in enumerate(places)},
        words={place: words_of(dataset, place, _) for place in places},
    )


# What is found


def find_in_data(exploration: Exploration) -> list[Finding]:
    """What one should know, or mend, before training: the gravest first."""
    return [found for search in SEARCHES for found in search(exploration)]


def contradictions(exploration: Exploration) -> Iterator[Finding]:
    if exploration.contradictions:
        yield Finding(
            "contradictions",
            exploration.contradictions,
            N_("{n:count} images occur with different labels: the same pixels, another class."),
            N_("At most one label of each can be right. Look at them below, and correct or remove the others."),
            {"n": exploration.contradictions},
        )


def missing_classes(exploration: Exploration) -> Iterator[Finding]:
    counts = exploration.counts["train"]
    missing = np.flatnonzero(counts == 0)
    if len(missing) and counts.sum():
        yield Finding(
            "missing-classes",
            len(missing),
            N_("Classes without training images: {names}."),
            N_("A model cannot learn what it never sees: add images of these classes, or take the classes out."),
            {"names": named(exploration, missing)},
            classes=tuple(missing.tolist()),
        )
    for split, says in UNTESTED.items():
        absent = np.flatnonzero((exploration.counts[split] == 0) & (counts > 0))
        if len(absent) and exploration.counts[split].sum():
            yield Finding(
                f"no-{split}-images",
                len(absent),
                says,
                N_("Nothing can be said about how well these are told apart: add images of them."),
                {"names": named(exploration, absent)},
                split=split,
                classes=tuple(absent.tolist()),
            )


UNTESTED = {
    "validation": N_("Classes without validation images: {names}."),
    "test": N_("Classes without test images: {names}."),
}


def leaks(exploration: Exploration) -> Iterator[Finding]:
    writers = exploration.leaks.grouped_by == "writer"
    for each in exploration.leaks.between:
        copies, near, hands, groups = BETWEEN[each.earlier, each.later]
        values = {
            "copies": each.copies, "images": each.images, "near": each.near, "looked_at": each.looked_at,
            "shared": each.shared_groups, "groups": each.groups,
        }  # fmt: skip
        again = N_("Images that were learnt flatter the figures: take these out of one of the two parts.")
        if each.copies:
            yield Finding("leak-copies", each.copies / each.images, copies, again, values, split=each.later)
        if each.near:
            places = np.array([pair.later for pair in each.pairs])
            yield Finding("leak-near", each.near / each.looked_at, near, again, values, split=each.later, images=places)
        if each.shared_groups:
            yield Finding(
                "leak-groups",
                each.grouped / each.images,
                hands if writers else groups,
                N_(
                    "A model that has seen a hand knows it again, and looks better than it will be on a new one: "
                    "--group writer keeps each writer in one part, where the source has no parts of its own."
                )
                if writers
                else N_(
                    "What belongs together looks alike and flatters the figures: --group keeps each group in one part, "
                    "where the source has no parts of its own."
                ),
                values,
                split=each.later,
            )


def unbalanced(exploration: Exploration) -> Iterator[Finding]:
    counts = exploration.counts["train"]
    present = np.flatnonzero(counts)
    if len(present) and counts.max() >= IMBALANCED * counts[present].min():
        common, rare = int(counts.argmax()), int(present[counts[present].argmin()])
        times = float(counts[common] / counts[rare])
        yield Finding(
            "imbalance",
            times,
            N_(
                "The classes are unbalanced: “{common}” has {most:count} training images, “{rare}” {least:count}: "
                "{times:.1} times as many."
            ),
            N_("Accuracy will hide the rare classes: read the recall of each, and add images of the rarest."),
            {
                "common": isolated(exploration.class_names[common]), "rare": isolated(exploration.class_names[rare]),
                "most": int(counts[common]), "least": int(counts[rare]), "times": times,
            },
            classes=(rare, common),
        )  # fmt: skip
    few = np.flatnonzero((counts > 0) & (counts < FEW))
    if len(few):
        yield Finding(
            "few-images",
            len(few),
            N_("Classes with fewer than {few:count} training images: {names}."),
            N_("So few rarely show how a class varies: add images, or expect little of these."),
            {"few": FEW, "names": named(exploration, few)},
            classes=tuple(few.tolist()),
        )


def unusable(exploration: Exploration) -> Iterator[Finding]:
    blank = sum(len(images) for images in exploration.blank.values())
    if blank:
        split = max(exploration.blank, key=lambda name: len(exploration.blank[name]))
        yield Finding(
            "blank",
            blank,
            N_("{n:count} images are blank: one colour, or nearly so."),
            N_("They teach nothing and cannot be answered: take them out."),
            {"n": blank},
            split=split,
            images=exploration.blank[split],
        )
    unlabelled = sum(exploration.unlabelled.values())
    if unlabelled and any(column.sum() for column in exploration.counts.values()):
        yield Finding(
            "unlabelled",
            unlabelled,
            N_("{n:count} images have no label."),
            N_("They can be predicted, but neither learnt from nor counted right or wrong: label them."),
            {"n": unlabelled},
        )


def repeated(exploration: Exploration) -> Iterator[Finding]:
    repeats = exploration.repeats["train"]
    if repeats:
        yield Finding(
            "repeats",
            repeats,
            N_("{n:count} training images are exact copies of another training image."),
            N_("Each copy counts as often as it occurs: remove all but one, unless that is meant."),
            {"n": repeats},
            split="train",
        )


SEARCHES: tuple[Callable[[Exploration], Iterator[Finding]], ...] = (
    contradictions, missing_classes, leaks, unusable, unbalanced, repeated,
)  # fmt: skip


def named(exploration: Exploration, classes: NDArray[np.int64]) -> str:
    """The names of these classes, or of the first of many and the last."""
    names = [isolated(exploration.class_names[label]) for label in classes.tolist()]
    return ", ".join(names) if len(names) <= MOST_NAMES else f"{', '.join(names[: MOST_NAMES - 1])} … {names[-1]}"


def summary(exploration: Exploration, _: Language) -> list[str]:
    """The page in a few sentences."""
    height, width, channels = exploration.shape
    facts = {
        "n": sum(int(column.sum()) + exploration.unlabelled[split] for split, column in exploration.counts.items()),
        "width": width,
        "height": height,
        "classes": len(exploration.class_names),
    }
    sizes = {
        (True, True): N_("{n:count} grey images of {width} × {height} pixels, in {classes:count} classes."),
        (False, True): N_("{n:count} colour images of {width} × {height} pixels, in {classes:count} classes."),
        (True, False): N_("{n:count} grey images of {width} × {height} pixels, without classes."),
        (False, False): N_("{n:count} colour images of {width} × {height} pixels, without classes."),
    }
    said = [_(sizes[channels == 1, bool(exploration.class_names)], **facts)]
    found = find_in_data(exploration)
    if found:
        said.append(found[0].sentence(_))
    elif exploration.class_names:
        said.append(
            _(
                "Nothing was found that would stand in the way of a training: no copies, no image under two labels, "
                "nothing that the parts share, no class that is rare or missing."
            )
        )
    else:
        said.append(_("No image is a copy of another, and none is blank."))
    if exploration.balance >= EVEN:
        times = exploration.balance
        said.append(_("The commonest class has {times:.2} times as many training images as the rarest.", times=times))
    elif exploration.balance:
        said.append(_("All classes have equally many training images, or nearly so."))
    return said


# Images


@dataclass(frozen=True, eq=False)
class Ends:
    """One class in one measure: its row's name, the distribution, and the images at both ends from left to right."""

    name: str
    variation: Variation
    low: tuple[Place, ...]
    high: tuple[Place, ...]


@dataclass(frozen=True)
class Pairs:
    """Copies of one kind: what they are, and each with the image that it is a copy of, the later one first."""

    title: str
    pairs: tuple[tuple[Place, Place], ...]


@dataclass(frozen=True, eq=False)
class Parts:
    """The images that the page shows, by where it shows them. `samples`: a row for each class, or one of all;
    `ends`: measure → a row for each class, or one of all."""

    samples: tuple[tuple[Place, ...], ...]
    ends: Mapping[str, tuple[Ends, ...]]
    pairs: tuple[Pairs, ...]
    thumbnails: tuple[Place, ...]


def affordable(exploration: Exploration, dataset: Dataset) -> tuple[int, int]:
    """The first of SIZES whose images take no more than MOST_IMAGE_BYTES, else the last."""
    for side, ends in SIZES:
        most = round(side * stretched(exploration))
        places = list(dict.fromkeys(all_places(choose(exploration, dataset, ends))))
        some = places[:: 1 + len(places) // 64]
        if not some or len(sprite(images_of(dataset, some), most).uri) / len(some) * len(places) <= MOST_IMAGE_BYTES:
            break
    return most, ends


def stretched(exploration: Exploration) -> float:
    """How much wider than high its images are shown, 1…5: views side by side want more room than a single one."""
    height, width = exploration.shape[:2]
    return min(5.0, max(1.0, width / max(1, height)))


def choose(exploration: Exploration, dataset: Dataset, ends: int) -> Parts:
    """What the page shows, with so many images at each end of a measure."""
    return Parts(
        samples=samples_of(exploration, dataset),
        ends={name: ends_of(exploration, name, ends) for name in MEASURES} if exploration.shaped >= SHAPED else {},
        pairs=pairs_of(exploration),
        thumbnails=() if exploration.map is None else tuple(
            (exploration.shown, index) for index in exploration.map.images[exploration.map.thumbnails].tolist()
        ),
    )  # fmt: skip


def samples_of(exploration: Exploration, dataset: Dataset) -> tuple[tuple[Place, ...], ...]:
    """Images of the first MOST_CLASSES classes, or of all where there are no classes, drawn by chance."""
    shown, classes = exploration.shown, min(MOST_CLASSES, len(exploration.class_names))
    split = dataset.splits[shown]
    if classes:
        rows = pick_samples(split, classes, round(SAMPLES / stretched(exploration)))
    else:
        rows = np.random.default_rng(0).permutation(len(split))[None, : 3 * SAMPLES]
    return tuple(tuple((shown, index) for index in row if index >= 0) for row in rows.tolist())


def ends_of(exploration: Exploration, name: str, most: int, classes: int | None = MOST_CLASSES) -> tuple[Ends, ...]:
    """A row for each of the first classes (None: of all) that have the measure, or one for all images."""
    rows = []
    for label, each in enumerate(exploration.variation[name][:classes]):
        if each is not None:
            low = tuple((exploration.shown, index) for index in each.low[:most].tolist())
            high = tuple((exploration.shown, index) for index in reversed(each.high[:most].tolist()))
            title = isolated(exploration.class_names[label]) if exploration.class_names else ""
            rows.append(Ends(title, each, low, high))
    return tuple(rows)


def pairs_of(exploration: Exploration) -> tuple[Pairs, ...]:
    """Copies of each kind, where there are any."""
    near = [
        ((each.later, pair.later), (each.earlier, pair.earlier))
        for each in exploration.leaks.between
        for pair in each.pairs[:MOST_PAIRS]
    ]
    kinds = (
        (N_("The same image under two labels"), [(copy.later, copy.earlier) for copy in exploration.contradicting]),
        (N_("Exact copies"), [(copy.later, copy.earlier) for copy in exploration.copies]),
        (N_("Nearly the same, in two parts"), near),
    )
    return tuple(Pairs(title, tuple(pairs[:MOST_PAIRS])) for title, pairs in kinds if pairs)


def all_places(parts: Parts) -> Iterator[Place]:
    """Every image that is shown, some of them more than once."""
    yield from parts.thumbnails
    yield from chain.from_iterable(parts.samples)
    yield from chain.from_iterable((*row.low, *row.high) for rows in parts.ends.values() for row in rows)
    yield from chain.from_iterable(pair for kind in parts.pairs for pair in kind.pairs)


def averages_of(exploration: Exploration) -> list[NDArray[np.uint8]]:
    """The mean image of each of the first MOST_CLASSES classes, then the spread of each, twice as bright: of values up
    to 255 it is 128 at most. None where nothing is to be learnt from."""
    if not exploration.counts["train"].any():
        return []
    return [*exploration.means[:MOST_CLASSES], *(2 * exploration.spreads[:MOST_CLASSES].clip(0, 127))]


def images_of(dataset: Dataset, places: Sequence[Place]) -> NDArray[np.uint8]:
    """The images at these places, uint8 (n, h, w, c)."""
    return np.stack([dataset.splits[split].images[index] for split, index in places])


def words_of(dataset: Dataset, place: Place, _: Language) -> str:
    """What an image is called: its file, or its number in its part, and its class."""
    split, index = place[0], place[1]
    part = dataset.splits[split]
    name = _(PLACES[split], number=index) if part.names is None else isolated(str(part.names[index]))
    label = int(part.labels[index])
    return name if label == UNKNOWN else f"{isolated(dataset.class_names[label])} · {name}"


# How the classes vary


@dataclass(frozen=True, eq=False)
class Row:
    """One class in one measure, drawn and in words: its curve and its median in a box of 100 by 24."""

    ends: Ends
    curve: str
    median: float
    note: str
    words: str


@dataclass(frozen=True, eq=False)
class Measured:
    """One measure as the page shows it; `axis`: its values at the left and at the right end of every curve."""

    title: str
    meaning: str
    low: str
    high: str
    axis: tuple[str, str]
    sentences: tuple[str, ...]
    rows: tuple[Row, ...]


def measured(exploration: Exploration, name: str, rows: Sequence[Ends], _: Language) -> Measured:
    """A measure with its rows, in the language `_`."""
    spoken, edges = MEASURES[name], rows[0].variation.edges
    half = 0.5 if name == "holes" else 0.0
    return Measured(
        title=_(spoken.name),
        meaning=_(spoken.meaning),
        low=_(spoken.low),
        high=_(spoken.high),
        axis=(spoken.value(_, edges[0] + half), spoken.value(_, edges[-1] - half)),
        sentences=tuple(sentences(exploration, name, _)),
        rows=tuple(drawn(name, ends, _) for ends in rows),
    )


def drawn(name: str, ends: Ends, _: Language) -> Row:
    """A row of a measure."""
    quantiles = dict(zip(QUANTILES, ends.variation.quantiles.tolist(), strict=True))
    shares = {key: MEASURES[name].value(_, quantiles[share]) for key, share in SPOKEN_QUANTILES.items()}
    low, high = ends.variation.edges[[0, -1]]
    return Row(
        ends=ends,
        curve=curve_of(ends.variation),
        median=float(100 * np.clip((quantiles[0.5] - low) / (high - low), 0, 1)),
        note=middle_of(name, ends, _),
        words=_(
            "Median {median}; half of the images lie between {low} and {high}, 99 of 100 between {least} and {most}.",
            **shares,
        ),
    )


SPOKEN_QUANTILES = {"least": 0.005, "low": 0.25, "median": 0.5, "high": 0.75, "most": 0.995}


def curve_of(variation: Variation) -> str:
    """The histogram as the path of an area in steps; the highest fills the box."""
    heights = 24 - 23 * variation.counts / variation.counts.max()
    ends = np.linspace(0, 100, len(heights) + 1)[1:]
    return "M0 24" + "".join(f"V{height:.1f}H{end:.4g}" for height, end in zip(heights, ends, strict=True)) + "V24Z"


def middle_of(name: str, ends: Ends, _: Language) -> str:
    """What sums up a class in a few letters: the median, of holes the share of images that have one."""
    return _.percent(middle(name, ends), 0) if name == "holes" else MEASURES[name].value(_, middle(name, ends))


def middle(name: str, ends: Ends) -> float:
    return ends.variation.holed if name == "holes" else ends.variation.median


def sentences(exploration: Exploration, name: str, _: Language) -> Iterator[str]:
    """Which of all classes are furthest apart in a measure, and how much of it is a matter of the hand."""
    rows = ends_of(exploration, name, 0, classes=None)
    least, most = (pick(rows, key=lambda ends: middle(name, ends)) for pick in (min, max))
    if middle(name, least) < middle(name, most):
        values = {"least": middle_of(name, least, _), "most": middle_of(name, most, _)}
        yield _(MEASURES[name].extremes, low=least.name, high=most.name, **values)
    if exploration.leaks.grouped_by == "writer" and exploration.groups and name in exploration.groups.shares:
        share = exploration.groups.shares[name]
        between = N_("{share} of the variance inside a class lies between writers: it tells one hand from another.")
        within = N_("{share} of the variance inside a class lies between writers: more of it lies within each hand.")
        yield _(between if share >= 0.5 else within, share=_.percent(share, 0))


def writers(exploration: Exploration, _: Language) -> str:
    """Who wrote the images, or nothing where that is not known."""
    groups = exploration.groups
    if groups is None or exploration.leaks.grouped_by != "writer":
        return ""
    return _(
        "{groups:count} writers have {least:count} to {most:count} images each, half of them {median:count} or more.",
        groups=groups.groups,
        least=groups.least,
        most=groups.most,
        median=groups.median,
    )


# The map


@dataclass(frozen=True)
class Drawn:
    """The map in a box of 1000 by 1000: a path of points for each class, or one of all; and each thumbnail with the
    share of the box that is to its left and above its middle."""

    paths: tuple[str, ...]
    thumbnails: tuple[tuple[Place, float, float], ...]


def draw_map(exploration: Exploration, dataset: Dataset, thumbnails: Sequence[Place]) -> Drawn | None:
    """The map, in one path where there are more classes than MOST_COLOURS."""
    found = exploration.map
    if found is None:
        return None
    places = np.stack([found.places[:, 0], 1 - found.places[:, 1]], axis=1)
    labels = dataset.splits[exploration.shown].labels[found.images]
    classes = len(exploration.class_names)
    parts = [labels == label for label in range(classes)] if 0 < classes <= MOST_COLOURS else [labels == labels]
    paths = ("".join(f"M{x:.0f} {y:.0f}h0" for x, y in 1000 * places[part]) for part in parts)
    spots = places[found.thumbnails].tolist()
    return Drawn(tuple(paths), tuple((place, x, y) for place, (x, y) in zip(thumbnails, spots, strict=True)))
