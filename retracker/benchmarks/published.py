"""What others published, read from the one file that holds it, and whether a run can be compared with it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, seven times as fast where it was built
PATH = Path(__file__).with_name("published.yaml")
KINDS = (
    "official repository",
    "paper",
    "third-party transcription",
    "project page",
    "issue thread",
)
ONLINE = ("frame", "windows", "offline")
# The keys of a row, and what each must be.
KEYS: Mapping[str, type] = MappingProxyType(
    {
        "method": str,
        "year": int,
        "metrics": list,
        "values": list,
        "source": list,
        "online": str,
        "depends": bool,
        "requires": dict,
        "category": str,
        "licence": str,
        "note": str,
    }
)
WANTED = ("method", "values", "source")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a number was read."""

    kind: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One method's numbers on one benchmark."""

    method: str
    values: Mapping[str, float]  # by metric; percentages, wherever the benchmark shows the metric in percent
    sources: Sequence[Source]
    requires: Mapping[str, Any] = field(default_factory=dict)  # of a run's protocol, to be comparable
    category: str | None = None  # why they are comparable with no run at all
    year: int | None = None
    online: str | None = None
    depends: bool = False  # whether the answer for a point depends on the other points
    licence: str | None = None
    note: str | None = None

    def unlike(self, protocol: Mapping[str, Any]) -> str | None:
        """What of its conditions a run with this protocol does not share, in words; None if all is alike."""
        wanted = {key: value if isinstance(value, list) else [value] for key, value in self.requires.items()}
        other = [
            f"{key} {' or '.join(map(str, values))}"
            for key, values in wanted.items()
            if protocol.get(key) not in values
        ]
        words = ", ".join([*([self.category] if self.category else []), *other])
        return words or None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What there is of one benchmark."""

    rows: Sequence[Published] = ()
    none: str | None = None  # why there is no row


def load(path: Path = PATH) -> dict[str, Listing]:
    """The published numbers by benchmark. Raises ValueError, naming file and entry, for what is not such."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not yaml ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or set(content) != {"sources", "benchmarks"}:
        raise ValueError(f"{path}: expected the keys sources and benchmarks, got {_names(content)}")
    for key, part in content.items():
        _check(isinstance(part, dict), f"{path}, {key}", "a mapping", part)
    sources = {name: _source(entry, f"{path}, source {name}") for name, entry in content["sources"].items()}
    return {
        name: _listing(entry, sources, f"{path}, {name}") for name, entry in content["benchmarks"].items()
    }


def _source(entry: Any, where: str) -> Source:
    complete = isinstance(entry, dict) and set(entry) == {"kind", "where"}
    _check(complete, where, "kind and where", entry)
    _check(entry["kind"] in KINDS, where, f"a kind of {', '.join(KINDS)}", entry["kind"])
    _check(isinstance(entry["where"], str), where, "where as text", entry["where"])
    return Source(**entry)


def _listing(entry: Any, sources: Mapping[str, Source], where: str) -> Listing:
    known = isinstance(entry, dict) and set(entry) <= {"none", "metrics", "requires", "rows"}
    _check(known, where, "none, or metrics, requires and rows", _names(entry))
    if "none" in entry:
        alone = len(entry) == 1 and isinstance(entry["none"], str)
        _check(alone, where, "none: a reason, and nothing beside it", _names(entry))
        return Listing(none=entry["none"])
    requires, metrics = entry.get("requires", {}), entry.get("metrics")
    _check(isinstance(requires, dict), where, "requires as a mapping", requires)
    _check(isinstance(entry.get("rows"), list) and entry["rows"] != [], where, "rows", entry.get("rows"))
    rows = []
    for number, row in enumerate(entry["rows"], start=1):
        name = row.get("method") if isinstance(row, dict) else None
        at = f"{where}, row {number}" + (f" ({name})" if name else "")
        rows.append(_row(row, {"metrics": metrics, "requires": requires}, sources, at))
    return Listing(rows=rows)


def _row(row: Any, shared: Mapping[str, Any], sources: Mapping[str, Source], where: str) -> Published:
    _check(isinstance(row, dict) and set(row) <= set(KEYS), where, f"keys of {', '.join(KEYS)}", _names(row))
    for key in WANTED:
        _check(key in row, where, f"a {key}", _names(row))
    for key, value in row.items():
        _check(_is(value, KEYS[key]), where, f"{key} as {KEYS[key].__name__}", value)
    _check(row.get("online", "frame") in ONLINE, where, f"online: {', '.join(ONLINE)}", row.get("online"))
    known = row["source"] != [] and all(name in sources for name in row["source"])
    _check(known, where, "names of sources that the file lists", row["source"])
    plain = ("method", "category", "year", "online", "depends", "licence", "note")
    return Published(
        values=_values(row.get("metrics", shared["metrics"]), row["values"], where),
        sources=[sources[name] for name in row["source"]],
        requires={**shared["requires"], **row.get("requires", {})},
        **{key: row[key] for key in plain if key in row},
    )


def _values(metrics: Any, values: list, where: str) -> dict[str, float]:
    named = isinstance(metrics, list) and all(isinstance(metric, str) for metric in metrics)
    _check(named and len(set(metrics)) == len(metrics), where, "metrics, each named once", metrics)
    _check(len(values) == len(metrics), where, f"{len(metrics)} values", values)
    found = {metric: value for metric, value in zip(metrics, values, strict=True) if value is not None}
    numbers = all(_is(value, float) and math.isfinite(value) and value >= 0 for value in found.values())
    _check(found != {} and numbers, where, "values that are numbers, or ~ for one that is not known", values)
    return {metric: float(value) for metric, value in found.items()}


def _is(value: Any, kind: type) -> bool:
    """Whether yaml gave this kind of thing; a whole number is a number, yes and no are not."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind) and value != ""


def _check(fine: bool, where: str, expected: str, got: Any) -> None:
    if not fine:
        raise ValueError(f"{where}: expected {expected}, got {got}")


def _names(entry: Any) -> Any:
    return ", ".join(map(str, entry)) if isinstance(entry, dict) else entry
