"""Teaching a hand over HTTP: samples, undo, reading with it, keeping and forgetting it."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import requests

from guarismo.data.sources import load
from guarismo.models.runs import open_run
from guarismo.reading.reader import SHIPPED
from guarismo.serving import hands
from guarismo.serving.hands import Hands
from guarismo.serving.problems import Problem
from served import Served, serving
from test_serving_detail import drawing, pixels_of
from tiny_run import full_disk


def samples(*places: int, wrong: int = 0) -> dict:
    """Digits of the embedded test images as the page sends them, labels off by `wrong`."""
    digits = load("digits").test
    return {
        "samples": [
            {"image": digits.images[place, ..., 0].tolist(), "label": int(digits.labels[place] + wrong) % 10}
            for place in places
        ]
    }


@pytest.fixture
def hand(served: Served):
    answer = served.post("/v1/hands")
    assert answer.status_code == 201
    path = f"/v1/hands/{answer.json()['hand']}"
    yield path
    delete(served, path)


def delete(served: Served, path: str) -> requests.Response:
    return requests.delete(served.url + path, timeout=60)


def test_names_of_hands_cannot_be_guessed(served):
    names = {served.post("/v1/hands").json()["hand"] for _ in range(3)}
    assert len(names) == 3 and all(len(name) == 22 for name in names)


def test_a_hand_is_taught_read_undone_and_forgotten(served, hand):
    first = served.post(f"{hand}/samples", json=samples(0, 1, 2)).json()
    assert first["learnt"] and first["samples"] == 3 and sum(first["counts"].values()) == 3
    assert first["after"]["of"] == first["before"]["of"] == 3 and first["after"]["mnist"] > 0.9
    assert len(first["answers"]) == 3
    assert not {"about", "lengths"} & set(first)

    second = served.post(f"{hand}/samples", json=samples(3)).json()
    assert second["samples"] == 4

    undone = delete(served, f"{hand}/samples/last").json()
    assert undone == first

    blank = delete(served, f"{hand}/samples/last").json()
    assert (blank["samples"], blank["learnt"]) == (0, False)
    assert delete(served, f"{hand}/samples/last").status_code == 409

    assert delete(served, hand).status_code == 204
    assert served.post(f"{hand}/samples", json=samples(0)).status_code == 404


def test_a_drawing_is_read_with_the_hand(served, hand):
    name = hand.rpartition("/")[2]
    plain = served.post("/v1/read?detail=glyphs&drawn=1", data=drawing(), headers={"Content-Type": "image/png"}).json()
    glyph = plain["digits"][1]
    served.post(f"{hand}/samples", json={"samples": [{"image": pixels_of(glyph["image"]).tolist(), "label": 1}]})
    address = f"/v1/read?detail=glyphs&drawn=1&hand={name}"
    taught = served.post(address, data=drawing(), headers={"Content-Type": "image/png"}).json()
    assert taught["text"] == "71"
    assert taught["digits"][1]["probabilities"][1] >= glyph["probabilities"][1]
    assert taught["digits"][1]["image"] == glyph["image"]


def test_labels_that_are_surely_wrong_are_not_learnt(served, hand):
    answer = served.post(f"{hand}/samples", json=samples(*range(12), wrong=1)).json()
    assert not answer["learnt"] and "Check the labels" in answer["message"]
    assert served.post(f"{hand}/keep").status_code == 409


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"samples": []},
        {"samples": [7]},
        {"samples": [{"label": 7}]},
        {"samples": [{"image": [[0] * 28] * 28, "label": 10}]},
        {"samples": [{"image": [[0] * 28] * 28, "label": True}]},
        {"samples": [{"image": [[0] * 27] * 28, "label": 1}]},
    ],
)
def test_what_are_no_samples_is_refused(served, hand, body):
    answer = served.post(f"{hand}/samples", json=body)
    assert answer.status_code == 422 and answer.headers["Content-Type"] == "application/problem+json"


def test_a_hand_is_kept_as_a_run_only_when_asked(tmp_path):
    runs = tmp_path / "runs"
    with serving(tmp_path / "log", "--runs", runs, "--workers", 1) as server:
        hand = f"/v1/hands/{server.post('/v1/hands').json()['hand']}"
        server.post(f"{hand}/samples", json=samples(0, 1))
        assert not runs.exists()
        kept = server.post(f"{hand}/keep")
        assert kept.status_code == 201
        run = open_run(runs / kept.json()["run"])
        assert run.arrays("samples")["images"].shape == (2, 28, 28)
        assert run.about["adapted"]["from"]["name"] == "the reader of the package"


# The store


@pytest.fixture
def store(tmp_path) -> Hands:
    return Hands(SHIPPED, tmp_path / "runs")


def test_the_hand_that_was_not_used_for_the_longest_time_makes_room(store, monkeypatch):
    monkeypatch.setattr(hands, "MOST_HANDS", 2)

    async def scene():
        first, second = await store.begin(), await store.begin()
        store.find(first)
        third = await store.begin()
        store.find(first), store.find(third)
        with pytest.raises(Problem, match="was forgotten"):
            store.find(second)
        await store.stop()

    asyncio.run(scene())


def test_a_hand_is_forgotten_after_its_time(store, monkeypatch):
    async def scene():
        name = await store.begin()
        monkeypatch.setattr(hands, "LONGEST", -1.0)
        with pytest.raises(Problem, match="was forgotten") as problem:
            store.find(name)
        assert problem.value.status == 404
        await store.stop()

    asyncio.run(scene())


def taught(store: Hands) -> hands.Hand:
    """A hand that learnt two digits, in this process."""
    digits = load("digits").test
    post = digits.images[:2, ..., 0], digits.labels[:2].astype(np.uint8)

    async def scene() -> hands.Hand:
        hand = store.find(await store.begin())
        await store.teach(hand, [post])
        await store.stop()
        return hand

    return asyncio.run(scene())


def test_a_lesson_that_fails_leaves_the_hand_as_it_was(store, monkeypatch):
    hand = taught(store)
    before = hand.lesson

    async def scene():
        with pytest.raises(Problem, match="stopping"):
            await store.teach(hand, [*hand.posts, *hand.posts])

    asyncio.run(scene())
    assert len(hand.posts) == 1 and hand.lesson is before


def test_a_full_disk_keeps_nothing_and_the_hand_stays(store, tmp_path):
    hand = taught(store)
    with full_disk(), pytest.raises(hands.RunError, match="Cannot write"):
        hands.keep_lesson(hand.lesson, store.runs)
    assert [path for path in Path(store.runs).rglob("*") if path.is_file()] == []
    assert open_run(store.runs / hands.keep_lesson(hand.lesson, store.runs)).finished
