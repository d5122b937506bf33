"""Component: the one bucket of data sets, weights and results. Declares Pulumi resources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_aws import s3

from infra.policies import tls_only


@dataclass(frozen=True, slots=True, kw_only=True)
class DataBucketArgs:
    """What the bucket is called and keeps. `keep`: neither a mistake here nor a destroy may take it away."""

    bucket_name: pulumi.Input[str]
    old_versions_days: pulumi.Input[int]
    broken_uploads_days: pulumi.Input[int]
    keep: bool
    tags: Mapping[str, str]


class DataBucket(pulumi.ComponentResource):
    """A bucket that is versioned, encrypted (SSE-S3), closed to the public and to plain HTTP, and tidies itself.

    Its name is fixed, not generated: mounts, configurations and people address the data by it, so it must outlive a
    replacement of anything around it.
    """

    bucket_name: pulumi.Output[str]
    bucket_arn: pulumi.Output[str]

    def __init__(self, name: str, args: DataBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("trimtab:infra:DataBucket", name, None, opts)
        # Its settings are kept as the bucket is: a bucket that stays must not lose its encryption first.
        child = pulumi.ResourceOptions(parent=self, protect=args.keep, retain_on_delete=args.keep)
        bucket = s3.Bucket(f"{name}-bucket", bucket=args.bucket_name, tags=args.tags, opts=child)
        versioning = s3.BucketVersioning(
            f"{name}-versioning",
            bucket=bucket.bucket,
            versioning_configuration=s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=child,
        )
        s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.bucket,
            rules=[
                s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                        sse_algorithm="AES256"
                    ),
                )
            ],
            opts=child,
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
            policy=bucket.arn.apply(lambda arn: json.dumps(tls_only(arn))),
            # S3 refuses the two at once (OperationAborted: a conflicting conditional operation).
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[public_access])),
        )
        s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.bucket,
            rules=[_old_versions_rule(args.old_versions_days), _broken_uploads_rule(args.broken_uploads_days)],
            # Rules on old versions mean nothing, and are refused on some, before there are versions.
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[versioning])),
        )
        self.bucket_name = bucket.bucket
        self.bucket_arn = bucket.arn
        self.register_outputs({"bucket_name": self.bucket_name, "bucket_arn": self.bucket_arn})


def _old_versions_rule(days: pulumi.Input[int]) -> s3.BucketLifecycleConfigurationRuleArgs:
    return s3.BucketLifecycleConfigurationRuleArgs(
        id="old-versions",
        status="Enabled",
        filter=s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
        noncurrent_version_expiration=s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
            noncurrent_days=days
        ),
        expiration=s3.BucketLifecycleConfigurationRuleExpirationArgs(expired_object_delete_marker=True),
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
