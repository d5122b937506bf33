"""The Pulumi program: what exists on AWS. The Pulumi CLI applies it there, `infra.embedded` to the embedded AWS."""
