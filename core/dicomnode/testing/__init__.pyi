from .faults import Faults as Faults
from .images import synthetic_series as synthetic_series
from .images import synthetic_study as synthetic_study
from .local_host import LocalHost as LocalHost
from .peer import ReceivingPeer as ReceivingPeer
from .pipeline_run import PipelineResult as PipelineResult
from .pipeline_run import run_pipeline as run_pipeline
from .sending import send as send

__all__ = [
    "Faults",
    "LocalHost",
    "PipelineResult",
    "ReceivingPeer",
    "run_pipeline",
    "send",
    "synthetic_series",
    "synthetic_study",
]
