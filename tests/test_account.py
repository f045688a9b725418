from dataclasses import replace

import numpy as np
import pytest

from guarismo.data.dataset import Split
from guarismo.data.known import SOURCES
from guarismo.errors import RunError
from guarismo.language import Language
from guarismo.models.runs import commit
from guarismo.results.account import MOST_EXPLAINED, MOST_OF_A_CELL, account, shown_names
from guarismo.results.evaluation import evaluate_run
from tiny_run import HISTORY, bars, bars_dataset, make_run


def evaluated(folder, dataset, **options):
    return evaluate_run(make_run(folder, dataset, **options), dataset)[0]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A vague model: some of its answers are wrong, most are right."""
    dataset = bars_dataset()
    return account([evaluated(tmp_path_factory.mktemp("run") / "vague", dataset, sharpness=1.0)], dataset)


@pytest.fixture(scope="module")
def hopeless(tmp_path_factory):
    """A model that is wrong about every image."""
    dataset = bars_dataset()
    return account([evaluated(tmp_path_factory.mktemp("run") / "wrong", dataset, sharpness=-30.0)], dataset)


def test_each_cell_holds_the_images_that_it_counts(told, hopeless):
    for story in (told, hopeless):
        (chapter,) = story.chapters
        evaluation, test = chapter.evaluation, story.dataset.test
        assert sum(cell.count for cell in chapter.confusions) == evaluation.errors > 0
        for cell in chapter.confusions:
            assert cell.count == evaluation.confusion[cell.label, cell.answer]
            assert len(cell.shots) == min(cell.count, MOST_OF_A_CELL)
            assert all(test.labels[shot.index] == cell.label for shot in cell.shots)
            assert all((test.images[shot.index] == shot.image).all() for shot in cell.shots)
            assert {shot.answer for shot in cell.shots} == {evaluation.class_names[cell.answer]}


def test_the_surest_errors_come_first(hopeless):
    for cell in hopeless.chapters[0].confusions:
        confidences = [shot.confidence for shot in cell.shots]
        assert confidences == sorted(confidences, reverse=True)
    errors = hopeless.chapters[0].errors
    assert [shot.index for shot in errors] == hopeless.chapters[0].evaluation.hardest[: len(errors)].tolist()


def test_the_worst_class_is_told_first(told):
    (chapter,) = told.chapters
    recalls = [part.recall for part in chapter.classes]
    assert recalls == sorted(recalls)
    assert chapter.worst.place == chapter.evaluation.recall.argmin()
    row = chapter.evaluation.confusion[chapter.worst.place].copy()
    assert chapter.worst.found == row[chapter.worst.place]
    row[chapter.worst.place] = 0
    assert sum(cell.count for cell in chapter.worst.taken_for) == row.sum()
    counts = [cell.count for cell in chapter.worst.taken_for]
    assert counts == sorted(counts, reverse=True)


def test_a_flawless_model_has_no_worst_class(tmp_path):
    clear = np.zeros((30, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(30) % 3
    clear[np.arange(30), 2 * labels + 1] = 255
    dataset = replace(bars_dataset(), test=Split(clear, labels))
    (chapter,) = account([evaluated(tmp_path / "run", dataset)], dataset).chapters
    assert chapter.worst is None
    assert not chapter.confusions and not chapter.errors and not chapter.whys


def test_errors_are_explained_by_what_the_model_sees(hopeless):
    (chapter,) = hopeless.chapters
    assert len(chapter.whys) == MOST_EXPLAINED
    worst = {shot.index for shot in chapter.worst.shots}
    assert sum(why.shot.index in worst for why in chapter.whys) >= MOST_EXPLAINED // 3
    for why in chapter.whys[:3]:
        assert why.answers[0][0] == why.shot.answer
        assert [name for name, heat in why.heats] == [why.shot.answer, why.shot.label]
        assert all(heat.min() >= 0 and heat.max() <= 1.0001 for name, heat in why.heats)
        assert len(why.nearest) == 3 and {shot.split for shot in why.nearest} == {"train"}
        assert why.flip.endswith(".")


def test_a_class_without_test_images_is_named_and_has_no_part(tmp_path):
    test = bars(60, 3)
    rare = replace(bars_dataset(), test=test.take(np.flatnonzero(test.labels != 1)))
    (chapter,) = account([evaluated(tmp_path / "run", rare, sharpness=-30.0)], rare).chapters
    assert chapter.untested == "row 1"
    assert {part.name for part in chapter.classes} == {"row 0", "row 2"}
    assert "row 1" not in chapter.worst.name


def test_known_classes_are_named_in_the_language_and_others_left():
    english = SOURCES["fashion_mnist"].class_names["en"]
    assert shown_names(english, Language("es"))[1] == "Pantalón"
    assert shown_names(english, Language("pt"))[1] == "Calça"
    assert shown_names(english, Language("en")) == english
    assert shown_names(("Trouser", "Coat"), Language("es")) == ("Trouser", "Coat")


def test_curves_are_the_history_and_a_loss_that_is_no_number_is_a_gap(tmp_path):
    history = HISTORY + "1,0.5,0.8,0.6,0.7,0.001,1\n2,nan,0.1,nan,0.1,0.001,1\n"
    dataset = bars_dataset()
    (chapter,) = account([evaluated(tmp_path / "run", dataset, history=history)], dataset).chapters
    loss, accuracy = chapter.curves
    assert loss.rows == (("1", "0.5000", "0.6000"), ("2", "–", "–"))
    assert accuracy.rows[1] == ("2", "10.00\u202f%", "10.00\u202f%")


def test_a_run_without_history_and_one_of_one_epoch_are_told(tmp_path):
    dataset = bars_dataset()
    lone = evaluated(tmp_path / "one", dataset, history=HISTORY + "1,0.5,0.8,0.6,0.7,0.001,1\n")
    (loss, accuracy) = account([lone], dataset).chapters[0].curves
    assert len(loss.rows) == 1
    assert loss.words == "Loss after the only epoch: 0.5000 in training, 0.6000 in validation."
    assert accuracy.words.startswith("Accuracy after the only epoch: 80.00")
    assert account([evaluated(tmp_path / "none", dataset, history=HISTORY)], dataset).chapters[0].curves == ()


def test_two_runs_are_set_apart_by_the_images_that_divide_them(tmp_path):
    dataset = bars_dataset()
    runs = [evaluated(tmp_path / name, dataset, sharpness=value) for name, value in (("good", 30.0), ("wrong", -30.0))]
    right = [run.arrays("test")["probabilities"].argmax(axis=1) == dataset.test.labels for run in runs]
    (dispute,) = account(runs[::-1], dataset).disputes
    assert dispute.title == "Where good and wrong disagree"
    counts = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()), int((~right[0] & ~right[1]).sum())]
    assert [case.count for case in dispute.cases] == counts
    for shot in dispute.cases[0].shots:
        assert right[0][shot.index] and not right[1][shot.index]
        assert shot.label in shot.words and shot.answer != shot.label


def test_what_is_found_is_told_with_its_images(told, hopeless):
    for story in (told, hopeless):
        for found in story.chapters[0].findings:
            assert found.sentence.endswith(".") and found.remedy.endswith(".")
    over_fit = next(found for found in told.chapters[0].findings if found.name == "over-fitting")
    assert "epoch 3" in over_fit.sentence
    assert any(found.shots for found in hopeless.chapters[0].findings)
    assert told.summary[1].startswith(told.chapters[0].findings[0].sentence)


def test_findings_name_classes_as_the_page_does(tmp_path):
    dataset = bars_dataset(classes=10, side=20, names=SOURCES["fashion_mnist"].class_names["en"])
    run = evaluated(tmp_path / "run", dataset, sharpness=-30.0)
    (chapter,) = account([run], dataset, Language("es")).chapters
    said = " ".join(found.sentence for found in chapter.findings)
    assert not [name for name in dataset.class_names if name in said]


def test_what_cannot_be_told_says_what_to_do(told, tmp_path):
    dataset, run = told.dataset, told.chapters[0].run
    with pytest.raises(RunError, match="at least one run"):
        account([], dataset)
    other = replace(dataset, name="other", test=bars(9))
    prints = f"{dataset.test.fingerprint[:8]}.*{other.test.fingerprint[:8]}"
    with pytest.raises(RunError, match=f"those of 'bars' .*{prints}"):
        account([run], other)
    with pytest.raises(RunError, match="guarismo evaluate"):
        account([make_run(tmp_path / "fresh", dataset)], dataset)
    cut = commit(make_run(tmp_path / "cut", dataset), {}, state="training")
    with pytest.raises(RunError, match=r"cut off after 8 epochs\. Finish it with: guarismo train --resume"):
        account([cut], dataset)
