"""What people see on the terminal: progress, tables, JSON lines. Values in, text out; nothing is computed here."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from guarismo.language import ENGLISH, NARROW
from guarismo.models.runs import quoted
from guarismo.progress import Progress, silent

if TYPE_CHECKING:
    from pathlib import Path

    from guarismo.data.dataset import Dataset
    from guarismo.data.exploration import Exploration, Variation
    from guarismo.data.leaks import Leaks
    from guarismo.models.interchange import Agreement
    from guarismo.models.profiling import Part
    from guarismo.models.runs import Run
    from guarismo.reading.adaptation import Adaptation
    from guarismo.reproduction import Experiment
    from guarismo.reproduction import Row as Reproduced
    from guarismo.results.comparison import Comparison, GroupPair, Pair
    from guarismo.results.evaluation import Evaluation
    from guarismo.results.finding import Finding
    from guarismo.results.fusion import Fusion
    from guarismo.results.scoring import Score
    from guarismo.results.why import Explanation, Fragility
    from guarismo.tuning.search import Search, Tried

WIDE = 1000
"""Columns where stdout is a file or a pipe: a program that reads our tables must not find them cut."""

out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


FACTS: dict[str, Callable[[Any], str]] = {
    "epoch": "epoch {:.0f}".format,
    "step": "step {:.0f}".format,
    "loss": "loss {:.4f}".format,
    "accuracy": lambda share: f"accuracy {percent(share)}",
    "validation_accuracy": lambda share: f"validation {percent(share)}",
    "trees": "{:.0f} trees".format,
    "file": str,
    "rate": "{:.1f} files/s".format,
    "failed": "{:,} failed".format,
    "waiting": "waiting: {}".format,
}
"""How each fact that a Progress may carry is written; others are left out."""


@contextmanager
def showing(title: str = "Working") -> Iterator[Progress]:
    """A progress line while the block works: on stderr, or in the cell of a notebook; nothing where neither is there.

    with guarismo.showing("Training") as progress:
        run = guarismo.train(dataset, progress=progress)
    """
    if err.is_jupyter:
        with showing_in_cell(title) as progress:
            yield progress
        return
    if not err.is_terminal:
        yield silent
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(bar_width=24),
        bars.TaskProgressColumn(),
        bars.TimeRemainingColumn(compact=True),
        bars.TextColumn("{task.fields[facts]}", style="dim", markup=False),
    )
    with bars.Progress(*columns, console=err, transient=True, redirect_stdout=False) as live:
        task = live.add_task(title, total=None, facts="")

        def show(done: int, total: int, **facts: object) -> None:
            live.update(task, completed=done, total=total, facts=written(facts))

        yield show


@contextmanager
def showing_in_cell(title: str) -> Iterator[Progress]:
    """The same in a notebook, as HTML that stays (rich's own way needs ipywidgets, and leaves nothing behind)."""
    from IPython.display import HTML, display

    began = drawn = time.monotonic()
    latest = ""
    ending = "stopped after "
    cell = display(HTML(cell_line(title, 0, 0, "")), display_id=True)

    def show(done: int, total: int, **facts: object) -> None:
        nonlocal drawn, latest
        latest = written(facts)
        if time.monotonic() - drawn > 0.2:
            drawn = time.monotonic()
            cell.update(HTML(cell_line(title, done, total, latest)))

    try:
        yield show
        ending = ""
    finally:
        words = [f"{title}: {ending}{time.monotonic() - began:.1f} s", *([latest] if latest else [])]
        cell.update(HTML(Markup("<div>{}</div>").format(" · ".join(words))))


def cell_line(title: str, done: int, total: int, words: str) -> Markup:
    """Title, bar and words; the browser draws the bar, on the page's own colours."""
    share = Markup(' value="{}" max="{}"').format(done, total) if total else Markup()
    return Markup('<div>{} <progress{} style="vertical-align:middle"></progress> {}</div>').format(title, share, words)


def written(facts: Mapping[str, object]) -> str:
    """Facts as one line: "epoch 3 · loss 0.0312 · accuracy 98.90 %"."""
    return " · ".join(FACTS[name](value) for name, value in facts.items() if name in FACTS)


def json_line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def print_json(values: Mapping[str, Any]) -> None:
    """One object on one line."""
    sys.stdout.write(json_line(values) + "\n")


def say(text: str) -> None:
    """A line on stdout, as it is: square brackets, tabs and :names: are plain text."""
    print(text, file=out.file, flush=True)  # rich would make spaces of tabs


def warn(text: str) -> None:
    err.out(text, highlight=False)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> None:
    """A plain table; the columns numbered in `right` are set to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, heading in enumerate(headings):
        side: Literal["left", "right"] = "right" if index in right else "left"
        table.add_column(Text(heading), justify=side, no_wrap=index in right, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    out.print(table)


def interval(bounds: tuple[float, float]) -> str:
    return f"{bounds[0] * 100:.2f} – {bounds[1] * 100:.2f} %"


def print_dataset(dataset: Dataset) -> None:
    """What was loaded, in two lines and its notes."""
    counts = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    say(f"{dataset.name}: {counts} images of {'×'.join(map(str, dataset.shape))}, {len(dataset.class_names)} classes")
    for note in dataset.notes:
        say(f"  {note}")


def print_exploration(exploration: Exploration) -> None:
    """Images per class and split and how they vary, then a line for each thing worth knowing."""
    splits = list(exploration.counts)
    shapes = list(SHAPES) if exploration.shaped else []
    rows = [
        (
            name,
            *(f"{exploration.counts[split][label]:,}" for split in splits),
            *(shape_of(exploration.variation[shape][label], shape) for shape in shapes),
        )
        for label, name in enumerate(exploration.class_names)
    ]
    if rows:
        print_table(("class", *splits, *shapes), rows, right=range(1, len(splits) + len(shapes) + 1))
    if rows and shapes:
        say(
            f"Slant, stroke, aspect (width / height) and ink: medians of {exploration.shown}; holes: how many have any."
        )
    if rows and 0 < exploration.shaped < 1:
        say(f"  of the {percent(exploration.shaped)} of images whose ink can be told from an even ground")
    if exploration.balance:
        say(f"Commonest class for each image of the rarest, in training: {exploration.balance:.2f}")
    for split, pixels in exploration.pixels.items():
        figures = f"mean {pixels.mean:.1f}, deviation {pixels.deviation:.1f}, {percent(pixels.zeros)} zero"
        blank = f"; blank: {len(exploration.blank[split]):,}" if len(exploration.blank[split]) else ""
        say(f"Pixels of {split}: {figures}; exact copies inside: {exploration.repeats[split]:,}{blank}")
    for split, table in (exploration.modalities or {}).items():
        say(f"\n{split}: images of each modality and digit")
        counts = [(f"m{number}", *(f"{count:,}" for count in row)) for number, row in enumerate(table.tolist())]
        print_table(("modality", *map(str, range(table.shape[1]))), counts, right=range(1, table.shape[1] + 1))
    if exploration.contradictions:
        say(f"Contradiction: {exploration.contradictions:,} images occur with different labels.")
    if exploration.groups and exploration.leaks.grouped_by == "writer" and exploration.groups.shares:
        shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in exploration.groups.shares.items())
        say(f"{exploration.groups.groups:,} writers; of the variance inside a class lies between them: {shares}")
    print_leaks(exploration.leaks)


SHAPES: dict[str, Callable[[Variation], str]] = {
    "slant": lambda each: f"{round(each.median)}°",
    "stroke": lambda each: f"{each.median:.1f} px",
    "holes": lambda each: f"{100 * each.holed:.0f} %",
    "aspect": lambda each: f"{each.median:.2f}",
    "ink": lambda each: f"{100 * each.median:.0f} %",
}
"""How a class is summed up in each measure."""


def shape_of(variation: Variation | None, name: str) -> str:
    return "–" if variation is None else SHAPES[name](variation)


MOST_PAIRS = 3
"""Near duplicates that are named."""


def print_leaks(leaks: Leaks) -> None:
    """A line for whatever two splits share, and what to do; or how much was looked at and that nothing was found."""
    for each in leaks.between:
        looked_at = f"{each.looked_at:,} of {each.images:,} looked at"
        if each.copies:
            say(f"Leak: {each.later}: exact copies of images in {each.earlier}: {each.copies:,}")
        if each.near:
            found = [f"{pair.later} of {pair.earlier} ({percent(pair.difference)})" for pair in each.pairs[:MOST_PAIRS]]
            say(f"Leak: {each.later}: near copies of images in {each.earlier}: {each.near:,} ({looked_at}),")
            say(f"  most alike, by number, with the largest difference: {', '.join(found)}")
        if each.shared_groups:
            share = f"{each.shared_groups:,} of {each.groups:,} {leaks.grouped_by}s"
            say(f"Leak: {each.later}: {share} are also in {each.earlier} ({each.grouped:,} images)")
        if not each.found:
            apart = "" if each.groups is None else f", and none of its {each.groups:,} {leaks.grouped_by}s is there"
            say(f"{each.later}: no copy of an image in {each.earlier}, exact or nearly so ({looked_at}){apart}")
    if any(each.copies or each.near for each in leaks.between):
        say("Images that were learnt flatter the figures: take the copies out of one of the splits.")
    if any(each.shared_groups for each in leaks.between):
        way = "auto" if leaks.grouped_by == "group" else leaks.grouped_by
        say(f"--group {way} keeps each {leaks.grouped_by} in one part, where the source has no parts of its own.")
    elif any(each.groups is None for each in leaks.between):
        say("Writers and originals were not compared: they are not known here (of mnist: --group writer).")


def print_architecture(rows: Sequence[Mapping[str, Any]]) -> None:
    """A network as a table: one row per layer."""
    table = [(row["layer"], row["output"], f"{row['parameters']:,}") for row in rows]
    table.append(("total", "", f"{sum(row['parameters'] for row in rows):,}"))
    print_table(("layer", "output", "parameters"), table, right=(1, 2))


def print_profile(parts: Sequence[Part]) -> None:
    """Each part of a training: how often, how long, and its share of an epoch."""
    epoch = sum(part.times * part.seconds for part in parts)
    rows = [
        (
            part.name,
            f"{part.times:,}" if part.times else "once",
            f"{1e3 * part.seconds:,.1f} ms",
            f"{part.times * part.seconds:.2f} s" if part.times else "–",
            f"{100 * part.times * part.seconds / epoch:.0f} %" if part.times else "–",
        )
        for part in parts
    ]
    print_table(("part", "times an epoch", "each", "epoch", "share"), rows, right=range(1, 5))


MOST_FINDINGS = 3
"""Findings told after a training; the rest by `guarismo diagnose`."""


def print_run(run: Run, found: Sequence[Finding]) -> None:
    """What a training came to, the gravest of what is wrong with it, and what to do next."""
    metrics = run.about["metrics"]
    kept = run.about["facts"].get("kept_epoch")
    epochs = f"epoch {kept} of {len(run.history)} kept, " if kept else ""
    say(
        f"{run.settings.model}: {run.about['parameters']:,} parameters, {epochs}"
        f"validation accuracy {percent(metrics['validation_accuracy'])}, {run.about['seconds']['train']:.1f} s"
    )
    for finding in found[:MOST_FINDINGS]:
        say(f"{plain(finding.sentence())} {plain(finding.remedy())}")
    if len(found) > MOST_FINDINGS:
        say(f"{len(found) - MOST_FINDINGS} more: guarismo diagnose {quoted(run.folder)}")
    say(f"Run: {run.folder}\nNext: guarismo evaluate {quoted(run.folder)}")


MOST_NAMED = 8
"""Images of a finding that are named by their number."""


def print_findings(run: Run, split: str, found: Sequence[Finding], looked_for: Sequence[str]) -> None:
    """Each finding as a sentence, with what to do and the images that show it; then what was looked for."""
    for finding in found:
        say(plain(finding.sentence()))
        say(f"  {plain(finding.remedy())}")
        if len(finding.images):
            rest = f", … ({len(finding.images):,})" if len(finding.images) > MOST_NAMED else ""
            named = ", ".join(map(str, finding.images[:MOST_NAMED].tolist()))
            say(f"  Images of {finding.split}, counted from 0: {named}{rest}")
    said = f"{run.name}, {split} images: looked for {', '.join(looked_for)}."
    say(f"\n{said}" if found else f"Nothing wrong was found. {said}")


def plain(sentence: str) -> str:
    """A sentence for the terminal: its narrow spaces as wide ones, which every font and program knows."""
    return sentence.replace(NARROW, " ")


def print_evaluation(run: Run, evaluation: Evaluation) -> None:
    """Headline figures, then one row per class."""
    say(
        f"{run.name} on {evaluation.n:,} test images: accuracy {percent(evaluation.accuracy)} "
        f"(95 % interval {interval(evaluation.interval)}), loss {evaluation.loss:.4f}, "
        f"calibration error {percent(evaluation.ece)}"
    )
    columns = (evaluation.precision, evaluation.recall, evaluation.f1)
    rows = [
        (name, *(percent(column[index]) for column in columns), f"{evaluation.support[index]:,}")
        for index, name in enumerate(evaluation.class_names)
    ]
    print_table(("class", "precision", "recall", "F1", "images"), rows, right=(1, 2, 3, 4))


def print_confusion(name: str, confusion: Any, class_names: Sequence[str]) -> None:
    """A confusion matrix of at most 20 classes: rows true, columns answered; larger ones are in the report."""
    if len(class_names) > 20:
        say(f"Confusion on {name}: {len(class_names)} classes, see the report.")
        return
    say(f"\nConfusion on {name} images (row: true class, column: answer)")
    rows = [
        (label, *(f"{count:,}" if count else "·" for count in row))
        for label, row in zip(class_names, confusion, strict=True)
    ]
    print_table(("", *class_names), rows, right=range(1, len(class_names) + 1))


def print_comparison(comparison: Comparison) -> None:
    """A row per run, the best first, what divides it from the others, and whether it is better by more than luck."""
    rows = [
        (
            row.name,
            row.model,
            percent(row.accuracy),
            interval(row.interval),
            f"{row.loss:.4f}",
            "–" if row.train_seconds is None else f"{row.train_seconds:.1f} s",
            f"{row.parameters:,}",
            f"{row.bytes / 1e6:.1f} MB",
            f"{row.images_per_second:,.0f}",
        )
        for row in comparison.rows
    ]
    headings = ("run", "model", "accuracy", "95 % interval", "loss", "training", "parameters", "file", "images/s")
    print_table(headings, rows, right=range(2, 9))
    print_pairs(comparison)
    if comparison.grouped:
        print_groups(comparison)
    say(f"\n{comparison.sentence}\n{comparison.recommendation}")


def print_pairs(comparison: Comparison) -> None:
    """The best run against each other one, image by image; p for the pair and for all pairs."""
    rows = [
        (
            pair.other,
            f"{pair.only_best:,}",
            f"{pair.only_other:,}",
            f"{pair.both_wrong:,}",
            *difference(pair),
        )
        for pair in comparison.pairs
    ]
    headings = (f"{comparison.best.name} against", "only it right", "only the other", "neither", *DIFFERENCE)
    say("")
    print_table(headings, rows, right=range(1, 8))


def print_groups(comparison: Comparison) -> None:
    """Settings over their seeds: mean accuracy and standard deviation, and how far behind the best they are."""
    best, *others = comparison.groups
    behind = [("", "", "", ""), *(difference(pair) for pair in comparison.group_pairs)]
    rows = [
        (
            group.name,
            len(group.runs),
            percent(group.accuracy),
            "–" if group.spread is None else percent(group.spread),
            *cells,
        )
        for group, cells in zip((best, *others), behind, strict=True)
    ]
    say("")
    print_table(("over seeds", "seeds", "mean", "spread", *DIFFERENCE), rows, right=range(1, 8))


DIFFERENCE = ("behind", "95 % interval", "p", "p of all pairs")


def difference(pair: Pair | GroupPair) -> tuple[str, str, str, str]:
    """How far the second of a pair is behind, in points, with the interval and p."""
    low, high = pair.interval
    ps = ["< 0.0001" if p < 1e-4 else f"{p:.4f}" for p in (pair.p, pair.p_corrected)]
    return f"{100 * pair.difference:.2f}", f"{100 * low:.2f} to {100 * high:.2f}", ps[0], ps[1]


def print_explanations(explanations: Sequence[Explanation], run: Run, fragile: Fragility | None) -> None:
    """Two lines for each image: how it was answered and what it is like in training; what would change the answer."""
    from guarismo.results.why import flip_words

    names = run.class_names
    for each in explanations:
        outcome = f"taken for {names[each.answer]}" if each.wrong else "answered right"
        near = ", ".join(names[label] for label in each.neighbour_labels)
        say(
            f"Test image {each.index}: {names[each.label]}, {outcome} ({percent(each.confidence)}); "
            f"nearest in training: {near}"
        )
        say(f"  {flip_words(each.flip, run)}")
    if fragile is not None:
        say(fragile.sentence())


UNSURE = 0.9
"""Digits below this confidence are named."""
MOST_REASONS = 3


def print_experiments(experiments: Mapping[str, Experiment]) -> None:
    """What can be reproduced, and what its authors state."""
    print_table(
        ("experiment", "source", "published", "its authors tell"),
        [
            (name, each.source, "–" if each.accuracy is None else percent(each.accuracy), each.told)
            for name, each in experiments.items()
        ],
        right=(2,),
    )
    say("\nguarismo reproduce NAME runs one, guarismo reproduce --all every one; --quick takes a small part.")


def print_reproduced(row: Reproduced) -> None:
    """One experiment: published, ours, difference, interval, seconds; then what was found."""
    ours = "–" if row.accuracy is None else percent(row.accuracy)
    published = "–" if row.published is None else percent(row.published)
    say(f"{row.name}: published {published}, here {ours} ({row.verdict}); {row.seconds:,.0f} s")
    if row.accuracy is not None and row.published is not None and row.interval is not None:
        difference = 100 * (row.accuracy - row.published)
        say(f"  {difference:+.2f} points; 95 % interval {interval(row.interval)} on {row.n:,} images")
    for finding in row.findings:
        say(f"  {finding}")


def print_page(page: Mapping[str, Any], alone: bool) -> None:
    """What a photo says, a line of digits to a line; on stderr what is unsure, and why nothing was read.

    Where it is not the only one, its name stands before each line, parted by a tab.
    """
    name = page["file"] if page["page"] == 1 else f"{page['file']} page {page['page']}"
    for line in page["lines"] or ([] if alone else [""]):
        say(line if alone else f"{name}\t{line}")
    if not page["lines"]:
        warn(f"{name}: {why_nothing(page['refused'])}")
    for number, digit in enumerate(page["digits"], start=1):
        if digit["confidence"] < UNSURE:
            others = "".join(f", or {other} ({share:.0%})" for other, share in digit["alternatives"][:1])
            warn(f"{name}: digit {number} is unsure: {digit['digit']} ({digit['confidence']:.0%}){others}")


def why_nothing(refused: Sequence[Mapping[str, Any]]) -> str:
    """A sentence for a page without digits."""
    if not refused:
        return "no ink was found"
    largest = sorted(refused, key=lambda item: item["box"][2] * item["box"][3], reverse=True)[:MOST_REASONS]
    reasons = dict.fromkeys(item["reason"] for item in largest)
    marks = "the one mark" if len(refused) == 1 else f"{len(refused)} marks"
    return f"no digit was found among {marks} ({'; '.join(reasons)})"


def print_score(score: Score) -> None:
    """How much was read right, by kind and medium and by folder, and what was misread."""
    groups = ("kind and medium", "folder", "total")
    rows = [row for row in score.rows if row.group in groups and row.name != "."]
    print_table(
        ("photos", "files", "exact", "95 % interval", "digits", "digit accuracy"),
        [
            (row.name, row.files, percent(row.exact), interval(row.interval), row.digits, percent(row.digit_accuracy))
            for row in rows
        ],
        right=range(1, 6),
    )
    for wrong in score.wrong:
        say(f"{wrong.file}: {wrong.truth}, read as {wrong.read or 'nothing'}")


def print_adaptation(run: Run, adaptation: Adaptation) -> None:
    """What a hand's samples brought, before and after, and what to do next."""
    before, after, samples = adaptation.left_out
    say(f"{samples} samples, each read by a reader that did not learn it: {before} right before, {after} after")
    before, after, digits = adaptation.mnist
    say(f"Other people's digits ({adaptation.source}): {before:,} of {digits:,} right before, {after:,} after")
    say(f"Run: {run.folder}\nNext: guarismo read PHOTO --run {quoted(run.folder)}")


def print_agreement(path: Path, found: Agreement, exact: bool) -> None:
    """What was written, and how it answers the validation images beside the run."""
    if exact:
        words = f"answers {found.n:,} validation images as the run does (difference {found.difference:.1g})"
    else:
        lost = round((found.run_accuracy - found.accuracy) * found.n)
        than = f"{abs(lost):,} {'fewer' if lost > 0 else 'more'} than" if lost else "as many as"
        words = (
            f"{percent(found.accuracy)} of {found.n:,} validation images right, {than} the run's "
            f"{percent(found.run_accuracy)} (difference of a probability up to {found.difference:.1g})"
        )
    say(f"{path}, {ENGLISH.size(found.size)}: {words}")


def print_fusion(fusion: Fusion) -> None:
    """Accuracy against the number of views, a column for each method; then each view alone, and what follows."""
    rows = [
        (
            figures[0].views,
            *(f"{percent(figure.accuracy)} ({interval(figure.interval)})" for figure in figures),
            figures[0].subsets,
        )
        for figures in zip(*(fusion.of(method) for method in fusion.methods), strict=True)
    ]
    print_table(("views", *fusion.methods, "subsets"), rows, right=range(len(fusion.methods) + 2))
    alone = [(figure.method, percent(figure.accuracy), interval(figure.interval)) for figure in fusion.alone]
    say("")
    print_table(("alone", "accuracy", "95 % interval"), alone, right=(1, 2))
    if fusion.incomplete:
        say(f"{fusion.incomplete:,} samples lack a view and were left out.")
    say(f"\n{fusion.sentence}")


METRICS: dict[str, Callable[[float], str]] = {
    "validation_accuracy": percent,
    "validation_loss": "{:.4f}".format,
    "parameters": "{:,.0f}".format,
    "images_per_second": "{:,.0f}".format,
}
"""How each metric of a search is written."""
MOST_TRIED = 5
"""Trials that are shown after a search; all of them stand on its page."""


def metric_words(metric: str, value: float) -> str:
    return METRICS[metric](value)


def setting_words(settings: Mapping[str, Any]) -> str:
    """Searched fields on one line: "learning_rate 0.002, batch_size 64"."""
    return ", ".join(f"{name} {setting_word(value)}" for name, value in settings.items())


def tried_words(tried: Tried, search: Search) -> str:
    """How a trial ended, or how far it is."""
    if tried.state == "finished":
        return ", ".join(map(metric_words, search.metrics, tried.values))
    if tried.state == "failed":
        return f"failed: {tried.error}"
    epochs = f" after epoch {len(tried.curve)}" if tried.curve else ""
    at = f", {metric_words(search.metrics[0], tried.curve[-1])}" if tried.curve else ""
    return f"{tried.state}{epochs}{at}"


def print_search(search: Search) -> None:
    """How the trials ended, the best of them, what made the difference, and whether the winner is better."""
    states = [each.state for each in search.tried]
    known = ("finished", "pruned", "failed", "running")
    counted = ", ".join(f"{states.count(state)} {state}" for state in known if state in states)
    say(plain(f"{len(states)} trials in {ENGLISH.duration(search.seconds)}: {counted}"))
    print_tried(search.best_first[:MOST_TRIED] if len(search.metrics) == 1 else search.front, search)
    if search.importance:
        shares = ", ".join(f"{spaced(name)} {100 * share:.0f} %" for name, share in search.importance.items())
        say(f"What made the difference: {shares}")
    if search.verdict:
        say(f"\n{plain(search.verdict.sentence())}")


def print_tried(shown: Sequence[Tried], search: Search) -> None:
    """A row for each trial: its metrics, the seconds of its training, what was searched."""
    rows = [
        (
            each.number,
            *map(metric_words, search.metrics, each.values),
            f"{each.seconds:.1f} s",
            *(setting_word(each.settings.get(name, "–")) for name in search.space.fields),
        )
        for each in shown
    ]
    headings = ("trial", *map(spaced, search.metrics), "training", *map(spaced, search.space.fields))
    print_table(headings, rows, right=range(len(headings)))


def spaced(name: str) -> str:
    return name.replace("_", " ")


def setting_word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
