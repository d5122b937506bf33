"""What the program declares, as plain data. Runs it in this process, without the Pulumi engine; touches nothing.

The SDK sends each declaration to a monitor; here that is one of our own, which keeps the request (with its options,
which the SDK's mocks do not pass on) and answers it with the outputs that `predict` foretells.
"""

from __future__ import annotations

import asyncio
import graphlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import run_in_stack

from trimtab.errors import TrimtabError, UsageError

_STACK_TYPE: Final = "pulumi:pulumi:Stack"

Inputs = Mapping[str, Any]
Predict = Callable[[str, str, Inputs], tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One declared resource. `inputs` are resolved, in Pulumi's camelCase; `custom` is False for a component."""

    urn: str
    type: str
    name: str
    custom: bool
    id: str
    inputs: Inputs
    parent: str
    dependencies: tuple[str, ...]
    protect: bool
    retain_on_delete: bool
    ignore_changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A stack as it was declared: dependencies first, and otherwise in the order of their names."""

    resources: tuple[Resource, ...]
    exports: Mapping[str, Any]


def record(program: Callable[[], None], *, project: str, stack: str, predict: Predict) -> Graph:
    """Run a Pulumi program and return what it declared.

    `predict(type, name, inputs)` answers with the id and the outputs of a resource. Raises what the program raises,
    and UsageError for what only AWS could answer.
    """
    monitor = _Monitor(predict)
    try:
        asyncio.run(_run(program, monitor, project, stack))
    finally:
        if monitor.answers.failure is not None:  # it comes first: whatever else went wrong did so after it
            raise monitor.answers.failure
    return Graph(resources=_sorted(monitor.declared), exports=monitor.exports)


async def _run(program: Callable[[], None], monitor: _Monitor, project: str, stack: str) -> None:
    # Not mocks.set_mocks: it opens and closes a stack before the program runs, so that exports are lost.
    features = monitor.GetDeploymentInfo(None).supportedFeatures  # type: ignore[no-untyped-call]  # the SDK's is untyped
    settings.configure(
        mocks.MockSettings(  # type: ignore[no-untyped-call]
            monitor=monitor,
            monitor_features=set(features),
            engine=mocks.MockEngine(None),
            project=project,
            stack=stack,
            dry_run=False,
            organization=None,
            callbacks=None,
        )
    )
    # The SDK answers requests in threads, and opens a loop in each that it never closes: one thread, a loop of ours.
    loop = asyncio.new_event_loop()
    threads = ThreadPoolExecutor(max_workers=1, initializer=asyncio.set_event_loop, initargs=(loop,))
    asyncio.get_running_loop().set_default_executor(threads)
    try:
        await run_in_stack(program)
    finally:
        threads.shutdown()
        loop.close()


class _Answers(mocks.Mocks):
    """Answers the SDK. What goes wrong is kept for the end: raised here, the SDK would report it once an awaiter."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self.failure: Exception | None = None

    def call(self, args: mocks.MockCallArgs) -> Any:
        self.failure = self.failure or UsageError(
            f"the program asks AWS for {args.token}",
            why="nothing here can answer: the embedded engine only declares and applies",
            remedy="build the value from what the program knows (policies: infra/policies.py)",
        )
        return {}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        if not args.custom:
            return "", {}
        try:
            identifier, outputs = self._predict(args.typ, args.name, _plain(args.inputs))
        except TrimtabError as error:
            self.failure = self.failure or error
            return args.name, {**args.inputs}
        return identifier, {**args.inputs, **outputs}


class _Monitor(mocks.MockMonitor):
    def __init__(self, predict: Predict) -> None:
        self.answers = _Answers(predict)
        super().__init__(self.answers)
        self.declared: list[Resource] = []
        self.exports: dict[str, Any] = {}

    def RegisterResource(self, request: resource_pb2.RegisterResourceRequest) -> Any:  # noqa: N802 - the protocol's
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type != _STACK_TYPE:
            self.declared.append(
                Resource(
                    urn=response.urn,
                    type=request.type,
                    name=request.name,
                    custom=request.custom,
                    id=response.id,
                    inputs=_plain(rpc.deserialize_properties(request.object)),
                    parent=request.parent,
                    dependencies=tuple(sorted(request.dependencies)),
                    protect=request.protect,
                    retain_on_delete=request.retainOnDelete,
                    ignore_changes=tuple(request.ignoreChanges),
                )
            )
        return response

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> Any:  # noqa: N802
        if request.urn.split("::")[2] == _STACK_TYPE:
            self.exports = _plain(rpc.deserialize_properties(request.outputs))
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


def _plain(value: Any) -> Any:
    """Return a value with its keys in order, and without the floats that the protocol makes of whole numbers."""
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _sorted(declared: list[Resource]) -> tuple[Resource, ...]:
    by_urn = {resource.urn: resource for resource in declared}
    sorter = graphlib.TopologicalSorter(
        {urn: {*by_urn.keys() & {r.parent, *r.dependencies}} for urn, r in by_urn.items()}
    )
    sorter.prepare()
    ordered: list[Resource] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda urn: by_urn[urn].name)
        ordered += (by_urn[urn] for urn in ready)
        sorter.done(*ready)
    return tuple(ordered)
