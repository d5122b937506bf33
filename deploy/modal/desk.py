"""What `app.py` is made of at the desk: functions, machines, mounts, and the call of what is launched.

Reads the catalogue and the tables beside it, asks `trimtab infra outputs` for bucket and roles, refuses what is wrong
before Modal hears of it: words, configuration, machine, mounts, token, role. Is not used in a container.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self

import modal

from deploy.modal import attempts
from deploy.modal.bill import Bill
from deploy.modal.fit import require_places
from deploy.modal.functions import Function, load_functions
from deploy.modal.images import image_of
from deploy.modal.launch import Launch, read_launch, words_of
from deploy.modal.order import Order, job_of
from deploy.modal.resources import Profile, profile_of
from deploy.modal.results import OnVolume, explained
from trimtab.catalogue import Catalogue, load_catalogue
from trimtab.errors import ToolMissingError, TrimtabError, UsageError
from trimtab.process import Command, ProcessRunner
from trimtab.project import current_commit
from trimtab.storage.run_files import fetch_run
from trimtab.storage.runs import RunRecord

_MODULE: Final = "deploy.modal.app"
_STORE_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@contextmanager
def said_plainly() -> Iterator[None]:
    """End with our message and exit code, not with a traceback, where the catalogue or an argument is wrong."""
    try:
        yield
    except TrimtabError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Where data and results lie: the bucket, and either a role for each job, or a store's address and its secret."""

    name: str
    region: str
    role_arns: Mapping[str, str]
    endpoint_url: str = ""
    secret: str = ""

    def mount(self, job: str, prefix: str, *, read_only: bool) -> modal.CloudBucketMount:
        """Return the mount of a prefix. Raises UsageError for a job that has no role."""
        if self.endpoint_url:
            keys = modal.Secret.from_name(self.secret, required_keys=list(_STORE_KEYS))
            return modal.CloudBucketMount(
                self.name,
                bucket_endpoint_url=self.endpoint_url,
                key_prefix=prefix,
                secret=keys,
                read_only=read_only,
                force_path_style=True,
            )
        role = self.role_arns.get(job)
        if not role:
            raise UsageError(
                f"job {job} has no role that reads its data",
                why=f"the infrastructure's outputs name roles for {', '.join(self.role_arns) or 'no job'}",
                remedy="apply the infrastructure as the catalogue has it now: trimtab infra up",
            )
        region = modal.Secret.from_dict({"AWS_REGION": self.region})  # the mount has no other way to be told
        return modal.CloudBucketMount(
            self.name, key_prefix=prefix, oidc_auth_role_arn=role, read_only=read_only, secret=region
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The project, as one command of Modal's client finds it."""

    root: Path
    catalogue: Catalogue
    embedded: bool
    bucket: Bucket
    functions: Mapping[str, Function]
    order: Order | None = None
    bill: Bill | None = None
    declared: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path, argv: list[str]) -> Self | None:
        """Read it for a command line; None where only help is asked for.

        TRIMTAB_CATALOGUE names another catalogue, TRIMTAB_STACK another stack than dev. Raises TrimtabError.
        """
        path = Path(os.environ.get("TRIMTAB_CATALOGUE") or root / "trimtab.yaml")
        catalogue, functions = load_catalogue(path), load_functions()
        asked = words_of(argv, root / "deploy/modal/app.py", _MODULE)
        words = None if asked is None else read_launch(asked[1])
        if asked is not None and words is None:
            return None
        order = None if words is None or asked is None else Order.of(root, catalogue, functions, words, asked[0])
        for function in functions.values() if order is None else (order.function,):
            require_places(function)
            job_of(catalogue, function)
            if order is None:
                profile_of(function.profile)
        _require_token()
        embedded = os.environ.get("MODAL_SERVER_URL", "").startswith("http://127.0.0.1:")
        bucket = _bucket(root, path, catalogue, embedded=embedded)
        return cls(
            root=root,
            catalogue=catalogue,
            embedded=embedded,
            bucket=bucket,
            functions=functions,
            order=order,
            bill=None if order is None else Bill.of(root, path, order, embedded=embedded),
        )

    def declare(self, app: modal.App) -> None:
        """Declare the function that is launched; for `modal deploy`, every one, each on its own machine."""
        if self.order is not None:
            self._declare(app, self.order.function, self.order.profile)
            return
        for function in self.functions.values():
            self._declare(app, function, profile_of(function.profile))

    def _declare(self, app: modal.App, function: Function, profile: Profile) -> None:
        job = job_of(self.catalogue, function)
        mounts: dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount] = {}
        if function.data:
            mounts[function.data] = self.bucket.mount(function.job, job.data, read_only=True)
        if function.results:
            mounts[function.results] = self.volume()
        if function.backup:
            mounts[function.backup] = self.bucket.mount(function.job, job.results, read_only=False)
        decorate = app.function(
            name=function.name,
            image=image_of(self._packages(function, profile), self.root, function.job),
            volumes=mounts,
            retries=modal.Retries(initial_delay=0.0, max_retries=profile.retries),
            single_use_containers=True,  # what an attempt leaves in memory must not reach the next
            max_containers=function.containers if function.containers > 1 else None,
            **profile.options(),
        )
        self.declared[function.name] = decorate(getattr(attempts, function.runs))

    def _packages(self, function: Function, profile: Profile) -> Any:
        """Return what the image holds: CUDA where a GPU is rented, and not on the embedded Modal, which has none."""
        if function.packages == "cpu" or not profile.gpu:
            return "cpu"
        if self.embedded and os.environ.get("TRIMTAB_MODAL_PACKAGES") != "gpu":
            sys.stderr.write(f"{function.name}: there is no GPU here, so its image holds the processor's packages\n")
            return "cpu"
        return function.packages

    def volume(self) -> modal.Volume:
        """Return the Volume of all results; it is made when it is not there."""
        return modal.Volume.from_name(self.catalogue.modal.results_volume, create_if_missing=True)

    def start(self, words: Launch, app_id: str) -> tuple[modal.FunctionCall[Any], dict[str, Any]]:
        """Call what is launched; return the call, and what a person or a program must know of it."""
        order, ready = self.order, self.bill and self.bill.ready
        if order is None or words != order.words:
            raise AssertionError(f"Modal's client read {words}, and we {order and order.words}")
        function, remote = order.function, self.declared[order.function.name]
        place = attempts.Place(
            job=function.job,
            config=order.config,
            volume=self.catalogue.modal.results_volume,
            data=function.data,
            results=function.results,
            backup=function.backup,
        )
        run_id = ready.run_id if ready else words.run_id or None
        match function.runs:
            case "train":
                call = remote.spawn(
                    place,
                    run_id=run_id,
                    must_resume=words.resume,
                    commit=current_commit(self.root) or None,
                    timeout_s=order.profile.timeout_s,
                    cap_s=(ready and ready.cap_s) or words.cap_seconds or None,
                )
            case "evaluate":
                call = remote.spawn(place, run_id=run_id)
            case "populate":
                # This machine runs as many containers of a function as it has processors, and one of them waits.
                most = min(function.containers, os.cpu_count() or 1) if self.embedded else function.containers
                call = remote.spawn(None, place, parts=most - 1, fan_out=remote)
            case "check":
                call = remote.spawn(place)
        told = {
            "app_id": app_id,
            "call_id": call.object_id,
            "function": function.name,
            "job": function.job,
            "run_id": run_id,
            "profile": order.machine,
            "machine": asdict(order.profile),
        }
        if self.bill:
            self.bill.note(told)
        return call, told

    def fetch(self, document: Mapping[str, Any], results: Path) -> None:
        """Bring what a call answered with from the Volume: a run, verified, or the files of an evaluation."""
        source = OnVolume(self.volume())
        with explained("fetch"):
            if "record" in document:
                fetch_run(source, RunRecord.model_validate(document["record"]), results, say=_say)
            else:
                source.get(source.files(document["files"]), results, _say)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _require_token() -> None:
    """Refuse to go on where Modal's client could not say who it is. Raises ToolMissingError."""
    from modal.config import config

    if (config.get("token_id") and config.get("token_secret")) or config.get("oauth_refresh_token"):
        return
    raise ToolMissingError(
        "there is no token for Modal",
        why="neither MODAL_TOKEN_ID and MODAL_TOKEN_SECRET nor a profile of ~/.modal.toml holds one",
        remedy='run `modal token set`, or take the embedded Modal: eval "$(trimtab modal up --export)"',
    )


def _bucket(root: Path, path: Path, catalogue: Catalogue, *, embedded: bool) -> Bucket:
    """Return the stack's bucket with its roles; by TRIMTAB_BUCKET_ENDPOINT, that of an S3-compatible store."""
    stack = os.environ.get("TRIMTAB_STACK", "dev")
    if endpoint := os.environ.get("TRIMTAB_BUCKET_ENDPOINT"):
        secret = os.environ.get("TRIMTAB_BUCKET_SECRET")
        if not secret:
            raise UsageError(
                "the store's keys are not named",
                why=f"TRIMTAB_BUCKET_ENDPOINT is {endpoint}, and TRIMTAB_BUCKET_SECRET is not set",
                remedy=f"put {' and '.join(_STORE_KEYS)} into a secret with `modal secret create`, and name it there",
            )
        name, region = catalogue.bucket_name(stack), catalogue.aws.region
        return Bucket(name=name, region=region, role_arns={}, endpoint_url=endpoint, secret=secret)
    words = ("infra", "outputs", *(("--embedded",) if embedded else ()))
    argv = (sys.executable, "-P", "-m", "trimtab", *words, "--stack", stack, "--catalogue", str(path), "--json")
    done = ProcessRunner().run(Command(argv=argv, cwd=root, hint="run `trimtab infra up` first", house=True))
    outputs = json.loads(done.stdout)
    outputs = outputs.get("outputs", outputs)
    return Bucket(name=outputs["bucket"], region=catalogue.aws.region, role_arns=outputs["modal_role_arns"])
