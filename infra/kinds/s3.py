"""The bucket and its settings. Each setting is a resource of its own in Pulumi, with the bucket's name as its id."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from infra.kinds.kind import Clients, Kind, Wanted
from trimtab.errors import ProgramError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PUBLIC_ACCESS: Final = {
    "blockPublicAcls": "BlockPublicAcls",
    "blockPublicPolicy": "BlockPublicPolicy",
    "ignorePublicAcls": "IgnorePublicAcls",
    "restrictPublicBuckets": "RestrictPublicBuckets",
}
_DEFAULT_REGION: Final = "us-east-1"  # the one that S3 refuses to be told
_STAND_IN: Final[Any] = {"TagSet": [{"Key": "trimtab", "Value": "stand-in for a log bucket"}]}


def _identify(_account: str, _name: str, wanted: Wanted) -> tuple[str, Wanted]:
    return wanted["bucket"], {}


def _answer_or_none(call: Callable[..., Any], bucket: str, *absent: str) -> Any:
    """Return the answer of a call, or None when the bucket, or this setting of it, does not exist."""
    try:
        return call(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchBucket", "404", *absent):
            return None
        raise


def _identify_bucket(_account: str, _name: str, wanted: Wanted) -> tuple[str, Wanted]:
    return wanted["bucket"], {"arn": f"arn:aws:s3:::{wanted['bucket']}"}


def _read_bucket(clients: Clients, bucket: str) -> Wanted | None:
    if _answer_or_none(clients.s3.head_bucket, bucket) is None:
        return None
    tagging = _answer_or_none(clients.s3.get_bucket_tagging, bucket, "NoSuchTagSet")
    return {"bucket": bucket, "tags": {tag["Key"]: tag["Value"] for tag in tagging["TagSet"]} if tagging else {}}


def _create_bucket(clients: Clients, bucket: str, wanted: Wanted) -> None:
    _create(clients.s3, bucket)
    _tag_bucket(clients, bucket, wanted)


def _create(s3: S3Client, bucket: str) -> None:
    region = s3.meta.region_name
    place: Any = {} if region == _DEFAULT_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket=bucket, **place)


def _tag_bucket(clients: Clients, bucket: str, wanted: Wanted) -> None:
    tags: Any = [{"Key": key, "Value": value} for key, value in wanted.get("tags", {}).items()]
    clients.s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})


def _delete_bucket(clients: Clients, bucket: str) -> None:
    _answer_or_none(clients.s3.delete_bucket, bucket)


def is_empty(s3: S3Client, bucket: str) -> bool:
    """Return whether a bucket holds no object, no old version and no delete marker. One that is not there is empty."""
    answer = _answer_or_none(lambda **name: s3.list_object_versions(**name, MaxKeys=1), bucket)
    return answer is None or not (answer.get("Versions") or answer.get("DeleteMarkers"))


def empty(s3: S3Client, bucket: str) -> int:
    """Delete every version of every object; return how many there were. Raises ProgramError when one stays."""
    count = 0
    while True:
        page = s3.list_object_versions(Bucket=bucket)  # always the first page: what it named is gone the next time
        items = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if not items:
            return count
        names: Any = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in items]
        for kept in s3.delete_objects(Bucket=bucket, Delete={"Objects": names, "Quiet": True}).get("Errors", []):
            raise ProgramError(
                f"{kept['Key']} stays in the bucket {bucket}",
                why=f"{kept['Code']}: {kept['Message']}",
                remedy="what stands before it is deleted already; lift what holds it, then run the same command again",
            )
        count += len(names)


def _read_versioning(clients: Clients, bucket: str) -> Wanted | None:
    answer = _answer_or_none(clients.s3.get_bucket_versioning, bucket)
    if answer is None or "Status" not in answer:
        return None
    return {"bucket": bucket, "versioningConfiguration": {"status": answer["Status"]}}


def _put_versioning(clients: Clients, bucket: str, wanted: Wanted) -> None:
    status = wanted["versioningConfiguration"]["status"]
    clients.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


def _suspend_versioning(clients: Clients, bucket: str) -> None:
    # It cannot be taken away once it was on; so does Pulumi's provider.
    if _read_versioning(clients, bucket) is not None:
        clients.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def _read_encryption(clients: Clients, bucket: str) -> Wanted | None:
    answer = _answer_or_none(clients.s3.get_bucket_encryption, bucket, "ServerSideEncryptionConfigurationNotFoundError")
    if answer is None:
        return None
    return {
        "bucket": bucket,
        "rules": [_encryption_rule(r) for r in answer["ServerSideEncryptionConfiguration"]["Rules"]],
    }


def _encryption_rule(rule: Any) -> dict[str, Any]:
    default = rule["ApplyServerSideEncryptionByDefault"]
    by_default = {"sseAlgorithm": default["SSEAlgorithm"]}
    if "KMSMasterKeyID" in default:
        by_default["kmsMasterKeyId"] = default["KMSMasterKeyID"]
    bucket_key = {"bucketKeyEnabled": True} if rule.get("BucketKeyEnabled") else {}  # S3 says False where none was said
    return {"applyServerSideEncryptionByDefault": by_default, **bucket_key}


def _visible_encryption(wanted: Wanted) -> Wanted:
    rules = [
        {key: value for key, value in rule.items() if (key, value) != ("bucketKeyEnabled", False)}
        for rule in wanted["rules"]
    ]
    return {**wanted, "rules": rules}


def _put_encryption(clients: Clients, bucket: str, wanted: Wanted) -> None:
    rules: list[Any] = []
    for rule in wanted["rules"]:
        default = rule["applyServerSideEncryptionByDefault"]
        by_default = {"SSEAlgorithm": default["sseAlgorithm"]}
        if "kmsMasterKeyId" in default:
            by_default["KMSMasterKeyID"] = default["kmsMasterKeyId"]
        rules.append(
            {
                "ApplyServerSideEncryptionByDefault": by_default,
                "BucketKeyEnabled": rule.get("bucketKeyEnabled", False),
            }
        )
    clients.s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})


def _read_ownership(clients: Clients, bucket: str) -> Wanted | None:
    answer = _answer_or_none(clients.s3.get_bucket_ownership_controls, bucket, "OwnershipControlsNotFoundError")
    if answer is None:
        return None
    return {
        "bucket": bucket,
        "rule": {"objectOwnership": answer["OwnershipControls"]["Rules"][0]["ObjectOwnership"]},
    }


def _put_ownership(clients: Clients, bucket: str, wanted: Wanted) -> None:
    rules: Any = [{"ObjectOwnership": wanted["rule"]["objectOwnership"]}]
    clients.s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": rules})


def _read_public_access_block(clients: Clients, bucket: str) -> Wanted | None:
    answer = _answer_or_none(clients.s3.get_public_access_block, bucket, "NoSuchPublicAccessBlockConfiguration")
    if answer is None:
        return None
    flags = answer["PublicAccessBlockConfiguration"]
    return {"bucket": bucket, **{key: flags[name] for key, name in _PUBLIC_ACCESS.items()}}


def _put_public_access_block(clients: Clients, bucket: str, wanted: Wanted) -> None:
    flags: Any = {name: wanted[key] for key, name in _PUBLIC_ACCESS.items()}
    clients.s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=flags)


def _read_lifecycle(clients: Clients, bucket: str) -> Wanted | None:
    answer = _answer_or_none(clients.s3.get_bucket_lifecycle_configuration, bucket, "NoSuchLifecycleConfiguration")
    return None if answer is None else {"bucket": bucket, "rules": [_spell(rule, _lower) for rule in answer["Rules"]]}


def _put_lifecycle(clients: Clients, bucket: str, wanted: Wanted) -> None:
    rules: Any = [_spell(rule, _upper) for rule in wanted["rules"]]
    clients.s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})


def _spell(value: Any, spell: Callable[[str], str]) -> Any:
    """Return a lifecycle rule with its keys as S3 spells them, or as Pulumi does: they differ in the first letter."""
    if isinstance(value, dict):
        return {spell(key): _spell(inner, spell) for key, inner in value.items()}
    if isinstance(value, list):
        return [_spell(inner, spell) for inner in value]
    return value


def _upper(key: str) -> str:
    return "ID" if key == "id" else key[0].upper() + key[1:]


def _lower(key: str) -> str:
    return "id" if key == "ID" else key[0].lower() + key[1:]


def _read_policy(clients: Clients, bucket: str) -> Wanted | None:
    answer = _answer_or_none(clients.s3.get_bucket_policy, bucket, "NoSuchBucketPolicy")
    return None if answer is None else {"bucket": bucket, "policy": json.loads(answer["Policy"])}


def _put_policy(clients: Clients, bucket: str, wanted: Wanted) -> None:
    clients.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(wanted["policy"]))


def _read_logging(clients: Clients, bucket: str) -> Wanted | None:
    answer = _answer_or_none(clients.s3.get_bucket_logging, bucket)
    if answer is None or "LoggingEnabled" not in answer:
        return None
    place = answer["LoggingEnabled"]
    return {"bucket": bucket, "targetBucket": place["TargetBucket"], "targetPrefix": place["TargetPrefix"]}


def _put_logging(clients: Clients, bucket: str, wanted: Wanted) -> None:
    target, prefix = wanted["targetBucket"], wanted["targetPrefix"]
    _make_stand_in(clients.s3, target)
    place: Any = {"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": prefix}}
    clients.s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus=place)


def _make_stand_in(s3: S3Client, bucket: str) -> None:
    """Make a bucket that takes access logs where there is none: on AWS somebody else's stands there already."""
    if _answer_or_none(s3.head_bucket, bucket) is not None:
        return
    _create(s3, bucket)
    s3.put_bucket_tagging(Bucket=bucket, Tagging=_STAND_IN)
    statement = {
        "Sid": "Logs",
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


def _delete_logging(clients: Clients, bucket: str) -> None:
    logging = _read_logging(clients, bucket)
    if logging is None:
        return
    clients.s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    target = logging["targetBucket"]
    tagging = _answer_or_none(clients.s3.get_bucket_tagging, target, "NoSuchTagSet")
    if tagging is not None and tagging["TagSet"] == _STAND_IN["TagSet"]:
        empty(clients.s3, target)
        clients.s3.delete_bucket(Bucket=target)


def _forget(call: Callable[..., Any], bucket: str) -> None:
    _answer_or_none(call, bucket)


def _setting(
    read: Callable[[Clients, str], Wanted | None],
    put: Callable[[Clients, str, Wanted], None],
    delete: Callable[[Clients, str], None],
    visible: Callable[[Wanted], Wanted] = lambda wanted: wanted,
) -> Kind:
    return Kind(identify=_identify, read=read, create=put, update=put, delete=delete, visible=visible, is_setting=True)


BUCKET: Final = Kind(
    identify=_identify_bucket,
    read=_read_bucket,
    create=_create_bucket,
    update=_tag_bucket,
    delete=_delete_bucket,
)
VERSIONING: Final = _setting(_read_versioning, _put_versioning, _suspend_versioning)
ENCRYPTION: Final = _setting(
    _read_encryption,
    _put_encryption,
    lambda clients, bucket: _forget(clients.s3.delete_bucket_encryption, bucket),
    visible=_visible_encryption,
)
OWNERSHIP: Final = _setting(
    _read_ownership,
    _put_ownership,
    lambda clients, bucket: _forget(clients.s3.delete_bucket_ownership_controls, bucket),
)
PUBLIC_ACCESS_BLOCK: Final = _setting(
    _read_public_access_block,
    _put_public_access_block,
    lambda clients, bucket: _forget(clients.s3.delete_public_access_block, bucket),
)
LIFECYCLE: Final = _setting(
    _read_lifecycle, _put_lifecycle, lambda clients, bucket: _forget(clients.s3.delete_bucket_lifecycle, bucket)
)
POLICY: Final = _setting(
    _read_policy, _put_policy, lambda clients, bucket: _forget(clients.s3.delete_bucket_policy, bucket)
)
LOGGING: Final = _setting(_read_logging, _put_logging, _delete_logging)
