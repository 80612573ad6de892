"""Counts what there is: images, snapshots, stored objects, records and files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .stack import HOME_REGION, Stack

REGIONS = (HOME_REGION, "eu-west-1", "eu-central-1")


def objects(stack: Stack, bucket: str) -> dict[str, int]:
    """Key → size in bytes of every object in a bucket."""
    pages = stack.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}


def images(stack: Stack, region: str, filters: Iterable[dict] = ()) -> list[dict[str, Any]]:
    """The account's own images in a Region."""
    pages = (
        stack.client("ec2", region).get_paginator("describe_images").paginate(Owners=["self"], Filters=list(filters))
    )
    return [image for page in pages for image in page["Images"]]


def snapshots(stack: Stack, region: str, filters: Iterable[dict] = ()) -> list[dict[str, Any]]:
    """The account's own snapshots in a Region."""
    pages = (
        stack.client("ec2", region)
        .get_paginator("describe_snapshots")
        .paginate(OwnerIds=["self"], Filters=list(filters))
    )
    return [snapshot for page in pages for snapshot in page["Snapshots"]]


def count(stack: Stack) -> dict[str, int]:
    """How many there are of everything that a run could make twice.

    What lies below `runs/` is left out: each start of a run writes its own report there.
    """
    counts = {}
    for region in REGIONS:
        counts[f"images in {region}"] = len(images(stack, region))
        counts[f"snapshots in {region}"] = len(snapshots(stack, region))
    stored = objects(stack, stack.outputs["BackupBucketName"])
    counts["stored images"] = sum(key.endswith(".bin") for key in stored)
    counts["records"] = sum(key.startswith("records/") for key in stored)
    counts["VM files"] = len(objects(stack, stack.outputs["ExportBucketName"]))
    counts["store tasks"] = len(stack.client("ec2").describe_store_image_tasks()["StoreImageTaskResults"])
    counts["export tasks"] = len(stack.client("ec2").describe_export_image_tasks()["ExportImageTasks"])
    return counts


def tags_of(resource: dict[str, Any]) -> dict[str, str]:
    """The tags of a described resource."""
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}
