"""A run over many bags: checked first, resumed where it stood, in one process or several."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alpamayo_ros.audit.codec import from_json, to_json
from alpamayo_ros.evaluation.bag import BagResult, check_bag, evaluate_bag
from alpamayo_ros.evaluation.figures import SCHEMA, VERSION, evaluation_of
from alpamayo_ros.evaluation.row import Row
from alpamayo_ros.evaluation.work import BagWork, EvaluationSettings, Policy, Progress
from alpamayo_ros.sensing.rig import Rig
from alpamayo_ros.sim.json_file import write_json
from alpamayo_ros.types import InvalidInput

EVALUATION_FILE, ROWS_FILE, SETTINGS_FILE, PLANS_FOLDER = (
    "evaluation.json",
    "rows.jsonl",
    "settings.json",
    "plans",
)


def run_evaluation(
    bags: Sequence[BagWork],
    rig: Rig,
    settings: EvaluationSettings,
    *,
    out: Path,
    about: Mapping[str, Any],
    policy: Policy | None = None,
    jobs: int = 1,
    progress: Progress = lambda name, done_s, all_s, plans: None,
) -> dict[str, Any]:
    """Evaluate bags, write evaluation.json and rows.jsonl, and return the content of the former.

    Plans are in `plans/` as soon as they are made, so a run that was killed goes on where it stood. It must
    be the same run: other bags or settings are refused.

    Args:
        bags: by different names.
        rig: names their topics.
        settings: what is looked at.
        out: the run's folder, made if need be.
        about: who plans, for the record.
        policy: who plans, in mode "checkpoint".
        jobs: processes; each loads the policy for itself.
        progress: told how far each bag is.

    Raises:
        InvalidInput: for a bag that cannot be evaluated (before any work), settings that are not those that
            the run began with, or what the policy raises.
    """
    if jobs < 1:
        raise InvalidInput(f"jobs: expected at least 1, got {jobs}")
    identities = {work.name: check_bag(work, rig, settings) for work in bags}
    _take_up(out, {"settings": settings.as_dict(), "bags": identities})
    with _alone(out):
        return _run(bags, rig, settings, out=out, about=about, policy=policy, jobs=jobs, progress=progress)


def _run(
    bags: Sequence[BagWork],
    rig: Rig,
    settings: EvaluationSettings,
    *,
    out: Path,
    about: Mapping[str, Any],
    policy: Policy | None,
    jobs: int,
    progress: Progress,
) -> dict[str, Any]:
    results = sorted(
        _evaluate_all(bags, rig, settings, out=out, policy=policy, jobs=jobs, progress=progress),
        key=lambda result: [work.name for work in bags].index(result.name),
    )
    if not any(result.rows for result in results):
        reasons = sorted({reason for result in results for reason in result.facts["left_out"]})
        raise InvalidInput(
            "evaluation: expected at least one instant with a plan, a history and a second of drive after it,"
            f" got none; left out for: {', '.join(reasons) or 'nothing: there were no plans at all'}"
        )
    content = evaluation_of(results, settings, about)
    _write_rows(out / ROWS_FILE, results)
    write_json(out / EVALUATION_FILE, content)
    return content


def read_evaluation(folder: Path) -> tuple[dict[str, Any], list[Row]]:
    """Return what a finished run wrote.

    Raises:
        InvalidInput: for a folder that holds no finished run, or one of another version.
    """
    path = folder / EVALUATION_FILE
    if not path.is_file():
        raise InvalidInput(f"{folder}: expected a finished evaluation with {EVALUATION_FILE}, got none")
    try:
        content = json.loads(path.read_text("utf-8"))
        found = (content.get("schema"), content.get("version"))
    except (ValueError, AttributeError) as error:
        raise InvalidInput(f"{path}: expected an evaluation as JSON, got: {error}") from error
    if found != (SCHEMA, VERSION):
        raise InvalidInput(f"{path}: expected {SCHEMA} of version {VERSION}, got {found[0]} of {found[1]}")
    rows_path = folder / ROWS_FILE
    if not rows_path.is_file():
        raise InvalidInput(f"{folder}: expected {ROWS_FILE} beside {EVALUATION_FILE}, got none")
    rows = []
    with rows_path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                rows.append(from_json(Row, json.loads(line), name="row"))
            except ValueError as error:
                raise InvalidInput(f"{rows_path}:{number}: expected a row, got: {error}") from error
    return content, rows


def _write_rows(path: Path, results: Sequence[BagResult]) -> None:
    unfinished = path.with_name(f".{path.name}")
    with unfinished.open("w", encoding="utf-8") as file:
        for result in results:
            for row in result.rows:
                file.write(json.dumps(to_json(row), ensure_ascii=False, allow_nan=False) + "\n")
    unfinished.replace(path)


def _take_up(out: Path, run: dict[str, Any]) -> None:
    """Begin a run in a folder, or go on with the same one.

    Raises:
        InvalidInput: for a folder with another run in it, naming what differs.
    """
    path = out / SETTINGS_FILE
    run = {"schema": SCHEMA, "version": VERSION, **run}
    if not path.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InvalidInput(
                f"--out: expected a new folder or an evaluation's, got {out} with other things"
            )
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, run)
        return
    try:
        before = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{path}: expected JSON, got: {error}") from error
    for section in ("settings", "bags"):
        then, now = before.get(section, {}), run[section]
        for name in sorted({*then, *now}):
            if then.get(name) != now.get(name):
                kind = {"settings": "setting", "bags": "bag"}[section]
                raise InvalidInput(
                    f"--out {out}: expected the run that it holds, with {kind} {name} "
                    f"{then.get(name, 'not there')}, got {now.get(name, 'none')}; take another folder"
                )
    if (before.get("schema"), before.get("version")) != (SCHEMA, VERSION):
        raise InvalidInput(f"--out {out}: expected a run of version {VERSION}, got {before.get('version')}")


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep another process from writing the same run; raises InvalidInput where one does already."""
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidInput(f"--out {out}: expected nobody else at work there, got another run") from error
        yield


def _evaluate_all(
    bags: Sequence[BagWork],
    rig: Rig,
    settings: EvaluationSettings,
    *,
    out: Path,
    policy: Policy | None,
    jobs: int,
    progress: Progress,
) -> Iterator[BagResult]:
    common = (rig, settings, policy, out / PLANS_FOLDER, min(jobs, len(bags)))
    if jobs == 1 or len(bags) == 1:
        for work in bags:
            yield _evaluate(work, *common, progress)
        return
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        told = manager.Queue()
        with (
            _relayed(told, progress),
            ProcessPoolExecutor(min(jobs, len(bags)), mp_context=context) as pool,
        ):
            futures = [pool.submit(_evaluate_elsewhere, work, *common, told) for work in bags]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BrokenProcessPool as error:
                raise InvalidInput(
                    "--jobs: expected processes that live, got one that was killed (out of memory?); "
                    "call it again, perhaps with fewer, to go on where it stood"
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _evaluate(
    work: BagWork,
    rig: Rig,
    settings: EvaluationSettings,
    policy: Policy | None,
    folder: Path,
    jobs: int,
    progress: Progress,
) -> BagResult:
    return evaluate_bag(work, rig, settings, policy=policy, folder=folder, jobs=jobs, progress=progress)


def _evaluate_elsewhere(
    work: BagWork,
    rig: Rig,
    settings: EvaluationSettings,
    policy: Policy | None,
    folder: Path,
    jobs: int,
    told: Any,
) -> BagResult:
    """Do the same in a worker process; its progress goes through a queue."""
    return _evaluate(work, rig, settings, policy, folder, jobs, lambda *step: told.put(step))


@contextmanager
def _relayed(told: Any, progress: Progress) -> Iterator[None]:
    """Tell `progress` what comes through a queue, in a thread of its own."""
    over = threading.Event()

    def relay() -> None:
        while not over.is_set():
            try:
                progress(*told.get(timeout=0.2))
            except queue.Empty:
                continue

    thread = threading.Thread(target=relay, name="evaluation-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
