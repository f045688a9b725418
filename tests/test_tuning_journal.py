"""The journal: whole again after a writer that was killed or had no room."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from guarismo.tuning.journal import Journal, drop_unfinished
from tiny_run import full_disk


def numbers(journal: Journal) -> list[int]:
    return [line["n"] for line in journal.read_logs(0)]


@pytest.mark.parametrize("content", [b"", b'{"n": 1}\n', b'{"n": 1}\n{"n', b'{"n'])
def test_what_was_left_unfinished_is_cut_off(tmp_path, content):
    path = tmp_path / "study.journal"
    path.write_bytes(content)
    drop_unfinished(path)
    assert path.read_bytes() == content[: content.rfind(b"\n") + 1]


def test_a_half_written_line_spoils_neither_those_before_nor_those_after(tmp_path):
    journal = Journal(tmp_path / "study.journal")
    journal.append_logs([{"n": 1}])
    with full_disk(journal.path.stat().st_size + 3), pytest.raises(OSError):
        journal.append_logs([{"n": 2}])
    assert journal.path.read_bytes().endswith(b'{"n')  # as a killed writer leaves it too
    assert numbers(journal) == [1]
    journal.append_logs([{"n": 3}])
    assert numbers(journal) == numbers(Journal(journal.path)) == [1, 3]


def test_writers_at_the_same_time_wait_for_each_other(tmp_path):
    journals = [Journal(tmp_path / "study.journal") for _ in range(4)]
    with ThreadPoolExecutor(4) as crew:
        list(crew.map(lambda n: journals[n % 4].append_logs([{"n": n}]), range(40)))
    lines = (tmp_path / "study.journal").read_text().splitlines()
    assert sorted(json.loads(line)["n"] for line in lines) == list(range(40))
