"""What runs beside the window: a bar, a sentence and a button to stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ProgressBar, PushButton
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_clusternet._napari.frames import enable, text
from napari_clusternet._napari.runner import in_words
from napari_clusternet._napari.ties import Ties

if TYPE_CHECKING:
    from napari_clusternet._napari.runner import Runner
    from napari_clusternet.progress import Progress

STOPPING = "Stopping after this step ..."


class Going(QWidget):
    """Follows a `Runner`; takes no place while nothing runs.

    Parameters
    ----------
    runner : Runner
        Whose work is shown.
    tooltip : str
        What its Cancel does.
    figures : bool
        Whether figures of a step are shown, such as a loss.
    """

    def __init__(
        self, runner: Runner, tooltip: str = "Stop after the current step", figures: bool = False
    ) -> None:
        super().__init__()
        self._runner, self._tooltip, self._figures = runner, tooltip, figures
        self._shown = ""
        self.bar = ProgressBar(min=0, max=0, value=0)
        self.status = text()
        self.cancel = PushButton(text="&Cancel")
        self.cancel.clicked.connect(self._cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.bar.native, self.status, self.cancel.native):
            layout.addWidget(part)
        self._ties = Ties(self)
        self._ties.tie(runner.changed, self._follow)
        self._ties.tie(runner.progressed, self._show_step)
        self._follow()

    def _follow(self) -> None:
        busy, title = self._runner.busy, self._runner.title
        if busy and title != self._shown:
            self.bar.max = self.bar.value = 0  # moves to and fro
            self.status.setText(title)
            enable(self.cancel, "", self._tooltip)
        self._shown = title
        self.setVisible(busy)

    def _show_step(self, step: Progress) -> None:
        self.bar.max, self.bar.value = step.total, min(step.done, step.total)
        if self.cancel.enabled:
            self.status.setText(", ".join(self._words(step)))

    def _words(self, step: Progress) -> list[str]:
        said = [f"{self._runner.title}: {step.stage}"]
        said += [f"{step.done} of {step.total}"] if step.total > 1 else []
        if self._figures:
            said += [f"{name} {value:.3g}" for name, value in step.metrics.items()]
        if self._runner.seconds_left is not None:
            said.append(f"{in_words(self._runner.seconds_left)} left")
        return said

    def _cancel(self, _: Any = None) -> None:
        self._runner.cancel()
        enable(self.cancel, STOPPING, self._tooltip)
        self.status.setText(STOPPING)
