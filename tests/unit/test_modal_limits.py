"""Modal's limits, as messages with the page that says so."""

from __future__ import annotations

from modal_proto import api_pb2

from trimtab.emulation.modal.limits import MAX_GPUS, refusals


def gpu(name: str, count: int = 1) -> api_pb2.Function:
    resources = api_pb2.Resources(gpu_config=api_pb2.GPUConfig(gpu_type=name, count=count))
    return api_pb2.Function(resources=resources)


def whats(function: api_pb2.Function) -> str:
    return " ".join(str(refusal) for refusal in refusals(function))


def test_what_is_allowed_is_not_refused() -> None:
    function = api_pb2.Function(
        timeout_secs=86400,
        retry_policy=api_pb2.FunctionRetryPolicy(retries=10),
        resources=api_pb2.Resources(ephemeral_disk_mb=3 * 1024 * 1024, gpu_config=api_pb2.GPUConfig(gpu_type="H100")),
        volume_mounts=[api_pb2.VolumeMount(volume_id="vo-1", mount_path="/data")],
        cloud_bucket_mounts=[api_pb2.CloudBucketMount(mount_path="/tmp/pictures", key_prefix="pictures/")],  # noqa: S108
    )
    assert refusals(function) == ()
    assert refusals(api_pb2.Function()) == ()


def test_every_gpu_is_allowed_up_to_its_number() -> None:
    for name, most in MAX_GPUS.items():
        assert refusals(gpu(name, most)) == ()
        assert f"at most {most}" in whats(gpu(name, most + 1))


def test_a_gpu_that_modal_does_not_have_is_named() -> None:
    assert "'V100' is no GPU that Modal has" in whats(gpu("V100"))


def test_a_gpu_function_can_not_opt_out_of_preemption() -> None:
    function = gpu("T4")
    function.scheduler_placement.nonpreemptible = True
    assert "nonpreemptible" in whats(function)


def test_mounts_have_places_of_their_own() -> None:
    for path in ("/", "/root", "/tmp", "/root/", "data"):  # noqa: S108 - what Modal refuses
        function = api_pb2.Function(volume_mounts=[api_pb2.VolumeMount(volume_id="vo-1", mount_path=path)])
        assert f"{path!r} is no place for a mount" in whats(function)
    twice = api_pb2.Function(
        volume_mounts=[
            api_pb2.VolumeMount(volume_id="vo-1", mount_path="/a"),
            api_pb2.VolumeMount(volume_id="vo-1", mount_path="/b"),
            api_pb2.VolumeMount(volume_id="vo-2", mount_path="/a/"),
        ]
    )
    assert "The same Volume is mounted at two paths" in whats(twice)
    assert "'/a/' is mounted twice" in whats(twice)


def test_a_prefix_without_its_slash_is_refused() -> None:
    mount = api_pb2.CloudBucketMount(mount_path="/data", key_prefix="datasets/tides")
    assert "must end with a slash" in whats(api_pb2.Function(cloud_bucket_mounts=[mount]))


def test_all_that_is_wrong_is_said_at_once() -> None:
    function = api_pb2.Function(timeout_secs=90000, retry_policy=api_pb2.FunctionRetryPolicy(retries=11))
    assert len(refusals(function)) == 2
