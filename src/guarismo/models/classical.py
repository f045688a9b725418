"""Classical models, one function each: Dataset and Settings in, a fitted scikit-learn estimator out as a Fitted.

All of them hold the images that they learn from in memory, whole, also where a dataset keeps them on disk.

What they take was chosen on validation images of MNIST (54,001 to learn from, 5,999 to choose on, seed 0; seconds of
one core, on a shared machine):

    model     validation   to train   10,000 answers   model.onnx
    boosted      97.63 %      361 s              1 s         2 MB
    knn          97.90 %        4 s              3 s        12 MB
    svm          98.63 %       56 s              2 s         5 MB
    svm-hog      99.30 %       91 s              5 s         8 MB
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guarismo.data.dataset import Dataset, Images
from guarismo.errors import RunError
from guarismo.models.hog import OPSETS, Graph, assembled, constants_of, hog
from guarismo.models.runs import Fitted, answer, open_session
from guarismo.models.settings import Settings
from guarismo.progress import Progress

TREES = 100
TREES_AT_ONCE = 10

ROUNDS = 100
ROUNDS_AT_ONCE = 20

NEIGHBOURS = 9
LEAST_WEIGHT = 1e-5
COMPONENTS = {"knn": 50, "svm": 50, "svm-hog": 100}
"""Principal components that a model stands on, or fewer where there are fewer pixels or images."""
SHARPNESS = 3.0
"""What decisions of the support vector machines are multiplied by before the softmax: the least loss on validation
images of MNIST, 0.046 (5 for 0.058)."""

MOST_IMAGES = {"knn": 60_000, "svm": 60_000, "svm-hog": 60_000}
"""Training images that a model learns from at most; of more, a random part with every class's share. Machines take four
times as long for twice the images, neighbours as many times as long to answer as they are more."""


def forest(dataset: Dataset, settings: Settings, progress: Progress) -> Any:
    """Random forest on the flattened pixels: 100 trees without depth limit, as published (`poly-modality-forest`).

    Grown ten trees at a time for the sake of progress; scikit-learn promises the same forest as in one go.
    """
    from sklearn.ensemble import RandomForestClassifier

    estimator = RandomForestClassifier(warm_start=True, random_state=settings.seed, n_jobs=-1)
    for trees in range(TREES_AT_ONCE, TREES + 1, TREES_AT_ONCE):
        estimator.set_params(n_estimators=trees)
        estimator.fit(flattened(dataset.train.images), dataset.train.labels)
        progress(trees, TREES, trees=trees)
    return estimator


def boosted(dataset: Dataset, settings: Settings, progress: Progress) -> Any:
    """Gradient-boosted trees on the flattened pixels, in histograms as LightGBM's: 100 rounds of a tree per class.

    Each split looks at a tenth of the pixels, and grey values come in 32 bins. L2 of 1 on the leaves keeps steps small:
    without it and with a learning rate of 0.3, 100 rounds on MNIST ended at 31 % of the validation images.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    estimator = HistGradientBoostingClassifier(
        learning_rate=0.2,
        l2_regularization=1.0,
        max_features=0.1,
        max_bins=32,
        early_stopping=False,
        warm_start=True,
        random_state=settings.seed,
    )
    for rounds in range(ROUNDS_AT_ONCE, ROUNDS + 1, ROUNDS_AT_ONCE):
        estimator.set_params(max_iter=rounds)
        estimator.fit(flattened(dataset.train.images), dataset.train.labels)
        progress(rounds, ROUNDS)
    return estimator


def knn(dataset: Dataset, settings: Settings, progress: Progress) -> Any:
    """The 9 nearest neighbours on 50 principal components of the pixels, the nearer counting more (`nearer_more`).

    MNIST's validation: 97.78, 97.85, 97.90, 97.83 % with 30, 40, 50, 65 components; the 784 pixels themselves would
    make a file of 169 MB. With 5 neighbours 97.82, with 16 97.90 %; one vote for each of 9, 97.37 %. Accuracy on the
    training images says nothing here: each is its own nearest neighbour.
    """
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline

    seen = features("knn", dataset.train.images)
    nearest = KNeighborsClassifier(min(NEIGHBOURS, len(seen)), weights=nearer_more, algorithm="brute")
    estimator = make_pipeline(principal_components("knn", seen, settings), nearest).fit(seen, dataset.train.labels)
    progress(1, 1)
    return estimator


def svm(dataset: Dataset, settings: Settings, progress: Progress) -> Any:
    """Support vector machines with an RBF kernel on 50 principal components of the pixels (`machines`)."""
    return machines("svm", dataset, settings, progress)


def svm_hog(dataset: Dataset, settings: Settings, progress: Progress) -> Any:
    """Support vector machines with an RBF kernel on 100 principal components of histograms of gradients (`hog`).

    8,000 training and 3,000 validation images of MNIST: 98.23, 98.43, 98.23 % with 60, 100, 150 components.
    """
    return machines("svm-hog", dataset, settings, progress)


CLASSICAL: dict[str, Callable[[Dataset, Settings, Progress], Any]] = {
    "forest": forest,
    "boosted": boosted,
    "knn": knn,
    "svm": svm,
    "svm-hog": svm_hog,
}


def machines(model: str, dataset: Dataset, settings: Settings, progress: Progress) -> Any:
    """One machine for each class against the rest, a thread each; γ = 1 / (components · their variance).

    Against the rest, not each pair: pairs vote, and a vote jumps where a decision passes 0, so that float32 and
    float64 would answer otherwise now and then. It is also more accurate (10,000 images of MNIST: 97.05 against 96.70 %
    of the validation images) and takes 3.4 times as long. Probabilities are the softmax of the decisions: SVC's own
    are on their way out of scikit-learn, and cross-validated ones would train five times.
    """
    from joblib import parallel_config
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    seen = features(model, dataset.train.images)
    progress(1, 3)
    components = principal_components(model, seen, settings).fit(seen)
    placed = components.transform(seen)
    progress(2, 3)
    machine = OneVsRestClassifier(SVC(C=5, gamma="scale", cache_size=500), n_jobs=-1)
    with parallel_config(backend="threading"):  # libsvm works without Python's lock
        machine.fit(placed, dataset.train.labels)
    progress(3, 3)
    return make_pipeline(components, machine)


def principal_components(model: str, seen: NDArray[np.float32], settings: Settings) -> Any:
    from sklearn.decomposition import PCA

    return PCA(min(COMPONENTS[model], *seen.shape), random_state=settings.seed)


def nearer_more(distances: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Weights (n, k) of neighbours at distances (n, k): 1 − d² / h², where h is the farthest one's.

    The kernel of Epanechnikov over a neighbourhood that adapts, as in Hechenbichler and Schliep, "Weighted k-nearest-
    neighbor techniques and ordinal classification" (2004). A neighbour enters with weight 0, so answers do not jump
    where two are equally far. One grey value squared keeps h from 0, and LEAST_WEIGHT the sum.
    """
    squares = distances**2
    reach = squares.max(axis=1, keepdims=True) + 1
    return np.asarray((1 + LEAST_WEIGHT) - squares / reach)


def flattened(images: Images) -> NDArray[np.float32]:
    """(n, h, w, c) → float32 (n, h·w·c), what scikit-learn and its ONNX form both read. All in memory at once."""
    return np.asarray(images).reshape(len(images), -1).astype(np.float32)


def features(model: str, images: Images) -> NDArray[np.float32]:
    """What the model's estimator sees of images uint8 (n, h, w, c): float32 (n, features)."""
    if model not in DOORS:
        return flattened(images)
    shape = images.shape[1:]
    return answer(open_session(assembled([DOORS[model](shape)], shape, "features")), images, 0)


def probabilities(estimator: Any, seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities float32 (n, classes) for features (n, f): the softmax of decisions where there are only these."""
    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(seen), dtype=np.float32)
    from scipy.special import softmax

    decisions = estimator.decision_function(seen).reshape(len(seen), -1)
    return np.asarray(softmax(SHARPNESS * decisions @ spread(decisions.shape[1]), axis=1), dtype=np.float32)


def spread(scores: int) -> NDArray[np.float64]:
    """Float64 (scores, classes): one score for each class, or the single one by which two classes are told apart."""
    return np.array([[-0.5, 0.5]]) if scores == 1 else np.eye(scores)


def fit_classical(dataset: Dataset, settings: Settings, progress: Progress) -> Fitted:
    """Train the classical model of `settings`. Cut off, it starts again from nothing, to the same result.

    model.skops opens with `skops.io.load`, told to trust scikit-learn's own classes and, for `knn`, our `nearer_more`.
    Raises RunError when the images do not fit into memory.
    """
    import skops.io  # from the [train] extra

    model = settings.model
    part = part_of(dataset, MOST_IMAGES.get(model, len(dataset.train)), settings.seed)
    with enough_memory(part):
        estimator = CLASSICAL[model](part, settings, progress)
        graphs = graphs_of(model, estimator, dataset.shape)
        content = {"model.onnx": assembled(graphs, dataset.shape), "model.skops": skops.io.dumps(estimator)}
    facts = {"scikit-learn": version("scikit-learn"), "arithmetic": "float32"}
    rows = [
        {"layer": graph.layer, "output": str(graph.width), "parameters": graph.parameters}
        for graph in graphs
        if graph.layer
    ]
    if part is not dataset:
        drawn = f"{len(part.train):,} of {len(dataset.train):,} training images, drawn at random"
        facts["learnt_from"] = drawn
        rows.insert(0, {"layer": drawn, "output": "", "parameters": 0})
    return Fitted(
        files=content,
        predict=lambda images: probabilities(estimator, features(model, images)),
        parameters=sum(graph.parameters for graph in graphs),
        architecture=rows,
        facts=facts,
    )


def part_of(dataset: Dataset, most: int, seed: int) -> Dataset:
    """The dataset with at most so many training images: a random part, every class with its share and at least one."""
    labels = dataset.train.labels
    if len(labels) <= most:
        return dataset
    rng = np.random.default_rng(seed)
    members = [rng.permutation(np.flatnonzero(labels == label)) for label in range(len(dataset.class_names))]
    kept = [rows[: max(1, len(rows) * most // len(labels))] for rows in members]
    return replace(dataset, train=dataset.train.take(np.sort(np.concatenate(kept))))


@contextmanager
def enough_memory(dataset: Dataset) -> Iterator[None]:
    """Raises RunError, with how much it would be, in place of MemoryError."""
    try:
        yield
    except MemoryError:
        count, values = len(dataset.train), math.prod(dataset.shape)
        raise RunError(
            f"A classical model holds its {count:,} images in memory, {count * values * 4 / 2**30:,.1f} GB and more; "
            "there is not so much. Load fewer (--limit) or smaller ones (--size), or train a network."
        ) from None


def graphs_of(model: str, estimator: Any, shape: tuple[int, int, int]) -> list[Graph]:
    """What leads from "images" to "probabilities", piece by piece."""
    door = DOORS.get(model, flat)(shape)
    if model == "forest":
        return [door, grown(estimator, door.width)]
    if model == "boosted":
        return [door, summed(estimator)]
    components, last = (step for _, step in estimator.steps)
    return [door, projected(components), nearest(last) if model == "knn" else supported(last)]


def flat(shape: tuple[int, int, int]) -> Graph:
    """From "images" to "features": the pixels as they are."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["values"], ["features"], axis=1),
    ]
    return Graph("", math.prod(shape), nodes)


DOORS: dict[str, Callable[[tuple[int, int, int]], Graph]] = {"svm-hog": hog}
"""What lies between the images and an estimator that sees something else than their pixels."""


def grown(forest: Any, width: int) -> Graph:
    """From "features" to "probabilities" as skl2onnx writes a forest; its parameters are the nodes of its trees."""
    import skl2onnx  # from the [train] extra
    from skl2onnx.common.data_types import FloatTensorType

    seen = [("features", FloatTensorType([None, width]))]
    model = skl2onnx.to_onnx(forest, initial_types=seen, options={"zipmap": False})
    nodes = sum(int(tree.tree_.node_count) for tree in forest.estimators_)
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    name = f"{len(forest.estimators_)} decision trees"
    return Graph(name, len(forest.classes_), model.graph.node, model.graph.initializer, nodes, opsets)


def summed(boosted: Any) -> Graph:
    """From "features" to "probabilities": the softmax of each class's sum of trees; the parameters are their nodes.

    skl2onnx 1.20 fails here: it hands booleans to onnx 1.23, which takes them for no numbers.
    """
    from onnx import helper

    trees = [tree.nodes for trees_of_round in boosted._predictors for tree in trees_of_round]
    classes = len(boosted._predictors[0])
    nodes, sizes = np.concatenate(trees), [len(tree) for tree in trees]
    tree_of, place = np.repeat(np.arange(len(trees)), sizes), np.concatenate([np.arange(size) for size in sizes])
    leaf = nodes["is_leaf"].astype(bool)
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["sums"],
        domain="ai.onnx.ml",
        n_targets=classes,
        base_values=boosted._baseline_prediction.ravel().tolist(),
        nodes_treeids=tree_of.tolist(),
        nodes_nodeids=place.tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_featureids=np.where(leaf, 0, nodes["feature_idx"]).tolist(),
        nodes_values=np.where(leaf, 0, nodes["num_threshold"]).tolist(),
        nodes_truenodeids=np.where(leaf, 0, nodes["left"]).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, nodes["right"]).tolist(),
        target_treeids=tree_of[leaf].tolist(),
        target_nodeids=place[leaf].tolist(),
        target_ids=(tree_of[leaf] % classes).tolist(),
        target_weights=nodes["value"][leaf].tolist(),
    )
    return Graph(
        f"{len(trees)} boosted trees",
        len(boosted.classes_),
        [
            ensemble,
            helper.make_node("MatMul", ["sums", "spread"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        ],
        constants_of(spread=spread(classes).astype(np.float32)),
        len(nodes),
        {**OPSETS, "ai.onnx.ml": 3},
    )


def projected(pca: Any) -> Graph:
    """From "features" to "components"."""
    from onnx import helper

    nodes = [
        helper.make_node("Sub", ["features", "mean"], ["centred"]),
        helper.make_node("MatMul", ["centred", "directions"], ["components"]),
    ]
    constants = constants_of(mean=pca.mean_.astype(np.float32), directions=pca.components_.T.astype(np.float32))
    width = len(pca.components_)
    return Graph("Principal components", width, nodes, constants, pca.mean_.size + pca.components_.size)


def squared_distances(places: str, references: NDArray[np.floating[Any]]) -> tuple[list[Any], list[Any]]:
    """Nodes and constants from `places` (n, d) to "squares" (n, m): squared distances to "references" (m, d)."""
    from onnx import helper

    nodes = [
        helper.make_node("ReduceSumSquare", [places, "second_axis"], ["own"]),
        helper.make_node("Gemm", [places, "references", "theirs"], ["mixed"], alpha=-2.0, transB=1),
        helper.make_node("Add", ["own", "mixed"], ["rounded"]),
        helper.make_node("Relu", ["rounded"], ["squares"]),
    ]
    theirs = (references**2).sum(axis=1)
    return nodes, constants_of(second_axis=np.array([1]), references=references, theirs=theirs)


def nearest(neighbours: Any) -> Graph:
    """From "components" to "probabilities" by `nearer_more`, with distances to the few nearest taken anew: as
    differences they are exact where the products of `squared_distances` lose digits."""
    from onnx import helper

    references, labels = neighbours._fit_X.astype(np.float32), neighbours._y
    nodes, constants = squared_distances("components", references)
    node = helper.make_node
    nodes += [
        node("TopK", ["squares", "count"], ["near_squares", "near"], axis=1, largest=0),
        node("Gather", ["references", "near"], ["near_references"], axis=0),
        node("Unsqueeze", ["components", "second_axis"], ["itself"]),
        node("Sub", ["near_references", "itself"], ["differences"]),
        node("ReduceSumSquare", ["differences", "last_axis"], ["exact"], keepdims=0),
        node("ReduceMax", ["exact", "second_axis"], ["farthest"]),
        node("Add", ["farthest", "grey"], ["reach"]),
        node("Div", ["exact", "reach"], ["share"]),
        node("Sub", ["full", "share"], ["weights"]),
        node("Gather", ["labels", "near"], ["near_labels"], axis=0),
        node("OneHot", ["near_labels", "classes", "off_on"], ["members"], axis=-1),
        node("Unsqueeze", ["weights", "second_axis"], ["weights_row"]),
        node("MatMul", ["weights_row", "members"], ["votes_row"]),
        node("Squeeze", ["votes_row", "second_axis"], ["votes"]),
        node("ReduceSum", ["votes", "second_axis"], ["all_votes"]),
        node("Div", ["votes", "all_votes"], ["probabilities"]),
    ]
    classes = len(neighbours.classes_)
    constants += constants_of(
        count=np.array([neighbours.n_neighbors]),
        last_axis=np.array([2]),
        grey=np.array([1], dtype=np.float32),
        full=np.array([1 + LEAST_WEIGHT], dtype=np.float32),
        labels=labels.astype(np.int64),
        classes=np.array([classes]),
        off_on=np.array([0, 1], dtype=np.float32),
    )
    name = f"{neighbours.n_neighbors} nearest of {len(references):,} images"
    return Graph(name, classes, nodes, constants, references.size)


def supported(machines: Any) -> Graph:
    """From "components" to "probabilities": the machines' decisions, then the softmax of `probabilities`.

    In float64 up to the softmax: in float32 the sums over 1,790 vectors were wrong by 2e-5 of a probability (`digits`).
    """
    from onnx import TensorProto, helper

    ones = machines.estimators_
    vectors_used, first, place = np.unique(
        np.concatenate([one.support_ for one in ones]), return_index=True, return_inverse=True
    )
    vectors = np.concatenate([one.support_vectors_ for one in ones])[first]
    weights = np.zeros((len(vectors_used), len(ones)))
    weights[place, np.repeat(np.arange(len(ones)), [len(one.support_) for one in ones])] = np.concatenate(
        [one.dual_coef_[0] for one in ones]
    )
    scaling = SHARPNESS * spread(len(ones))
    between, constants = squared_distances("places", vectors)
    node = helper.make_node
    nodes = [
        node("Cast", ["components"], ["places"], to=TensorProto.DOUBLE),
        *between,
        node("Mul", ["squares", "minus_gamma"], ["exponents"]),
        node("Exp", ["exponents"], ["kernel"]),
        node("Gemm", ["kernel", "weights", "offsets"], ["decisions"]),
        node("Cast", ["decisions"], ["scores"], to=TensorProto.FLOAT),
        node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    constants += constants_of(
        minus_gamma=np.array([-ones[0]._gamma]),
        weights=weights @ scaling,
        offsets=np.concatenate([one.intercept_ for one in ones]) @ scaling,
    )
    name = f"{len(vectors_used):,} support vectors"
    return Graph(
        name, len(machines.classes_), nodes, constants, vectors.size + int(np.count_nonzero(weights)) + len(ones)
    )
