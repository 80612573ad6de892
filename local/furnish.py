"""Puts the demo account's buckets and objects into MiniStack, where the stack keeps its objects.

Only the simulator knows how a stored image is made, so a second one is started
for a moment and its objects are copied.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import simulator
from .processes import stop_child

# Cannot be read until they are thawed, so they arrive empty.
_ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")


def furnish(session: Any, endpoint: str, directory: Path, account_file: Path) -> None:
    """Copy every bucket of the first account in `account_file` to the S3 at `endpoint`."""
    account = json.loads(account_file.read_text(encoding="utf-8"))["accounts"][0]
    child, source_url = simulator.launch(directory / "furnish", account_file)
    try:
        for bucket in account.get("buckets", []):
            region = bucket["region"]
            source = session.client("s3", endpoint_url=source_url, region_name=region)
            target = session.client("s3", endpoint_url=endpoint, region_name=region)
            place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            target.create_bucket(Bucket=bucket["name"], **place)
            for described in bucket.get("objects", []):
                _copy(source, target, bucket["name"], described["key"])
    finally:
        stop_child(child)


def _copy(source: Any, target: Any, bucket: str, key: str) -> None:
    head = source.head_object(Bucket=bucket, Key=key)
    storage_class = head.get("StorageClass", "STANDARD")
    archived = storage_class in _ARCHIVED
    body = b"archived" if archived else source.get_object(Bucket=bucket, Key=key)["Body"].read()
    tags = source.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    target.put_object(Bucket=bucket, Key=key, Body=body, Metadata=head["Metadata"], StorageClass=storage_class)
    if tags:
        target.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": tags})
