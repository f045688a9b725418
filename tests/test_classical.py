"""Classical models: the same Run, the same answers through ONNX Runtime."""

import numpy as np
import pytest

from guarismo.models.settings import Settings

pytest.importorskip("skl2onnx", reason="training is the [train] extra")

from guarismo.models.classical import TREES, flattened, forest
from guarismo.progress import silent


def test_a_forest_answers_through_onnx_as_scikit_learn_does(bars, forest_run):
    estimator = forest(bars, Settings(model="forest"), silent)
    expected = estimator.predict_proba(flattened(bars.test.images))
    np.testing.assert_allclose(forest_run.predict(bars.test.images), expected, atol=1e-5)


def test_a_forest_grown_in_steps_is_the_forest_grown_at_once(bars):
    from sklearn.ensemble import RandomForestClassifier

    steps = forest(bars, Settings(model="forest", seed=3), silent)
    once = RandomForestClassifier(TREES, random_state=3).fit(flattened(bars.train.images), bars.train.labels)
    pixels = flattened(bars.test.images)
    np.testing.assert_array_equal(steps.predict_proba(pixels), once.predict_proba(pixels))


def test_a_forest_tells_how_far_it_is(bars):
    told = []
    forest(bars, Settings(model="forest"), lambda done, total, **_: told.append((done, total)))
    assert told[0] == (10, 100) and told[-1] == (100, 100)


def test_the_run_counts_the_nodes_of_its_trees(forest_run):
    assert forest_run.about["parameters"] > TREES
    assert forest_run.about["architecture"][0]["layer"] == "100 decision trees"
    assert forest_run.history == []
