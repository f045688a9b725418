"""A finding says itself in words, and as plain values."""

import json

import numpy as np

from guarismo.results.finding import Finding

FOUND = Finding(
    "over-fitting",
    1.5,
    "It over-fits from epoch {turn:count}, by {rise:percent}.",
    "Stop at {turn:count}.",
    {"turn": 1200, "rise": 0.5},
    epochs=(1200,),
    images=np.array([3, 1]),
)


def test_sentence_and_remedy_are_filled_by_the_values():
    assert FOUND.sentence() == "It over-fits from epoch 1,200, by 50.00\u202f%."
    assert FOUND.remedy() == "Stop at 1,200."


def test_names_in_the_values_are_never_read_as_fields():
    odd = Finding("dead-classes", 1, "Class {name} is dead.", "", {"name": "<b>{0} % {x}</b>"})
    assert odd.sentence() == "Class <b>{0} % {x}</b> is dead."


def test_as_json_is_json():
    values = json.loads(json.dumps(FOUND.as_json()))
    assert values["finding"] == "over-fitting" and values["images"] == [3, 1] and values["epochs"] == [1200]
    assert values["sentence"] == FOUND.sentence() and values["classes"] == []
