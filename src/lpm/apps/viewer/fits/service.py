"""Where uploads are fitted: in helper processes, so that none of them can end, block or fill the server."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from lpm.apart.helper import HelperError, Limits
from lpm.apart.pool import HelperPool
from lpm.apps.viewer.fits.queue import FitQueue, Place
from lpm.apps.viewer.fits.upload import READING, Files, Options, fit_upload
from lpm.apps.viewer.uploads import UploadBudget, named
from lpm.errors import FileError
from lpm.model.bundle import ModelBundle
from lpm.processes import most_memory
from lpm.workflows.outcome import Outcome, Tell
from lpm.xray.radiograph import Radiograph

_AT_ONCE = 2  # files of the largest size whose parts may be in memory
_READERS = 3  # files that are read, or were read and wait: each takes the memory of a scan
_IDLE = 2  # helpers that wait: beside a client whose files fail, again and again, one is left for the others
_MOST_CALLS = 30  # fits of a helper: memory that they took is not all given back
MOST_MEMORY = min(12 * 1024**3, most_memory() // 2)  # bytes for a fit: a CT of the most voxels takes 8 GiB
MOST_READING_S = 120.0
_MOST_FITTING_S = 3600.0


@dataclass(frozen=True)
class Task:
    """Uploads of one patient to fit.

    Args:
        files: Kind of each, as stated, and where it lies.
        options: Options that the files do not state.
        known: Radiographs of the same patient that were read before, by side.
    """

    files: Files
    options: Options
    known: Mapping[str, Radiograph] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the files, for messages."""
        return named([path.name for _, path in self.files])


class FitService:
    """What the fits of all clients share.

    Args:
        model: Trained.
        most_mb: Largest upload.
        reading_s: Time that reading a file may take.
    """

    def __init__(self, model: ModelBundle, most_mb: int, reading_s: float = MOST_READING_S) -> None:
        self.model, self.most_mb, self._reading_s = model, most_mb, reading_s
        self.budget = UploadBudget(most_mb * 1024**2, _AT_ONCE * most_mb * 1024**2)
        self.queue = FitQueue(_READERS)
        self._helpers = HelperPool((fit_upload.__module__,), {"model": model}, most_idle=_IDLE, most_calls=_MOST_CALLS)

    def warm(self) -> None:
        """Start a helper, so that the first client need not wait for it."""
        self._helpers.expect()

    def end(self) -> None:
        """End all helpers that wait."""
        self._helpers.end()

    def fit(self, place: Place, task: Task, tell: Tell) -> Outcome:
        """Read and fit uploads; reading holds up nobody, and fits come one after the other.

        Args:
            place: Place in the queue.
            task: What to fit.
            tell: Told what is being done.

        Raises:
            LpmError: The file is damaged, of another kind, too large, shows no lungs, or takes too long to read.
            Exception: What the place was stopped with.
        """
        place.wait_to_read()
        slow = FileError(task.name, f"was not read within {self._reading_s:.0f} s", "a file that can be read")
        watch = threading.Timer(self._reading_s, place.stop, (slow,))

        def listen(text: str, share: float | None) -> None:
            tell(text, share)
            if share is not None and share > READING:
                watch.cancel()
                place.wait_to_fit()
            elif watch.ident is None:  # its process is there
                watch.start()

        with self._helpers.taken(leave=int(place.after_failure)) as helper, place.worked_on(helper.kill):
            try:
                fit = partial(_fit, self.model, task)
                found: Outcome = helper.call(fit, limits=Limits(_MOST_FITTING_S, MOST_MEMORY), listen=listen)
            except HelperError as error:
                given, hint = f"cannot be fitted: it {error}", "copy it or save it again"
                raise place.reason or FileError(task.name, given, "an intact file", hint) from error
            finally:
                watch.cancel()
        return found


def _fit(model: ModelBundle, task: Task, tell: Tell) -> Outcome:
    return fit_upload(model, task.files, task.options, task.known, tell)
