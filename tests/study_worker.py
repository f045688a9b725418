"""A worker that trains nothing: it takes trials of a study, writes each to a log, and says how good it was.

    python study_worker.py PLAN LOG HANG

PLAN: a pickled Plan; LOG: gets a line "NUMBER SLOT begun" and "… ended" for each trial; HANG: the slot at which this
worker stops for ever, to be killed there.
"""

import pickle
import sys
import time
from functools import partial
from pathlib import Path

from guarismo.tuning import study
from guarismo.tuning.space import suggest


def main(plan_file: str, log_file: str, hang: str) -> None:
    study.SILENCE, study.BEAT, study.PAUSE = 1.0, 0.1, 0.05
    plan = pickle.loads(Path(plan_file).read_bytes())
    with study.at_desk(plan) as desk, Path(log_file).open("a", buffering=1) as log:
        while (trial := study.next_trial(desk)) is not None:
            slot = study.slot_of(study.patiently(desk.study.get_trials), trial.number)
            with study.beating(trial):
                settings = study.patiently(partial(suggest, trial, plan.space, plan.base))
                log.write(f"{trial.number} {slot} begun\n")
                while str(slot) == hang:
                    time.sleep(1)
                study.end(desk, trial.number, "COMPLETE", [settings.learning_rate])
            log.write(f"{trial.number} {slot} ended\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
