"""Writing a bundle: the evidence, its schema and a page a claim, all of it or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from importlib import resources
from pathlib import Path

from prefeq.bundle.canonical import canonical, document_of
from prefeq.bundle.pages import page
from prefeq.claims import claim_ids
from prefeq.claims.report import VerificationReport
from prefeq.errors import ProblemError

EVIDENCE = "evidence.json"
SCHEMA = "evidence.schema.json"


def write_bundle(report: VerificationReport, directory: str | os.PathLike[str]) -> Path:
    """Write the bundle of a report into a directory, which is made if need be.

    ``evidence.json`` is the report's JSON with everything that was found and a digest, in canonical
    form: the same bytes from every run of one version. Beside it are its JSON Schema and one page
    of Markdown a claim, named after its id. Files of these names are replaced, others stay.

    Parameters
    ----------
    report
        What `verify` returned.
    directory
        Where to; files are made beside their final places first and then renamed.

    Returns
    -------
    Path
        The ``evidence.json``.

    Raises
    ------
    ProblemError
        If the directory cannot be made or written.

    Examples
    --------
    >>> import prefeq as pq, tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     made = write_bundle(pq.verify("assumption"), place)
    ...     sorted(path.name for path in made.parent.iterdir())
    ['assumption.md', 'evidence.json', 'evidence.schema.json']
    """
    files = {f"{claim.id}.md": page(claim) for claim in report.claims}
    files[SCHEMA] = schema_text()
    ids = tuple(claim.id for claim in report.claims)
    document = document_of(report.to_dict(), None if ids == claim_ids() else ids)
    files[EVIDENCE] = canonical(document)  # last: it is there if all is
    check_directory(directory)
    target = Path(directory).resolve()
    staged = None
    try:
        target.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=target, prefix=".bundle.", suffix=".tmp"))
        for name, text in files.items():
            (staged / name).write_text(text, encoding="utf-8", newline="\n")
        for name in files:
            (staged / name).replace(target / name)
    except OSError as error:
        reason = error.strerror or error
        raise ProblemError(f"{error.filename or target}: cannot be written ({reason})") from error
    finally:
        if staged is not None:
            with suppress(OSError):
                shutil.rmtree(staged)
    return Path(directory) / EVIDENCE


def schema_text() -> str:
    """Return the JSON Schema of ``evidence.json``."""
    return resources.files("prefeq").joinpath("bundle", SCHEMA).read_text("utf-8")


def check_directory(directory: str | os.PathLike[str]) -> None:
    """Raise a `ProblemError` if no bundle could be written there: better before than after work."""
    target = Path(directory).resolve()
    place = target
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise ProblemError(f"{place}: is not a directory; name another place for the bundle")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ProblemError(f"{place}: cannot be written (permission denied); choose another place")
    for name in (EVIDENCE, SCHEMA):
        if (target / name).is_dir():
            raise ProblemError(f"{target / name}: is a directory; remove it or choose another")
