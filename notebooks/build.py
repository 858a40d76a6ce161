#!/usr/bin/env python3
"""Execute the notebooks: each `NN_name.py` (jupytext, percent format) becomes `NN_name.ipynb`.

    python notebooks/build.py                 # all of them
    python notebooks/build.py 03_failure_modes

The same sources give the same files: no dates, no host, cells numbered, figures as small PNG.
Whatever warns or raises in a cell stops the build. Nothing is registered with Jupyter.
"""

from __future__ import annotations

import argparse
import base64
import copy
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent

WIDGET = "application/vnd.jupyter.widget-view+json"
PNG = "image/png"

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}

# Figures for screens of any kind; fonts looked up before, so that no cell tells of it. What is
# ignored is the kernel's own, when it shuts down.
PRELUDE = """\
import warnings
import matplotlib.font_manager
from matplotlib_inline.config import InlineBackend
InlineBackend.instance(parent=get_ipython()).figure_formats = {"retina"}
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "For consistency across impl", PendingDeprecationWarning)
"""

COLOURS = 64


class ThisInterpreter(KernelSpecManager):
    """Knows one kernel: the Python that runs this."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name=KERNEL["display_name"], language="python")


class Client(NotebookClient):
    """Starts kernels of this interpreter, which talk over files in `folder`."""

    folder = ""

    def create_kernel_manager(self) -> AsyncKernelManager:
        self.km = AsyncKernelManager(
            kernel_spec_manager=ThisInterpreter(),
            connection_file=f"{self.folder}/kernel.json",
            # the names of files that are sockets may not be long
            transport="ipc" if os.name == "posix" and len(self.folder) < 80 else "tcp",
        )
        return self.km


def sources(names: list[str] | None = None) -> list[Path]:
    """Return the .py of the notebooks, all or some, in order."""
    found = {path.stem: path for path in sorted(HERE.glob("[0-9][0-9]_*.py"))}
    for name in names or ():
        if name not in found:
            raise SystemExit(f"build.py: no notebook {name!r}; there are {', '.join(found)}")
    return [found[name] for name in names or found]


def read(source: Path) -> Any:
    """Return the notebook of a .py, not executed, with the metadata that are committed."""
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.from_dict(
        {
            "jupytext": {"formats": "ipynb,py:percent"},
            "kernelspec": KERNEL,
            "language_info": {"name": "python", "file_extension": ".py"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number:02}"
        cell.metadata = nbformat.from_dict({})
    return notebook


def run(notebook: Any, *more: str) -> tuple[Any, list[list[Any]]]:
    """Execute a copy of a notebook, then `more` code; return the copy, tidied, and more's outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell raises or warns.
    """
    executed = copy.deepcopy(notebook)
    count = len(executed.cells)
    executed.cells.insert(0, nbformat.v4.new_code_cell(PRELUDE))
    executed.cells += [nbformat.v4.new_code_cell(code) for code in more]
    # A debugger in the kernel would warn of frozen modules; columns as in a wide terminal.
    env = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1", "COLUMNS": "100"}
    with tempfile.TemporaryDirectory(prefix="nb") as folder:
        client = Client(
            executed,
            timeout=300,  # of a cell
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(HERE)}},
        )
        client.folder = folder
        client.execute(env=env)
    extra = [cell.outputs for cell in executed.cells[count + 1 :]]
    executed.cells = executed.cells[1 : count + 1]
    return tidy(executed), extra


def tidy(notebook: Any) -> Any:
    """Take out what differs from run to run, and what shows nothing without a kernel."""
    number = 0
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type != "code":
            continue
        number += 1
        cell.execution_count = number
        cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
            if PNG in output.get("data", {}):
                output.data[PNG] = smaller(output.data[PNG])
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = nbformat.from_dict(
        {"name": "python", "file_extension": ".py"}
    )
    return notebook


def smaller(png: str) -> str:
    """Return a PNG with a palette in place of true colours: a third of the size."""
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    out = io.BytesIO()
    palette = image.quantize(COLOURS, dither=Image.Dither.NONE)
    palette.save(out, "PNG", optimize=True, dpi=image.info.get("dpi", (200, 200)))
    return base64.b64encode(out.getvalue()).decode()


def write(notebook: Any, path: Path) -> None:
    """Replace a file whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8", newline="")
    part.replace(path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    for source in sources(parser.parse_args(arguments).names):
        path = source.with_suffix(".ipynb")
        write(run(read(source))[0], path)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
