"""The command line: one function per command, each one parse → one library call → print."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, make_dataclass, replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from guarismo.data.sources import LoadSettings, load, load_whole, reload
from guarismo.errors import DataError, GuarismoError, RunError, unknown
from guarismo.models.runs import open_run, write_out
from guarismo.models.settings import Settings, recipe_for
from guarismo.models.training import MODELS, check_trainable, check_unfinished, machine, resume
from guarismo.searching import searching
from guarismo.serving.settings import ServeSettings
from guarismo.terminal import (
    json_line,
    percent,
    plain,
    print_adaptation,
    print_agreement,
    print_architecture,
    print_comparison,
    print_confusion,
    print_dataset,
    print_evaluation,
    print_experiments,
    print_explanations,
    print_exploration,
    print_findings,
    print_fusion,
    print_json,
    print_page,
    print_profile,
    print_reproduced,
    print_run,
    print_score,
    print_search,
    print_table,
    say,
    showing,
    warn,
)
from guarismo.tuning.settings import TuneSettings
from guarismo.watching import watching


def error_line(error: CycloptsError) -> str:
    return f"guarismo: {error}"


app = App(
    name="guarismo",
    help="From a pile of small images, or a photo of handwriting, to an answer you can trust, on the laptop you have.",
    version_flags=["--version"],
    error_formatter=error_line,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # `main` has more to say than that it stopped
)
data = App(name="data", help="Which sources there are and which are here; get them, check them.")
app.command(data)


def options_from(settings: type) -> type:
    """The fields of a settings dataclass as command-line options that are None where not given."""
    members = []
    for item in fields(settings):
        shown = item.metadata["help"] + ("" if item.default is None else f" [default: {item.default}]")
        kind = Literal[item.metadata["options"]] if item.metadata["options"] else type(item.default)
        kind = int if item.default is None else kind
        members.append((item.name, Annotated[kind | None, Parameter(help=shown)], None))
    options = make_dataclass(f"{settings.__name__}Options", members, frozen=True)
    options.__module__ = __name__  # cyclopts takes classes of Python's own module `types` for single values
    return options


def given(options: Any) -> dict[str, Any]:
    """The options that the user wrote."""
    return {name: value for name, value in asdict(options).items() if value is not None}


TrainOptions: Any = options_from(Settings)
LoadOptions: Any = options_from(LoadSettings)
ServeOptions: Any = options_from(ServeSettings)
TuneOptions: Any = options_from(TuneSettings)
Training = Annotated[TrainOptions, Parameter(name="*", group="Training")]
Loading = Annotated[LoadOptions, Parameter(name="*", group="Loading")]
Serving = Annotated[ServeOptions, Parameter(name="*", group="Serving")]
Tuning = Annotated[TuneOptions, Parameter(name="*", group="Search")]
AS_SET, AS_LOADED, AS_SERVED, AS_TUNED = TrainOptions(), LoadOptions(), ServeOptions(), TuneOptions()
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, one object per line.")]


def load_shown(source: str, options: Any, quiet: bool) -> Any:
    """The Dataset of a SOURCE, with progress, and a word about what came."""
    with showing(f"Loading {source}") as progress:
        dataset = load(source, replace(LoadSettings(), **given(options)), progress)
    if not quiet:
        print_dataset(dataset)
    return dataset


@app.command
def lab(
    source: str = "digits",
    *,
    out: Path | None = None,
    seed: int = 0,
    lang: str = "en",
    json: Json = False,
    loading: Loading = AS_LOADED,
) -> None:
    """The whole laboratory in one go: train four models, evaluate, compare, report, read sample photos.

    guarismo lab digits

    Parameters
    ----------
    source
        A name from `guarismo data list`, or a path.
    out
        Folder for the runs and the report. A laboratory that was cut off goes on where it stopped.
    seed
        Start of all randomness.
    lang
        The language of the report: en, es or pt.
    """
    from guarismo.lab import LAB, lab_folder, run_model
    from guarismo.language import language
    from guarismo.reading.reader import SAMPLES, read
    from guarismo.results.comparison import compare
    from guarismo.results.report import write_report

    chosen = language(lang)
    dataset = load_shown(source, loading, json)
    for settings in LAB.values():
        check_trainable(dataset, settings)
    folder = out or lab_folder(dataset, seed)
    runs = []
    for name in LAB:
        with showing(f"Training {name}") as progress:
            run, evaluation = run_model(name, dataset, folder, seed, progress)
        runs.append(run)
        if not json:
            say(f"  {name}: {percent(evaluation.accuracy)} of {evaluation.n:,} test images right")
    comparison, report = compare(runs), write_report(runs, dataset, folder / "report.html", chosen)
    photos = [read(path)[0] for path in sorted(SAMPLES.glob("*.jpg"))]
    if json:
        print_json({**comparison.as_json(), "report": str(report), "photos": [photo.as_json() for photo in photos]})
        return
    say("")
    print_comparison(comparison)
    say("\nSample photos, with the reader that comes with the package (guarismo read PHOTO reads yours):")
    for photo in photos:
        say(f"  {Path(photo.file).name}: {photo.text}")
    say(f"\nReport: {report}")


@data.command(name="list")
def data_list(*, json: Json = False) -> None:
    """Which sources there are, and where each is.

    guarismo data list
    """
    from guarismo.data.known import available

    rows = available()
    if json:
        for row in rows:
            print_json(asdict(row))
        return
    print_table(
        ("name", "what", "images", "here", "licence"),
        [(row.name, row.title, f"{row.images:,}", row.where, row.licence) for row in rows],
        right=(2,),
    )
    say("\nA path works as well: an IDX pair or folder, .npz, .csv, .parquet, or a folder of images.")


@data.command(name="fetch")
def data_fetch(name: str) -> None:
    """Download a source into the cache, checked; goes on where a download broke off.

    guarismo data fetch mnist
    """
    from guarismo.data.fetching import fetch
    from guarismo.data.known import where_is

    with showing(f"Fetching {name}") as progress:
        fetch(name, progress)
    say(f"{name} is here: {where_is(name)}")


@data.command(name="import")
def data_import(name: str, folder: Path) -> None:
    """Take a source's files from a folder where you placed them, checked, into the cache.

    guarismo data import mnist ~/Downloads/mnist
    """
    from guarismo.data.known import import_files

    with showing(f"Importing {name}") as progress:
        paths = import_files(name, folder, progress)
    say(f"{name}: {len(paths)} files checked and copied into {paths[0].parent}")


@data.command(name="verify")
def data_verify(name: str, *, json: Json = False) -> None:
    """Check every file of a source against its sha256.

    guarismo data verify mnist
    """
    from guarismo.data.known import verify

    with showing(f"Verifying {name}") as progress:
        rows = verify(name, progress)
    for row in rows if json else []:
        print_json({"file": row.file, "path": str(row.path or ""), "exact": row.exact, "verdict": row.verdict})
    if not json:
        print_table(("file", "verdict", "where"), [(row.file, row.verdict, row.path or "") for row in rows])
    if not all(row.exact for row in rows):
        raise GuarismoError(f"{name} is not complete. Get it with: guarismo data fetch {name}")


@data.command(name="make")
def data_make(
    name: str = "polymnist",
    *,
    out: Path | None = None,
    modalities: int = 5,
    backgrounds: Path | None = None,
    seed: int = 0,
) -> None:
    """Make PolyMNIST of MNIST, as its authors did: each digit on crops of several background pictures.

    guarismo data make polymnist --out PolyMNIST

    Parameters
    ----------
    name
        polymnist.
    out
        Write PNG files in the published layout into this folder, instead of one array in the cache, the source
        `polymnist`.
    modalities
        How many background pictures, 2 to 10.
    backgrounds
        A folder of pictures, used in the order of their names; by default pictures that come along.
    seed
        Start of all randomness: same seed, same images.
    """
    from guarismo.data.sources import make_polymnist, write_polymnist

    if name != "polymnist":
        raise DataError(unknown("source to make", name, ["polymnist"]))
    with showing(f"Making {name}") as progress:
        if out is None:
            made = len(make_polymnist(modalities, seed, backgrounds, progress).table)
        else:
            made = write_polymnist(out, modalities, seed, backgrounds, progress)
    say(f"{made:,} images: {'guarismo explore polymnist' if out is None else out}")


@app.command
def explore(
    source: str,
    *,
    out: Path | None = None,
    lang: str = "en",
    picture: Path | None = None,
    json: Json = False,
    loading: Loading = AS_LOADED,
) -> None:
    """What is in the data: counts, balance, pixels, how each class varies, copies, and what the parts share.

    guarismo explore digits --out digits.html

    Parameters
    ----------
    source
        A name from `guarismo data list`, or a path.
    out
        Also write a page of it, with images: a self-contained HTML file.
    lang
        The language of the page: en, es or pt.
    picture
        Also draw samples of each class, into this PNG, SVG or PDF file.
    """
    from guarismo.data.exploration import explore as look
    from guarismo.language import language

    chosen = language(lang)
    if picture is not None:
        from guarismo.results.charts import picture_place, sample_grid, save_figure

        picture_place(picture)
    if out is not None:
        from guarismo.results.survey import page_place, write_survey

        page_place(out)
    dataset = load_shown(source, loading, json)
    with showing("Looking for leaks") as progress:
        exploration = look(dataset, progress)
    print_json(exploration.as_json()) if json else print_exploration(exploration)
    if picture is not None:
        save_figure(sample_grid(*dataset.samples()), picture)
    if out is not None:
        write_survey(exploration, dataset, out, chosen)
    if not json:
        say(f"Page: {out}" if out else "With the images behind it, as a page: --out page.html")


@app.command
def models(name: str | None = None, *, shape: tuple[int, int, int] = (28, 28, 1), classes: int = 10) -> None:
    """The models by name; with a name, its layers as a table.

    guarismo models cnn

    Parameters
    ----------
    name
        A model.
    shape
        Height, width and channels of the images.
    classes
        How many classes it tells apart.
    """
    from guarismo.models.architectures import NETWORKS, build, describe_layers
    from guarismo.models.classical import CLASSICAL

    if classes < 2 or min(shape) < 1:
        raise RunError(f"Expected 2 classes or more and images of 1 pixel or more, received {classes} and {shape}.")
    if name in NETWORKS:
        print_architecture(describe_layers(build(name, shape, classes)))
        return
    if name is not None and name not in CLASSICAL:
        raise RunError(unknown("model", name, MODELS))
    known = {**NETWORKS, **CLASSICAL} if name is None else {name: CLASSICAL[name]}
    print_table(("model", "what it is"), [(key, (make.__doc__ or "").splitlines()[0]) for key, make in known.items()])


@app.command
def train(
    source: str | None = None,
    *,
    recipe: str | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    watch: bool = False,
    find_lr: bool = False,
    profile: bool = False,
    json: Json = False,
    training: Training = AS_SET,
    loading: Loading = AS_LOADED,
) -> None:
    """Train one model; prints the folder of its run.

    guarismo train digits --model cnn

    Parameters
    ----------
    source
        A name from `guarismo data list`, or a path.
    recipe
        Start from the settings of a published experiment; other options change them.
    out
        Folder for the run, instead of a new one under runs/.
    resume
        Go on with a run that was cut off, with its own settings; SOURCE only where its data have moved.
    watch
        Show the curves while it trains; where there is no terminal, a line for each epoch.
    find_lr
        Instead of training, try every step size for a moment and name the one to train with; --out names the picture.
    profile
        Instead of training, say where the time of a training would go.
    """
    from guarismo.models.training import train as fit
    from guarismo.results.diagnosis import diagnose

    if resume is not None:
        if recipe or out or given(training):
            raise RunError("--resume goes on with the run's own settings. Leave out every other option of training.")
        run = go_on(resume, source, loading, json, watch)
    elif source is None:
        raise RunError("Name a SOURCE to train on (`guarismo data list` shows them), or a run with --resume.")
    else:
        settings = chosen_settings(recipe, given(training), source)
        dataset = load_shown(source, loading, json)
        if find_lr or profile:
            look_before(dataset, settings, find_lr, out, json)
            return
        with watching(settings.model) if watch else showing(f"Training {settings.model}") as progress:
            run = fit(dataset, settings, out, progress)
    print_json(train_json(run)) if json else print_run(run, diagnose(run))


def look_before(dataset: Any, settings: Settings, find_lr: bool, out: Path | None, json: bool) -> None:
    """What is worth knowing before a training: the step size, or where the time would go."""
    if not find_lr:
        from guarismo.models.profiling import profile

        with showing("Profiling") as progress:
            parts = profile(dataset, settings, progress)
        print_json({"parts": [asdict(part) for part in parts]}) if json else print_profile(parts)
        return
    from guarismo.models.rates import find_learning_rate
    from guarismo.results.charts import picture_place, rate_chart, save_figure

    picture = out or Path("learning-rate.png")
    picture_place(picture)
    with showing("Trying step sizes") as progress:
        found = find_learning_rate(dataset, settings, progress)
    save_figure(rate_chart(found.rates, found.losses, found.rate), picture)
    if json:
        print_json({"learning_rate": found.rate, "picture": str(picture)})
        return
    say(f"Train with --learning-rate {found.rate:g}: half of the step size at which the loss is lowest.")
    say(f"Picture: {picture}")


def go_on(folder: Path, source: str | None, loading: Any, quiet: bool, watch: bool) -> Any:
    """The run in `folder`, trained to its end on the data that it began with."""
    run = open_run(folder)
    check_unfinished(run)
    dataset = data_of(run, source, loading)
    if not quiet:
        say(f"{run.folder}: going on after epoch {len(run.history)} of {run.settings.epochs}")
    model = run.settings.model
    with watching(model, run.history) if watch else showing(f"Training {model}") as progress:
        return resume(run, dataset, progress)


def data_of(run: Any, source: str | None, loading: Any) -> Any:
    """The Dataset that a run was trained on, or that of a SOURCE given instead."""
    if source is None and given(loading):
        raise RunError("A run's own data are loaded as in its training. Name a SOURCE, or leave out the options.")
    with showing("Loading") as progress:
        if source is None:
            return reload(run.about["data"]["origin"], progress)
        return load(source, replace(LoadSettings(), **given(loading)), progress)


def chosen_settings(recipe: str | None, changes: dict[str, Any], data: str) -> Settings:
    """A recipe's settings for these data, or the defaults, with the user's changes."""
    if "model" in changes and changes["model"] not in MODELS:
        raise RunError(unknown("model", changes["model"], MODELS))
    return replace(recipe_for(recipe, data) if recipe else Settings(), **changes)


def train_json(run: Any) -> dict[str, Any]:
    return {
        "run": str(run.folder),
        "model": run.settings.model,
        "epochs": len(run.history),
        "train_seconds": run.about["seconds"]["train"],
        "validation_accuracy": run.about["metrics"]["validation_accuracy"],
        "parameters": run.about["parameters"],
    }


@app.command(name="tune")
def tune_(
    source: str,
    *,
    space: Path | None = None,
    recipe: str | None = None,
    out: Path | None = None,
    on: str = "here",
    address: str | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    lang: str = "en",
    json: Json = False,
    tuning: Tuning = AS_TUNED,
    training: Training = AS_SET,
    loading: Loading = AS_LOADED,
) -> None:
    """Search for better settings on the validation images; says whether what it finds is better by more than luck.

    guarismo tune digits --trials 30

    Parameters
    ----------
    source
        A name from `guarismo data list`, or a path.
    space
        A TOML file of what is searched, such as `batch_size = [32, 64]` or `shift = {low = 0, high = 0.1}`; by default
        what suits the model.
    recipe
        Search around the settings of a published experiment; the options of training change them.
    out
        Folder for the search, instead of a new one under runs/. One that was cut off goes on where it stopped.
    on
        Where trials run: here, or ray for many machines; OUT must then be on storage that all of them see.
    address
        A Ray cluster that runs, as `auto` or HOST:6379; by default one is started on this machine.
    cpus
        With --on ray, processor cores of each trial; parts of one too.
    gpus
        With --on ray, graphics processors of each trial; parts of one too.
    lang
        The language of the page: en, es or pt.
    """
    from guarismo.language import language
    from guarismo.tuning.report import winning_command, write_search
    from guarismo.tuning.space import read_space
    from guarismo.tuning.tune import tune

    check_on(on, address)
    chosen, how = language(lang), replace(TuneSettings(), **given(tuning))
    base = chosen_settings(recipe, given(training), source)
    searched = None if space is None else read_space(space, base)
    dataset = load_shown(source, loading, json)
    with carrying(on, address, cpus, gpus) as carry, searching("Searching") as progress:
        found = tune(dataset, base, searched, how, out, progress, carry)
    page = write_search(found, source, found.folder / "report.html", chosen)
    if json:
        print_json({**found.as_json(), "report": str(page)})
        return
    print_search(found)
    say(f"Search: {found.folder}\nReport: {page}\nTrain it with: {' '.join(winning_command(found, source))}")


ON = ("here", "ray")
"""What --on may name."""


def check_on(on: str, address: str | None) -> None:
    """Raises RunError for a place that is not known, or an address where nobody goes."""
    if on not in ON:
        raise RunError(unknown("place for --on", on, ON))
    if address and on == "here":
        raise RunError("--address names a Ray cluster. Add --on ray.")


@contextmanager
def carrying(on: str, address: str | None, cpus: float, gpus: float) -> Iterator[Any]:
    """What carries a search out: this machine by itself (None), or the Ray cluster at `address`, joined meanwhile."""
    if on == "here":
        yield None
        return
    from guarismo.cluster import joined
    from guarismo.tuning.on_ray import carry_by_ray

    with joined(address):
        yield partial(carry_by_ray, cpus=cpus, gpus=gpus)


@app.command(name="reproduce")
def reproduce_(
    name: str | None = None,
    *,
    all: bool = False,
    quick: bool = False,
    out: Path | None = None,
    photos: Path | None = None,
    json: Json = False,
) -> None:
    """Published experiments by name, at their own settings: their figure beside ours. Without a name, the list.

    guarismo reproduce mnist-cnn

    Parameters
    ----------
    name
        An experiment.
    all
        Every experiment; cut off, it goes on where it stopped.
    quick
        A small part of the images and epochs, to see that everything works; its figures are not comparable.
    out
        Folder for the runs and reproduction.md [default: runs/reproduction].
    photos
        The folder of the six photos, with labels.csv, for the experiment `photos`.
    """
    from guarismo.reproduction import EXPERIMENTS, page_of, reproduce, rows_in

    if name is None and not all:
        print_experiments(EXPERIMENTS)
        return
    if name is not None and name not in EXPERIMENTS:
        raise RunError(unknown("experiment", name, EXPERIMENTS))
    folder = out or Path("runs", "reproduction-quick" if quick else "reproduction")
    done = {row.name for row in rows_in(folder)} if all else set()
    failed = []
    for each in [name] if name else [each for each in EXPERIMENTS if each not in done]:
        try:
            with showing(each) as progress:
                row = reproduce(each, folder, quick, photos, progress)
        except GuarismoError as error:
            if not all:
                raise
            failed.append(each)
            warn(f"guarismo: {each}: {error}")
            continue
        print_json(asdict(row)) if json else print_reproduced(row)
        words = " ".join(["guarismo reproduce", name or "--all", *(["--quick"] if quick else [])])
        write_out(folder / "reproduction.md", page_of(rows_in(folder), machine(), words).encode())
    if not json:
        say(f"\n{folder / 'reproduction.md'}")
    if failed:
        raise GuarismoError(f"{len(failed)} of {len(EXPERIMENTS)} experiments failed: {', '.join(failed)}.")


@app.command
def evaluate(run: Path, source: str | None = None, *, json: Json = False, loading: Loading = AS_LOADED) -> None:
    """Open the test images, once, and say how well the run answers them.

    guarismo evaluate runs/digits_cnn_1

    Parameters
    ----------
    run
        Folder of a run.
    source
        Other data than the run's own, to evaluate it on.
    """
    from guarismo.results.evaluation import evaluate_run, train_confusion

    opened = open_run(run)
    opened, evaluation = evaluate_run(opened, data_of(opened, source, loading))
    if json:
        names = ("split", "n", "loss", "accuracy", "interval", "ece")
        values = evaluation.as_json()
        print_json({"run": str(run), **{name: values[name] for name in names}})
        return
    print_evaluation(opened, evaluation)
    print_confusion("training", train_confusion(opened), evaluation.class_names)
    print_confusion("test", evaluation.confusion, evaluation.class_names)


@app.command(name="diagnose")
def diagnose_(
    run: Path,
    source: str | None = None,
    *,
    split: Literal["validation", "test"] = "validation",
    json: Json = False,
    loading: Loading = AS_LOADED,
) -> None:
    """What is wrong with a run, the gravest first, and what to do about it.

    guarismo diagnose runs/digits_cnn_1

    Parameters
    ----------
    run
        Folder of a run; of one that was cut off, its curves are looked at.
    source
        The run's data, only where they have moved since the training.
    split
        Whose answers are looked at: validation, or test once the run is evaluated (what is mended after a look at the
        test images is no longer measured by them).
    """
    from guarismo.results.diagnosis import diagnose, gather, looked_for

    opened = open_run(run)
    dataset = data_of(opened, source, loading) if opened.finished else None
    with showing("Diagnosing") as progress:
        found = diagnose(opened, dataset, split, progress)
    names = looked_for(gather(opened, dataset, split))
    if json:
        findings = [finding.as_json() for finding in found]
        print_json({"run": str(run), "split": split, "looked_for": list(names), "findings": findings})
        return
    print_findings(opened, split, found, names)


@app.command
def predict(
    run: Path, source: str, *, out: Path | None = None, json: Json = False, loading: Loading = AS_LOADED
) -> None:
    """Answer every image of a source, in its order: a CSV of index, name, class and confidence.

    Labels that it carries are not looked at; images of another size are fitted to the run's.

    guarismo predict runs/digits_cnn_1 test.csv --out answers.csv

    Parameters
    ----------
    run
        Folder of a run.
    source
        A path, or a name from `guarismo data list`.
    out
        The CSV file; without it, the lines are printed.
    """
    from guarismo.results.shift import shift_of

    opened = open_run(run)
    with showing(f"Loading {source}") as progress:
        split, notes = load_whole(source, opened.shape, replace(LoadSettings(), **given(loading)), progress)
    for note in notes:
        warn(note)
    probabilities = opened.predict(split.images)
    if shifted := shift_of(opened, split.images, probabilities):
        warn(plain(f"{shifted.sentence()} {shifted.remedy()}"))
    names = [""] * len(split) if split.names is None else split.names.tolist()
    rows = [
        {"index": index, "name": name, "class": opened.class_names[answer], "confidence": round(float(sure), 4)}
        for index, (name, answer, sure) in enumerate(
            zip(names, probabilities.argmax(axis=1), probabilities.max(axis=1), strict=True), start=1
        )
    ]
    if json:
        lines = [json_line(row) for row in rows]
    else:
        lines = [",".join(("index", "name", "class", "confidence")), *(csv_line(row.values()) for row in rows)]
    if out is None:
        sys.stdout.write("\n".join([*lines, ""]))
        return
    write_out(out, "\n".join([*lines, ""]).encode())
    say(f"{len(rows):,} answers in {out}")


def csv_line(cells: Iterable[object]) -> str:
    """Cells as one line of CSV (RFC 4180)."""
    words = [str(cell) for cell in cells]
    return ",".join('"' + word.replace('"', '""') + '"' if set(word) & set(',"\n\r') else word for word in words)


@app.command
def compare(*run: Path, json: Json = False) -> None:
    """Which run is better, and is it more than luck.

    guarismo compare runs/digits_cnn_1 runs/digits_mlp_1

    Parameters
    ----------
    run
        Folders of evaluated runs.
    """
    from guarismo.results.comparison import compare as compare_runs

    comparison = compare_runs([open_run(folder) for folder in run])
    print_json(comparison.as_json()) if json else print_comparison(comparison)


@app.command
def why(run: Path, *index: int, out: Path = Path("why.png"), source: str | None = None, json: Json = False) -> None:
    """Why test images are answered as they are: what speaks for it, the nearest training images, what would change it.

    guarismo why runs/digits_cnn_1 --out why.png

    Parameters
    ----------
    run
        Folder of an evaluated run.
    index
        Numbers of test images, from 0; without them, the most confident errors.
    out
        The picture to draw: PNG, SVG or PDF.
    source
        The run's data, only where they have moved since the training.
    """
    from guarismo.results.charts import picture_place, save_figure
    from guarismo.results.why import explain, fragility, named_or_hardest
    from guarismo.results.why_picture import why_figure

    picture_place(out)
    opened = open_run(run)
    chosen = named_or_hardest(opened, index)
    dataset = data_of(opened, source, AS_LOADED)
    with showing("Asking why") as progress:
        explanations = explain(opened, dataset, chosen, progress)
    fragile = fragility(opened, dataset.test.images, dataset.test.labels)
    save_figure(why_figure(explanations, opened), out)
    if json:
        for each in explanations:
            print_json(each.as_json(opened))
        print_json({"fragility": None if fragile is None else asdict(fragile)})
        return
    print_explanations(explanations, opened, fragile)
    say(f"Picture: {out}")


@app.command
def fuse(run: Path, source: str | None = None, *, json: Json = False, loading: Loading = AS_LOADED) -> None:
    """Answer samples from several views of them, and say what each further view brings.

    guarismo fuse runs/polymnist_cnn_1

    Parameters
    ----------
    run
        Folder of a run of single views, or of model `views`.
    source
        Samples in views; by default the run's own data, its views side by side.
    """
    from guarismo.results.fusion import fuse as fuse_views

    opened = open_run(run)
    if source is None and given(loading):
        raise RunError("A run's own data are loaded as in its training. Name a SOURCE, or leave out the options.")
    with showing("Loading") as progress:
        if source is None:
            dataset = reload({**opened.about["data"]["origin"], "views": True}, progress)
        else:
            dataset = load(source, replace(LoadSettings(), **{**given(loading), "views": True}), progress)
    with showing("Answering") as progress:
        fusion = fuse_views(opened, dataset, progress)
    print_json({**fusion.as_json(), "run": str(run)}) if json else print_fusion(fusion)


@app.command
def report(
    *run: Path, out: Path | None = None, format: str | None = None, lang: str = "en", source: str | None = None
) -> None:
    """What happened, why, and what to do, as one file: a page, a PDF, Markdown or a notebook.

    guarismo report runs/digits_cnn_1 --lang es --out informe.pdf

    Parameters
    ----------
    run
        Folders of evaluated runs.
    out
        The file to write; by default report.html, or report with the suffix of the format.
    format
        html, pdf, md or ipynb; by default that of the suffix of --out.
    lang
        en, es or pt.
    source
        The runs' data, only where they have moved since the training.
    """
    from guarismo.language import language
    from guarismo.results.report import known_format, write_report

    if not run:
        raise RunError("Name the folder of a run. `guarismo train` prints it.")
    chosen, place = language(lang), out or Path(f"report.{format or 'html'}")
    known_format(place, format)
    opened = [open_run(folder) for folder in run]
    dataset = data_of(opened[0], source, AS_LOADED)
    with showing("Writing") as progress:
        write_report(opened, dataset, place, chosen, format, progress)
    say(f"Report: {place}")


@app.command
def track(*run: Path, to: str = "tensorboard", out: str | None = None) -> None:
    """Hand runs to a tracker: curves, settings, final figures. Tracked again, a run is there once.

    guarismo track runs/digits_cnn_1 --to tensorboard --out tensorboard

    Parameters
    ----------
    run
        Folders of runs.
    to
        tensorboard or mlflow.
    out
        A folder for TensorBoard; the address of a server or database for MLflow [default: sqlite:///mlflow.db].
    """
    from guarismo.results.trackers import TRACKERS

    if to not in TRACKERS:
        raise RunError(unknown("tracker", to, TRACKERS))
    if not run:
        raise RunError("Name the folder of a run. `guarismo train` prints it.")
    tracker = TRACKERS[to]
    place = out or tracker.place
    for folder in run:
        say(f"{folder}: {tracker.track(open_run(folder), place)}")
    say(f"Look at it with: {tracker.viewer} {quote(place)}")


@app.command
def export(run: Path, *, format: str = "onnx", out: Path | None = None, json: Json = False) -> None:
    """Write a run in another format, load that again, compare, and only then say done.

    guarismo export runs/digits_cnn_1 --format web --out site

    Parameters
    ----------
    run
        Folder of a run.
    format
        onnx, int8, keras, saved-model, litert, openvino, or web: a folder for any web server, whose page reads in the
        browser.
    out
        The file or folder to write; by default it is named after the run.
    """
    from guarismo.models.interchange import EXPORTS
    from guarismo.models.interchange import export as write

    if format not in EXPORTS:
        raise RunError(unknown("format", format, EXPORTS))
    opened = open_run(run)
    dataset = data_of(opened, None, AS_LOADED)
    path = out or Path(opened.name + EXPORTS[format].ending)
    agreement = write(opened, format, path, dataset)
    if json:
        print_json({"path": str(path), **asdict(agreement)})
    else:
        print_agreement(path, agreement, EXPORTS[format].exact)
        if format == "web":
            say(f"Look at it with: python -m http.server --directory {quote(str(path))}")


@app.command(name="import")
def import_(
    file: Path,
    source: str,
    *,
    trust: bool = False,
    white: float = 1.0,
    out: Path | None = None,
    json: Json = False,
    loading: Loading = AS_LOADED,
) -> None:
    """Make a run of a .keras or .h5 file, to evaluate and compare it like any other.

    Opening such a file can run code of whoever made it: only do it with files that you trust, and say so.

    guarismo import my_cnn.keras mnist --trust

    Parameters
    ----------
    file
        The model.
    source
        The data that it was trained on: a name from `guarismo data list`, or a path.
    trust
        You made the file, or trust who did.
    white
        What a white pixel was in training: 1 where images were divided by 255, else 255.
    out
        Folder for the run, instead of a new one under runs/.
    """
    from guarismo.models.interchange import check_trust, import_keras

    check_trust(file, trust)
    dataset = load_shown(source, loading, json)
    made = import_keras(file, dataset, out, white, trust)
    print_json(train_json(made)) if json else print_run(made, ())


@app.command(name="read")
def read_(
    *photos: str,
    run: str | None = None,
    out: str | None = None,
    annotate: Path | None = None,
    stages: Path | None = None,
    score: Path | None = None,
    jobs: int = 0,
    on: str = "here",
    address: str | None = None,
    json: Json = False,
) -> None:
    """Read handwritten digits from photos, scans and PDF pages; with --out, any number of them into a table.

    guarismo read photo.jpg --annotate read.jpg

    guarismo read pages/ --out answers.parquet

    Parameters
    ----------
    photos
        Files, folders or patterns: HEIC, JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, PPM, PDF.
    run
        A run to read with instead of the reader that comes with the package, as `guarismo adapt` makes it.
    out
        Write all answers into this .parquet, .csv or .jsonl file instead of printing them. Cut off, the same command
        goes on; files that could not be read stand in a list beside it and are tried again by the same command.
        With it, PHOTOS, --run and --out may be addresses such as s3://bucket/pages.
    annotate
        Draw boxes and digits on the photo, into this picture file or folder.
    stages
        Draw every step from photo to digits, into this picture file or folder.
    score
        A CSV of file and text (kind, medium): print how much was read right. Without PHOTOS, its files are read.
    jobs
        Processes that read side by side; 0 takes one per processor core.
    on
        Who reads: here, or ray for many machines (with --out).
    address
        A Ray cluster that runs, as `auto` or HOST:6379; by default one is started on this machine.
    """
    from guarismo.reading.intake import photo_files
    from guarismo.reading.reader import SHIPPED
    from guarismo.results.batch import Wanted, read_files, score_outcomes
    from guarismo.results.scoring import read_labels

    check_on(on, address)
    if jobs < 0:
        raise RunError(f"--jobs must be 0 or more, received {jobs}.")
    if out is not None:
        if annotate or stages or score:
            raise RunError("--out writes answers into a table. Leave out --annotate, --stages and --score.")
        read_into(out, photos, run or str(SHIPPED), jobs, on, address, json)
        return
    if on == "ray":
        raise RunError("--on ray reads many photos into a table: name it with --out answers.parquet.")
    labels = read_labels(score) if score else []
    if not photos and not labels:
        raise RunError("Name photos to read: files, folders or patterns.")
    files, problems = photo_files(photos or [str(score.parent / label.file) for label in labels if score])
    for problem in problems:
        warn(f"guarismo: {problem}")
    found = []
    with showing("Reading") as progress:
        for outcome in read_files(files, Wanted(Path(run or SHIPPED), annotate, stages), jobs, progress):
            found.append(outcome)
            if outcome.error:
                warn(f"guarismo: {outcome.error}")
            for page in outcome.pages:
                print_json(page) if json else print_page(page, alone=len(files) == 1 and len(outcome.pages) == 1)
    if score and found:
        scored = score_outcomes(found, labels, score.parent)
        print_json({"score": scored.as_json()}) if json else print_score(scored)
    failed = sum(1 for outcome in found if outcome.error) + len(problems)
    if failed:
        raise UnreadError(failed, len(found) + len(problems))


def read_into(out: str, photos: Sequence[str], run: str, jobs: int, on: str, address: str | None, json: bool) -> None:
    """All answers as a table, read by the processes of this machine or of many; what failed is named."""
    from guarismo.cluster import at_hand, is_there, is_url, move_there
    from guarismo.results.bulk import failures_of, page_files, read_all

    files, problems = page_files(photos)
    if not files:
        raise problems[0] if problems else RunError("Name photos to read: files, folders or patterns.")
    for problem in problems:
        warn(f"guarismo: {problem}")
    if is_url(out) and is_there(out):
        raise RunError(f"{out} is there already. Remove it to read anew, or name another --out.")
    place = Path(out.rsplit("/", 1)[1]) if is_url(out) else Path(out)
    with showing("Reading") as progress, at_hand(run) as folder, reading_engine(on, address, jobs) as engine:
        bulk = read_all(files, place, folder, engine, progress)
    if is_url(out):
        move_there(place, out)
    if json:
        print_json({**asdict(bulk), "out": out, "problems": len(problems)})
    else:
        now = f"{bulk.read:,} files read now, {bulk.rate:.1f} a second" if bulk.read else "none was left to read"
        say(f"{out}: {bulk.pages:,} pages of {bulk.files:,} files; {now}")
    if bulk.failed:
        warn(f"Why: {failures_of(place)}. The same command tries them again.")
    if bulk.failed or problems:
        raise UnreadError(bulk.failed + len(problems), bulk.files + bulk.failed + len(problems))


@contextmanager
def reading_engine(on: str, address: str | None, jobs: int) -> Iterator[Any]:
    """What reads: processes of this machine, or the Ray cluster at `address`, joined meanwhile."""
    if on == "here":
        from guarismo.results.bulk import by_processes

        yield partial(by_processes, jobs=jobs)
        return
    from guarismo.cluster import joined
    from guarismo.results.bulk_ray import by_ray

    with joined(address, jobs):
        yield partial(by_ray, jobs=jobs)


@app.command
def adapt(
    *photos: Path,
    labels: Path | None = None,
    base: Path | None = None,
    out: Path | None = None,
    json: Json = False,
) -> None:
    """Learn one person's hand from a few labelled samples: a run for `guarismo read --run`.

    guarismo adapt my_sheet.jpg

    Parameters
    ----------
    photos
        Photos of a filled `guarismo sheet`, of digits in folders 0 to 9, or named by their digit (7_a.jpg).
    labels
        A CSV of file and text that names labelled photos.
    base
        The run to start from: the reader that comes with the package, or an adapted run that learns more.
    out
        Folder for the run, instead of a new one under runs/.
    """
    from guarismo.reading.adaptation import adapt as learn
    from guarismo.reading.adaptation import collect_samples
    from guarismo.reading.intake import photo_files
    from guarismo.reading.reader import SHIPPED, open_reader
    from guarismo.results.scoring import read_labels

    reader = open_reader(base or SHIPPED)
    named = [(labels.parent / label.file, label.text) for label in read_labels(labels)] if labels else []
    files, problems = photo_files([str(photo) for photo in photos])
    if problems:
        raise problems[0]
    if not files and not named:
        raise RunError("Name photos to learn from. `guarismo sheet` makes a page to write samples on.")
    with showing("Looking for samples") as progress:
        samples = collect_samples(files, named, reader, progress)
    for name, reason in samples.skipped:
        warn(f"{name}: {reason}")
    with showing("Learning") as progress:
        made, adaptation = learn(samples, reader, out, progress)
    if json:
        print_json({"run": str(made.folder), **adaptation.as_json()})
        return
    print_adaptation(made, adaptation)


@app.command
def sheet(*, samples: int = 5, paper: str = "a4", out: Path = Path("sheet.pdf")) -> None:
    """A page to print and write digits on; a photo of it is what `guarismo adapt` learns from.

    guarismo sheet --out sheet.pdf

    Parameters
    ----------
    samples
        Boxes for each digit, 1 to 5.
    paper
        a4 or letter.
    out
        The PDF file to write.
    """
    from guarismo.reading.sheet import sheet_pdf

    if out.suffix.lower() != ".pdf":
        raise RunError(f"The sheet is a PDF. Name a file that ends in .pdf, not '{out}'.")
    write_out(out, sheet_pdf(samples, paper))
    say(f"{out}: print it, write each digit into its boxes, and photograph the page.")


@app.command
def serve(run: Path | None = None, *, serving: Serving = AS_SERVED) -> None:
    """A page that reads digits as you draw them, and an HTTP API, on this machine, until Ctrl-C.

    guarismo serve --port 8080

    Parameters
    ----------
    run
        Folder of a run to answer with, instead of the reader that comes with the package.
    """
    from guarismo.serving.server import serve as listen

    settings = replace(ServeSettings(), **given(serving))
    listen(settings, run, lambda address: say(f"Open {address} (Ctrl-C ends it; /openapi.json describes the API)."))


class UnreadError(GuarismoError):
    """Some of the files could not be read; each has had its line already."""

    def __init__(self, failed: int, files: int):
        super().__init__(f"{failed} of {files} could not be read.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; what a user can mend becomes one line and exit status 1, --debug shows the traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # an ASCII terminal shows ? for ×, not a crash
    try:
        app(words, result_action="return_value")
    except GuarismoError as error:
        leave(f"guarismo: {error}", 1, debug)
    except KeyboardInterrupt as error:
        leave(str(error) or "Stopped.", 130, debug)
    except BrokenPipeError:  # the reader of our output went away, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        leave(f"guarismo: {error.filename or 'A file'} cannot be used: {error.strerror or error}.", 1, debug)
    except Exception as error:  # what we did not foresee: still no traceback for people who did not ask for one
        leave(
            f"guarismo: unexpected {type(error).__name__}: {error}\nAdd --debug to see where, and report it.", 70, debug
        )


def leave(message: str, status: int, debug: bool) -> None:
    if debug:
        raise  # what main is handling
    warn(message)
    sys.exit(status)
