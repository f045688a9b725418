"""Guarismo: from a pile of small images, or a photo of your own handwriting, to an answer you can trust.

The public names in the order of the flow. Each is loaded at its first use, so importing the package costs nothing.

    dataset = load("digits")
    run = train(dataset, Settings(model="cnn"))
    run, evaluation = evaluate_run(run, dataset)
    write_report([run], dataset, "report.html")

    read(Path("photo.jpg"))[0].text
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guarismo.data.dataset import Dataset as Dataset
    from guarismo.data.dataset import Split as Split
    from guarismo.data.exploration import explore as explore
    from guarismo.data.known import SOURCES as SOURCES
    from guarismo.data.sources import LoadSettings as LoadSettings
    from guarismo.data.sources import load as load
    from guarismo.errors import GuarismoError as GuarismoError
    from guarismo.models.profiling import profile as profile
    from guarismo.models.rates import find_learning_rate as find_learning_rate
    from guarismo.models.runs import Run as Run
    from guarismo.models.runs import open_run as open_run
    from guarismo.models.settings import RECIPES as RECIPES
    from guarismo.models.settings import Settings as Settings
    from guarismo.models.settings import recipe_for as recipe_for
    from guarismo.models.training import MODELS as MODELS
    from guarismo.models.training import resume as resume
    from guarismo.models.training import train as train
    from guarismo.reading.adaptation import adapt as adapt
    from guarismo.reading.adaptation import collect_samples as collect_samples
    from guarismo.reading.reader import Reader as Reader
    from guarismo.reading.reader import Reading as Reading
    from guarismo.reading.reader import open_reader as open_reader
    from guarismo.reading.reader import read as read
    from guarismo.reproduction import reproduce as reproduce
    from guarismo.results.charts import confusion_chart as confusion_chart
    from guarismo.results.charts import learning_curves as learning_curves
    from guarismo.results.charts import reliability_chart as reliability_chart
    from guarismo.results.charts import sample_grid as sample_grid
    from guarismo.results.charts import save_figure as save_figure
    from guarismo.results.comparison import compare as compare
    from guarismo.results.diagnosis import diagnose as diagnose
    from guarismo.results.evaluation import Evaluation as Evaluation
    from guarismo.results.evaluation import evaluate as evaluate
    from guarismo.results.evaluation import evaluate_run as evaluate_run
    from guarismo.results.fusion import fuse as fuse
    from guarismo.results.report import write_report as write_report
    from guarismo.results.survey import write_survey as write_survey
    from guarismo.results.trackers import to_mlflow as to_mlflow
    from guarismo.results.trackers import to_tensorboard as to_tensorboard
    from guarismo.results.why import explain as explain
    from guarismo.results.why_picture import why_figure as why_figure
    from guarismo.terminal import showing as showing
    from guarismo.tuning.search import Search as Search
    from guarismo.tuning.settings import TuneSettings as TuneSettings
    from guarismo.tuning.space import Options as Options
    from guarismo.tuning.space import Range as Range
    from guarismo.tuning.space import Space as Space
    from guarismo.tuning.tune import tune as tune

HOMES = {
    "Dataset": "data.dataset",
    "Split": "data.dataset",
    "LoadSettings": "data.sources",
    "SOURCES": "data.known",
    "load": "data.sources",
    "explore": "data.exploration",
    "write_survey": "results.survey",
    "Settings": "models.settings",
    "RECIPES": "models.settings",
    "recipe_for": "models.settings",
    "MODELS": "models.training",
    "Run": "models.runs",
    "open_run": "models.runs",
    "find_learning_rate": "models.rates",
    "profile": "models.profiling",
    "train": "models.training",
    "resume": "models.training",
    "Reading": "reading.reader",
    "Reader": "reading.reader",
    "read": "reading.reader",
    "open_reader": "reading.reader",
    "collect_samples": "reading.adaptation",
    "adapt": "reading.adaptation",
    "Evaluation": "results.evaluation",
    "evaluate": "results.evaluation",
    "evaluate_run": "results.evaluation",
    "diagnose": "results.diagnosis",
    "explain": "results.why",
    "compare": "results.comparison",
    "fuse": "results.fusion",
    "learning_curves": "results.charts",
    "confusion_chart": "results.charts",
    "reliability_chart": "results.charts",
    "sample_grid": "results.charts",
    "why_figure": "results.why_picture",
    "save_figure": "results.charts",
    "write_report": "results.report",
    "to_tensorboard": "results.trackers",
    "to_mlflow": "results.trackers",
    "Search": "tuning.search",
    "TuneSettings": "tuning.settings",
    "Space": "tuning.space",
    "Range": "tuning.space",
    "Options": "tuning.space",
    "tune": "tuning.tune",
    "reproduce": "reproduction",
    "showing": "terminal",
    "GuarismoError": "errors",
}

__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'guarismo' has no attribute '{name}'")
    return getattr(import_module(f"guarismo.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(HOMES)
