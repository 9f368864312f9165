"""Where events come from: live sources, recordings and their replay, the simulator, and the paper engine."""

from observability.sources.paper.engine import PaperConfig, PaperEngine
from observability.sources.recordings.progress import ProgressBar
from observability.sources.recordings.recording import Recording
from observability.sources.recordings.replay import Replay, ReplayProgress
from observability.sources.simulator import Simulator

__all__ = ["PaperConfig", "PaperEngine", "ProgressBar", "Recording", "Replay", "ReplayProgress", "Simulator"]
