"""Put the handlers and the executor together for a project on this machine. The one place that knows them all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab.console import Console
from trimtab.cost.ledger import Ledger
from trimtab.emulation.bucket import EmbeddedBucket
from trimtab.executor import DisplayExecutor, Executor, Handler
from trimtab.images.engine import connect_or_none, data_root
from trimtab.plan import Disk
from trimtab.process import ProcessRunner, Runner
from trimtab.project import Project
from trimtab.steps.base import BaseHandler, BuildBase
from trimtab.steps.dataset import DatasetHandler, PushData
from trimtab.steps.engine import EngineHandler, EnsureEngine
from trimtab.steps.front import BuildFront, FrontHandler
from trimtab.steps.image import BuildImage, ImageHandler
from trimtab.steps.provision import EMBEDDED_STACK, Provision, ProvisionHandler
from trimtab.steps.push import PushHandler, PushImage
from trimtab.steps.rollback import RollBack, RollBackHandler
from trimtab.steps.service import Serve, ServiceHandler
from trimtab.steps.training import Train, TrainingHandler
from trimtab.steps.weights import PublishWeights, WeightsHandler


def handlers(project: Project, runner: Runner) -> Mapping[type[Any], Handler]:
    """Return the handler of each type of action."""
    bucket = EmbeddedBucket(project, runner, stack=EMBEDDED_STACK)
    service = ServiceHandler(project, runner, bucket)
    image = ImageHandler(project, runner)
    return {
        EnsureEngine: EngineHandler(project, runner),
        Provision: ProvisionHandler(project, runner),
        PublishWeights: WeightsHandler(project, runner, bucket),
        PushData: DatasetHandler(project, runner, bucket),
        BuildBase: BaseHandler(project, runner, image),
        BuildImage: image,
        PushImage: PushHandler(project),
        BuildFront: FrontHandler(project, runner),
        Serve: service,
        RollBack: RollBackHandler(project, runner, service),
        Train: TrainingHandler(project, runner, bucket),
    }


def executor(project: Project, console: Console, *, dry_run: bool) -> Executor | DisplayExecutor:
    """Return what carries out a plan: for real, or by showing it."""
    return DisplayExecutor(console) if dry_run else real_executor(project, console)


def real_executor(project: Project, console: Console) -> Executor:
    """Return what carries out a plan for real."""
    return Executor(
        handlers(project, ProcessRunner()),
        ledger=Ledger(project.state / "ledger.jsonl"),
        console=console,
        watched=watched(project),
    )


def watched(project: Project) -> Mapping[Disk, Path]:
    """Return the folders that steps write to, by what they are."""
    return {"engine": data_root(connect_or_none()), "state": project.state}
