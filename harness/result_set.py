"""A result set: the folder that a run fills pair by pair, and that a later run takes up where this one stopped.

run.json                    configuration, versions, machine, and the pairs' order
parts/<hash of prompt_id>/  one finished pair: pairs.parquet, batches.parquet, images.parquet
pairs.parquet, ...          all pairs, once the run is closed; the parts are gone then
evaluation_results.json     the pairs as a list of dictionaries
.lock                       held by the run that writes here
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.messages import BatchRow, ImageRow
from harness.durable import ASIDE, replace_file, replace_json, sync
from harness.records import (
    BATCHES_SCHEMA,
    IMAGES_SCHEMA,
    PAIRS_SCHEMA,
    PairRecord,
    Row,
    batches_table,
    images_table,
    pairs_table,
    rows_of,
)
from harness.run_info import LOCK_FILE, ResultSetError, read_continued, read_run_info, write_run_info

SCHEMAS = {"pairs": PAIRS_SCHEMA, "batches": BATCHES_SCHEMA, "images": IMAGES_SCHEMA}


class UnstorableError(ValueError):
    """A record, or the rows of its pair, with values that its table cannot hold."""


class ResultSet:
    """A result set that is open for writing, by this process alone. Made by `open`; a context manager."""

    def __init__(self, folder: Path, order: Sequence[str], lock: int) -> None:
        self.folder = folder
        self._parts = folder / "parts"
        self._order = order
        self._lock = lock
        self._finished: set[str] = set(_table(folder, "pairs")["prompt_id"].to_pylist())

    @classmethod
    def open(cls, folder: Path, run_info: Mapping[str, Any], order: Sequence[str]) -> Self:
        """A new result set in `folder`, or the one that is there, to be continued.

        run_info: plain JSON values; "config" holds the resolved configuration, which a continued run must share.
        order: the prompt ids in the annotation's order.
        Raises ResultSetError where another run holds the folder, where it holds something else or a run of
        another configuration or of an older version, and where it cannot be made.
        """
        read_continued(folder)  # raises before anything is written into a folder that is not ours
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ResultSetError(f"{folder}: cannot be written: {error.strerror}; give another --out") from None
        try:
            with _writing(folder):
                _take(lock, folder)
                write_run_info(folder, run_info, order)
                _clear_unfinished(folder)
            return cls(folder, order, lock)
        except BaseException:
            os.close(lock)
            raise

    def finished(self) -> set[str]:
        """The prompt ids whose records are in."""
        return set(self._finished)

    def reopen(self, prompt_ids: Iterable[str]) -> None:
        """Let these pairs be appended once more; the new record replaces the old one, which stays until then."""
        again = self._finished.intersection(prompt_ids)
        if again:
            self.finalise()  # a part replaces what is in the tables, and so none of these pairs may be a part
            self._finished -= again

    def append(self, record: PairRecord, batches: Iterable[BatchRow], images: Iterable[ImageRow]) -> None:
        """Add a finished pair; once this returns, it survives a kill.

        Raises ResultSetError where the pair has a record already and where it cannot be written, and UnstorableError.
        """
        if record.prompt_id in self._finished:
            raise ResultSetError(f"{self.folder}: pair {record.prompt_id} has a record already")
        name = hashlib.sha256(record.prompt_id.encode("utf-8", "backslashreplace")).hexdigest()
        aside = self._parts / f"{ASIDE}{name}"
        with _writing(self.folder):
            aside.mkdir(parents=True, exist_ok=True)
            try:
                tables = {
                    "pairs": pairs_table([record]),
                    "batches": batches_table(record.prompt_id, batches),
                    "images": images_table(record.prompt_id, images),
                }
                for table_name, table in tables.items():
                    pq.write_table(table, aside / f"{table_name}.parquet")
                    sync(aside / f"{table_name}.parquet")
            except pa.ArrowException as error:
                raise UnstorableError(f"the values of pair {record.prompt_id} cannot be stored: {error}") from error
            sync(aside)
            aside.rename(self._parts / name)
            sync(self._parts)
        self._finished.add(record.prompt_id)

    def finalise(self) -> None:
        """Merge the parts into the tables and remove them. What is cut off here is done again by the next."""
        tables = {name: _ordered(_table(self.folder, name), self._order) for name in SCHEMAS}
        results = [_result(record) for record in rows_of(tables["pairs"], PairRecord)]
        with _writing(self.folder):
            for name, table in tables.items():
                replace_file(self.folder / f"{name}.parquet", partial(pq.write_table, table))
            replace_json(self.folder / "evaluation_results.json", results)
            if self._parts.exists():
                merged = self.folder / f"{ASIDE}parts"
                self._parts.rename(merged)
                shutil.rmtree(merged)

    def close(self) -> None:
        """Merge, and let go of the folder."""
        try:
            self.finalise()
        finally:
            os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def load(folder: Path) -> list[PairRecord]:
        """The records of a result set in the annotation's order; of one that still runs, those that are in.

        What the version that wrote them did not store is None. Raises ResultSetError if the folder is missing or
        holds no result set of a version that can be read.
        """
        order = _run_info(folder)["prompt_ids"]
        return rows_of(_ordered(_table(folder, "pairs"), order), PairRecord)

    @staticmethod
    def measurements(folder: Path) -> Iterator[tuple[PairRecord, list[BatchRow], list[ImageRow]]]:
        """Yield every record with the timed calls and the images of its pair, in the annotation's order.

        The tables are read at the first pair, and the rows of a pair are made when it is reached. Both lists are empty
        where nothing was timed. Raises ResultSetError as `load` does.
        """
        records = ResultSet.load(folder)
        batches, images = _table(folder, "batches"), _table(folder, "images")
        for record in records:
            yield record, _rows_of_pair(batches, record, BatchRow), _rows_of_pair(images, record, ImageRow)

    @staticmethod
    def config(folder: Path) -> dict[str, Any]:
        """The configuration that a result set was made with. Raises ResultSetError as `load` does."""
        config: dict[str, Any] = _run_info(folder)["config"]
        return config


def _run_info(folder: Path) -> dict[str, Any]:
    info = read_run_info(folder)
    if info is None:
        why = "the folder is empty" if folder.is_dir() else "there is no such folder"
        raise ResultSetError(f"{folder}: {why}; give the --out of a run")
    return info


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Says in one line that the disk is full."""
    try:
        yield
    except OSError as error:
        raise ResultSetError(
            f"{folder}: cannot be written: {error.strerror or error}. What is finished is kept; mend that, and the "
            "same command goes on from there"
        ) from error


def _take(lock: int, folder: Path) -> None:
    """Lock the file; it stays locked until it is closed or the process ends, in whatever way."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 200).decode(errors="replace") or "it has just started"
        raise ResultSetError(
            f"{folder}: another run is writing here ({holder}); wait for it, or give another --out"
        ) from None
    except OSError as error:
        raise ResultSetError(f"{folder}: its file system has no locks: {error.strerror}; give another --out") from None
    os.ftruncate(lock, 0)
    os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())


def _clear_unfinished(folder: Path) -> None:
    """Remove what a killed run left half done; a part that cannot be read is no finished pair."""
    for left in (*folder.glob(f"{ASIDE}*"), *folder.glob(f"parts/{ASIDE}*")):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
    for part in folder.glob("parts/*"):
        if any(_read(part, name) is None for name in SCHEMAS):
            shutil.rmtree(part)


def _read(folder: Path, name: str) -> pa.Table | None:
    """One of the tables as today's columns have it, None if its file cannot be read.

    Not by `pq.read_table`, which takes folder names such as lr=3 for columns.
    """
    try:
        with pq.ParquetFile(folder / f"{name}.parquet") as file:
            return _as_of_today(file.read(), SCHEMAS[name])
    except (OSError, pa.ArrowException, KeyError):
        return None


def _as_of_today(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of the schema: of those that an older version lacks the values are null.

    Raises KeyError for one that is never null, and pa.ArrowException for one of another type.
    """
    there = set(table.column_names)
    columns = [
        pa.nulls(len(table), field.type) if field.nullable and field.name not in there else table[field.name]
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _table(folder: Path, name: str) -> pa.Table:
    """The merged table with the parts that are not in it yet."""
    # The parts first: a run may be merging them, and then what has gone from here is in the table.
    new, in_parts = _of_parts(folder, name)
    if not (folder / f"{name}.parquet").exists():
        return new
    old = _read(folder, name)
    if old is None:
        raise ResultSetError(f"{folder / name}.parquet: cannot be read; give another folder")
    # A part replaces its pair's rows: those of an older record, or those that a merge that was cut off has put there.
    replaced = pc.is_in(old["prompt_id"], value_set=in_parts)
    return pa.concat_tables([old.filter(pc.invert(replaced)), new])


def _of_parts(folder: Path, name: str) -> tuple[pa.Table, pa.Array]:
    """The rows of one of the tables in all parts, and the prompt ids of the parts, of which some may have no rows."""
    tables, prompt_ids = [SCHEMAS[name].empty_table()], []
    for part in folder.glob("parts/*"):
        rows, pair = _read(part, name), _read(part, "pairs")
        if not part.name.startswith(ASIDE) and rows is not None and pair is not None:
            tables.append(rows)
            prompt_ids += pair["prompt_id"].to_pylist()
    return pa.concat_tables(tables), pa.array(prompt_ids, pa.string())


def _rows_of_pair(table: pa.Table, record: PairRecord, row: type[Row]) -> list[Row]:
    return rows_of(table.filter(pc.equal(table["prompt_id"], record.prompt_id)), row)


def _ordered(table: pa.Table, order: Sequence[str]) -> pa.Table:
    """The rows in the order of their pairs; within a pair as they were written."""
    places = {prompt_id: place for place, prompt_id in enumerate(order)}
    row_places = [places.get(prompt_id, len(places)) for prompt_id in table["prompt_id"].to_pylist()]
    return table.take(pc.sort_indices(pa.array(row_places, pa.int64())))  # a stable sort


def _result(record: PairRecord) -> dict[str, Any]:
    """An entry of evaluation_results.json."""
    return {
        "prompt_id": record.prompt_id,
        "level": record.level,
        "difficulty": record.difficulty,
        "passed": record.passed,
        "verdict": record.verdict,
        "reason": record.reason,
        "status": record.status,
        "detail": record.detail,
        "speedup": record.speedup,
        "quality_loss": record.quality_loss,
        "baseline_clip": record.baseline_clip,
        "candidate_clip": record.candidate_clip,
        "baseline_seconds_per_image": record.baseline_seconds_per_image,
        "candidate_seconds_per_image": record.candidate_seconds_per_image,
        "requirement": {
            "speedup": record.req_speedup,
            "latency_s": record.req_latency_s,
            "max_quality_loss": record.max_quality_loss,
        },
        "achievement_rate": record.achievement_rate,
    }
