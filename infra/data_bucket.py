"""Component: the one bucket of data sets, weights and results. Declares Pulumi resources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
from pulumi_aws import s3

from infra.policies import bucket_access
from infra.tags import KEEP_COMMIT

if TYPE_CHECKING:
    from trimtab.catalogue.cloud import AccessLogs, ColdTier


@dataclass(frozen=True, slots=True, kw_only=True)
class DataBucketArgs:
    """What the bucket is called and keeps, and under which key.

    old_versions: (prefix, days); the first is the whole bucket's. cold: when objects under a prefix move to a tier.
    keep: neither a mistake here nor a destroy may take it away.
    """

    bucket_name: pulumi.Input[str]
    kms_key: str | None
    old_versions: tuple[tuple[str, int], ...]
    cold: Mapping[str, ColdTier]
    broken_uploads_days: pulumi.Input[int]
    access_logs: AccessLogs | None
    keep: bool
    tags: Mapping[str, str]


class DataBucket(pulumi.ComponentResource):
    """A bucket that is versioned, encrypted, closed to the public and to plain HTTP, and tidies itself.

    Its name is fixed, not generated: mounts, configurations and people address the data by it, so it must outlive a
    replacement of anything around it.
    """

    bucket_name: pulumi.Output[str]
    bucket_arn: pulumi.Output[str]

    def __init__(self, name: str, args: DataBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trimtab:infra:DataBucket", name, None, opts)
        # Its settings are kept as the bucket is: a bucket that stays must not lose its encryption first.
        child = pulumi.ResourceOptions(parent=self, protect=args.keep, retain_on_delete=args.keep)
        bucket = s3.Bucket(
            f"{name}-bucket",
            bucket=args.bucket_name,
            tags=args.tags,
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(ignore_changes=KEEP_COMMIT)),
        )
        versioning = s3.BucketVersioning(
            f"{name}-versioning",
            bucket=bucket.bucket,
            versioning_configuration=s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=child,
        )
        s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption", bucket=bucket.bucket, rules=[_encryption_rule(args.kms_key)], opts=child
        )
        s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=bucket.bucket,
            rule=s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=child,
        )
        public_access = s3.BucketPublicAccessBlock(
            f"{name}-public-access",
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.bucket,
            policy=bucket.arn.apply(lambda arn: json.dumps(bucket_access(arn, kms_key=args.kms_key))),
            # S3 refuses the two at once (OperationAborted: a conflicting conditional operation).
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[public_access])),
        )
        s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.bucket,
            rules=[
                *(_old_versions_rule(prefix, days) for prefix, days in args.old_versions),
                _broken_uploads_rule(args.broken_uploads_days),
                *(_cold_rule(prefix, args.cold[prefix]) for prefix in sorted(args.cold)),
            ],
            # Rules on old versions mean nothing, and are refused on some, before there are versions.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[versioning])),
        )
        if args.access_logs is not None:
            s3.BucketLogging(
                f"{name}-access-logs",
                bucket=bucket.bucket,
                target_bucket=args.access_logs.bucket,
                target_prefix=args.access_logs.prefix,
                opts=child,
            )
        self.bucket_name = bucket.bucket
        self.bucket_arn = bucket.arn
        self.register_outputs({"bucket_name": self.bucket_name, "bucket_arn": self.bucket_arn})


def _encryption_rule(kms_key: str | None) -> s3.BucketServerSideEncryptionConfigurationRuleArgs:
    default = s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs
    if kms_key is None:
        return s3.BucketServerSideEncryptionConfigurationRuleArgs(
            apply_server_side_encryption_by_default=default(sse_algorithm="AES256")
        )
    return s3.BucketServerSideEncryptionConfigurationRuleArgs(
        apply_server_side_encryption_by_default=default(sse_algorithm="aws:kms", kms_master_key_id=kms_key),
        bucket_key_enabled=True,  # else each object costs a request to KMS, at 3 cents for ten thousand
    )


def _old_versions_rule(prefix: str, days: int) -> s3.BucketLifecycleConfigurationRuleArgs:
    expiration = s3.BucketLifecycleConfigurationRuleExpirationArgs(expired_object_delete_marker=True)
    return s3.BucketLifecycleConfigurationRuleArgs(
        id=f"old-versions:{prefix}" if prefix else "old-versions",
        status="Enabled",
        filter=s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=prefix),
        noncurrent_version_expiration=s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
            noncurrent_days=days
        ),
        expiration=None if prefix else expiration,  # once, for the whole bucket
    )


def _broken_uploads_rule(days: pulumi.Input[int]) -> s3.BucketLifecycleConfigurationRuleArgs:
    return s3.BucketLifecycleConfigurationRuleArgs(
        id="broken-uploads",
        status="Enabled",
        filter=s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
        abort_incomplete_multipart_upload=s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
            days_after_initiation=days
        ),
    )


def _cold_rule(prefix: str, cold: ColdTier) -> s3.BucketLifecycleConfigurationRuleArgs:
    return s3.BucketLifecycleConfigurationRuleArgs(
        id=f"cold:{prefix}",
        status="Enabled",
        filter=s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=prefix),
        transitions=[s3.BucketLifecycleConfigurationRuleTransitionArgs(days=cold.after_days, storage_class=cold.tier)],
    )
