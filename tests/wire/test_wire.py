"""Drives the simulated AWS, as a program, with the real ``aws`` CLI and with boto3.

``SIMULATED_AWS`` names the program. The CLI is the one beside the Python interpreter that runs this:

    SIMULATED_AWS=target/debug/simulated-aws .venv/bin/python -m unittest discover -s tests/wire
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

PROGRAM = os.environ.get("SIMULATED_AWS", "")
ACCOUNT_FILE = Path(__file__).resolve().parent.parent / "simulator" / "accounts" / "demo.json"
CLI = Path(sys.executable).parent / "aws"

ACCOUNT = "000000000000"
OTHER_ACCOUNT = "111122223333"
INSTANCE = "i-0a1b2c3d4e5f60001"
GOLDEN = "ami-0a1b2c3d4e5f60001"
INSTANCE_STORE = "ami-0a1b2c3d4e5f60010"
NOT_SHARED = "ami-0a1b2c3d4e5f60011"
TOO_LARGE = "ami-0a1b2c3d4e5f60012"
FAILED = "ami-0a1b2c3d4e5f60013"
ENCRYPTED = "ami-0a1b2c3d4e5f60014"
PARAVIRTUAL = "ami-0a1b2c3d4e5f60015"
UNKNOWN = "ami-0000000000000dead"
BACKUPS = "ami-backup-demo-backups"
EXPORTS = "ami-backup-demo-exports"
ELSEWHERE = "ami-backup-demo-elsewhere"
STORED_KEY = "ami-0a1b2c3d4e5f60020.bin"
ARCHIVED_KEY = "ami-0a1b2c3d4e5f60021.bin"
ROLE = "ami-backup-demo-export"
TEMPLATE = "lt-0a1b2c3d4e5f60001"
FLEET = "fleet-0a1b2c3d-4e5f-6000-1000-000000000001"
SPOT_FLEET = "sfr-0a1b2c3d-4e5f-6000-1000-000000000001"
LOCKED, ARCHIVED = "snap-0a1b2c3d4e5f60050", "snap-0a1b2c3d4e5f60051"
HOME, AWAY = "us-east-1", "eu-west-1"

# How long a simulated task may take before something is wrong, and how often to look.
PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.05

T = TypeVar("T")


class CliError(Exception):
    """The CLI ended with an error; `code` is the one that the service answered."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Program:
    """A running simulated-aws."""

    def __init__(self, *arguments: str, holding: dict[str, list[Any]] | None = None) -> None:
        self._clients: dict[tuple[str, str, str, str | None], Any] = {}
        self.directory = Path(tempfile.mkdtemp(prefix="simulated-aws-"))
        ready, account = self.directory / "ready.json", self.directory / "account.json"
        content = quick(json.loads(ACCOUNT_FILE.read_text(encoding="utf-8")))
        for name, things in (holding or {}).items():
            content["accounts"][0].setdefault(name, []).extend(things)
        account.write_text(json.dumps(content), encoding="utf-8")
        command = [PROGRAM, "--account", str(account), "--ready-file", str(ready), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            eventually(lambda: ready.exists() or self.process.poll() is not None)
            self.url = json.loads(ready.read_text(encoding="utf-8"))["listening"]
        except BaseException:
            self.stop()
            raise

    def stop(self) -> tuple[int, str, str]:
        """End it as an operator would; returns exit code, standard output and standard error."""
        self.process.send_signal(signal.SIGTERM)
        try:
            out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)
        return self.process.returncode, out, err

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Call an administration path."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_simulator/{path}", method=method, data=data)
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.loads(reply.read())

    def cli(self, *words: str, region: str = HOME, key: str = "test", function: str | None = None) -> Any:
        """Run the `aws` CLI; returns what it printed, as JSON where it is."""
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.directory),
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": "any secret",
            "AWS_DEFAULT_REGION": region,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
        }
        if function:
            environment["AWS_SDK_UA_APP_ID"] = function
        done = subprocess.run(
            [str(CLI), *words], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            found = re.search(r"An error occurred \(([^)]+)\)", done.stderr)
            raise CliError(found.group(1) if found else "-", done.stderr)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout

    def client(self, service: str, region: str = HOME, key: str = "test", function: str | None = None) -> Any:
        """A boto3 client without retries; the same one each time, for making one takes longer than most tests."""
        wanted = (service, region, key, function)
        if wanted not in self._clients:
            self._clients[wanted] = self._client(*wanted)
        return self._clients[wanted]

    def _client(self, service: str, region: str, key: str, function: str | None) -> Any:
        config = Config(
            retries={"total_max_attempts": 1},
            read_timeout=20,
            user_agent_appid=function,
            s3={"addressing_style": "path"},
        )
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key="any secret",
            config=config,
        )


def quick(account: dict[str, Any]) -> dict[str, Any]:
    """The demo account, whose tasks take no longer than the shortest one there."""
    settings = {n: 1_000_000 if n.endswith("MibPerSecond") else v for n, v in account["settings"].items()}
    return {**account, "settings": {**settings, "instanceChangeMs": 100, "usageReportMs": 100, "usageLagMs": 0}}


def eventually(look: Callable[[], T]) -> T:
    """Look until there is something, and no longer than `PATIENCE_SECONDS`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"nothing came of it within {PATIENCE_SECONDS} seconds")
        time.sleep(LOOK_SECONDS)


class WireTest(unittest.TestCase):
    """One program for all tests of a class, put back to the account file before each."""

    program: Program
    # What the first account of the file holds besides.
    holding: ClassVar[dict[str, list[Any]]] = {}

    @classmethod
    def setUpClass(cls) -> None:
        if not PROGRAM:
            raise unittest.SkipTest("SIMULATED_AWS does not name the program")
        cls.program = Program(holding=cls.holding)
        cls.addClassCleanup(cls.program.stop)

    def setUp(self) -> None:
        self.program.admin("POST", "reset")
        self.aws = self.program.cli
        self.ec2 = self.program.client("ec2")
        self.away = self.program.client("ec2", AWAY)
        self.s3 = self.program.client("s3")

    def refused(self, code: str, call: Callable[..., Any], *words: Any, **named: Any) -> str:
        """The call must be refused with `code`; returns the whole text."""
        with self.assertRaises((CliError, ClientError)) as caught:
            call(*words, **named)
        error = caught.exception
        found = error.code if isinstance(error, CliError) else error.response["Error"]["Code"]
        self.assertEqual(found, code, str(error))
        return str(error)

    def image(self, image_id: str, ec2: Any = None) -> dict[str, Any]:
        """One image, by its id."""
        return (ec2 or self.ec2).describe_images(ImageIds=[image_id])["Images"][0]

    def settled(self, image_id: str, ec2: Any = None) -> dict[str, Any]:
        """One image, once it is no longer pending. A new id may be unknown for a moment."""

        def look() -> dict[str, Any] | None:
            filters = [{"Name": "image-id", "Values": [image_id]}]
            images = (ec2 or self.ec2).describe_images(Filters=filters)["Images"]
            return images[0] if images and images[0]["State"] != "pending" else None

        return eventually(look)

    def snapshots_of(self, image: dict[str, Any]) -> list[str]:
        """Ids of the snapshots behind an image."""
        return [device["Ebs"]["SnapshotId"] for device in image["BlockDeviceMappings"] if "Ebs" in device]

    def stored(self, image_id: str) -> dict[str, Any]:
        """The newest store task of an image, once it has ended."""

        def look() -> dict[str, Any] | None:
            tasks = self.ec2.describe_store_image_tasks(ImageIds=[image_id])["StoreImageTaskResults"]
            return tasks[0] if tasks and tasks[0]["StoreTaskState"] != "InProgress" else None

        return eventually(look)

    def tags(self, thing: dict[str, Any]) -> dict[str, str]:
        """Tags as a dictionary."""
        return {tag["Key"]: tag["Value"] for tag in thing.get("Tags", [])}

    def keys(self, bucket: str) -> list[str]:
        """Keys in a bucket."""
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


class StoreTest(WireTest):
    """create-store-image-task and describe-store-image-tasks."""

    def test_a_store_writes_its_object_and_then_says_completed(self) -> None:
        tag = "Key=ami-backup:managed,Value=true"
        answer = self.aws(
            "ec2", "create-store-image-task", "--image-id", GOLDEN, "--bucket", BACKUPS, "--s3-object-tags", tag
        )
        self.assertEqual(answer, {"ObjectKey": f"{GOLDEN}.bin"})
        task = self.stored(GOLDEN)
        self.assertEqual(task["StoreTaskState"], "Completed")
        self.assertEqual((task["Bucket"], task["S3objectKey"]), (BACKUPS, f"{GOLDEN}.bin"))
        self.assertNotIn("StoreTaskFailureReason", task)
        head = self.s3.head_object(Bucket=BACKUPS, Key=f"{GOLDEN}.bin")
        self.assertGreater(head["ContentLength"], 0)
        tags = self.s3.get_object_tagging(Bucket=BACKUPS, Key=f"{GOLDEN}.bin")["TagSet"]
        self.assertEqual(tags, [{"Key": "ami-backup:managed", "Value": "true"}])
        shown = self.aws("ec2", "describe-store-image-tasks", "--image-ids", GOLDEN)["StoreImageTaskResults"]
        self.assertEqual([one["StoreTaskState"] for one in shown], ["Completed"])

    def test_a_path_behind_the_bucket_comes_back_in_the_key(self) -> None:
        answer = self.ec2.create_store_image_task(ImageId=GOLDEN, Bucket=f"{BACKUPS}/a/b")
        self.assertEqual(answer["ObjectKey"], f"a/b/{GOLDEN}.bin")
        self.stored(GOLDEN)
        self.assertIn(f"a/b/{GOLDEN}.bin", self.keys(BACKUPS))

    def test_what_cannot_be_stored_is_refused(self) -> None:
        def store(image: str, bucket: str = BACKUPS) -> Any:
            return self.aws("ec2", "create-store-image-task", "--image-id", image, "--bucket", bucket)

        self.refused("InvalidAMIID.NotFound", store, UNKNOWN)
        self.refused("InvalidAMIID.NotFound", store, NOT_SHARED)
        self.refused("InvalidAMIID.Malformed", store, "golden")
        for image in (INSTANCE_STORE, PARAVIRTUAL, TOO_LARGE):
            self.refused("InvalidRequest", store, image)
        self.refused("InvalidAMIID.Unavailable", store, FAILED)
        self.refused("NoSuchBucket", store, GOLDEN, "no-such-bucket-anywhere")
        self.refused("InvalidParameterValue", store, GOLDEN, ELSEWHERE)
        self.assertEqual(self.ec2.describe_store_image_tasks()["StoreImageTaskResults"], [])

    def test_a_second_store_to_the_same_place_is_refused(self) -> None:
        self.ec2.create_store_image_task(ImageId=GOLDEN, Bucket=BACKUPS)
        self.refused("InvalidRequest", self.ec2.create_store_image_task, ImageId=GOLDEN, Bucket=BACKUPS)
        self.stored(GOLDEN)
        self.refused("InvalidRequest", self.ec2.create_store_image_task, ImageId=GOLDEN, Bucket=BACKUPS)

    def test_tasks_are_filtered_and_paged(self) -> None:
        for path in ("a", "b", "c"):
            self.ec2.create_store_image_task(ImageId=GOLDEN, Bucket=f"{BACKUPS}/{path}")
        # A new task may be unknown for a moment.
        eventually(lambda: len(self.ec2.describe_store_image_tasks()["StoreImageTaskResults"]) == 3)
        pages = list(self.ec2.get_paginator("describe_store_image_tasks").paginate(PaginationConfig={"PageSize": 2}))
        self.assertEqual([len(page["StoreImageTaskResults"]) for page in pages], [2, 1])
        keys = [task["S3objectKey"] for page in pages for task in page["StoreImageTaskResults"]]
        self.assertEqual(keys, [f"{path}/{GOLDEN}.bin" for path in ("c", "b", "a")])
        none = self.ec2.describe_store_image_tasks(Filters=[{"Name": "task-state", "Values": ["Failed"]}])
        self.assertEqual(none["StoreImageTaskResults"], [])
        both = {"ImageIds": [GOLDEN], "MaxResults": 5}
        self.refused("InvalidParameterCombination", self.ec2.describe_store_image_tasks, **both)


class RestoreTest(WireTest):
    """create-restore-image-task."""

    def restore(self, key: str, name: str, **named: Any) -> str:
        """Restore an object of the backup bucket; returns the new image's id."""
        answer = self.ec2.create_restore_image_task(Bucket=BACKUPS, ObjectKey=key, Name=name, **named)
        return str(answer["ImageId"])

    def test_a_restored_image_has_its_name_tags_and_new_snapshots(self) -> None:
        self.ec2.create_store_image_task(ImageId=GOLDEN, Bucket=BACKUPS)
        self.stored(GOLDEN)
        golden = self.image(GOLDEN)
        answer = self.aws(
            "ec2", "create-restore-image-task", "--bucket", BACKUPS, "--object-key", f"{GOLDEN}.bin",
            "--name", "golden again", "--tag-specifications",
            "ResourceType=image,Tags=[{Key=ami-backup:run,Value=r1}]",
            "ResourceType=snapshot,Tags=[{Key=ami-backup:run,Value=r2}]",
        )  # fmt: skip
        restored = self.settled(answer["ImageId"])
        self.assertEqual((restored["State"], restored["Name"]), ("available", "golden again"))
        self.assertNotEqual(restored["ImageId"], GOLDEN)
        self.assertEqual(self.tags(restored), {**self.tags(golden), "ami-backup:run": "r1"})
        self.assertEqual(restored["SourceImageId"], GOLDEN)
        snapshots = self.snapshots_of(restored)
        self.assertEqual(len(snapshots), len(self.snapshots_of(golden)))
        self.assertFalse(set(snapshots) & set(self.snapshots_of(golden)))
        for snapshot in self.ec2.describe_snapshots(SnapshotIds=snapshots)["Snapshots"]:
            self.assertEqual(self.tags(snapshot)["ami-backup:run"], "r2")
        allowed = self.ec2.describe_image_attribute(ImageId=restored["ImageId"], Attribute="launchPermission")
        self.assertEqual(allowed["LaunchPermissions"], [])

    def test_an_object_whose_image_is_gone_still_restores(self) -> None:
        self.assertEqual(self.settled(self.restore(STORED_KEY, "back"))["State"], "available")

    def test_a_damaged_or_truncated_object_does_not_restore(self) -> None:
        body = self.s3.get_object(Bucket=BACKUPS, Key=STORED_KEY)["Body"].read()
        middle = len(body) // 2
        damaged = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        for name, bad in (("damaged", damaged), ("truncated", body[:middle]), ("empty", b"")):
            with self.subTest(name):
                self.s3.put_object(Bucket=BACKUPS, Key=f"{name}.bin", Body=bad)
                image = self.settled(self.restore(f"{name}.bin", f"from {name}"))
                self.assertEqual(image["State"], "failed")
                self.assertIn("Message", image["StateReason"])

    def test_what_cannot_be_restored_is_refused(self) -> None:
        def restore(key: str, name: str = "a name", bucket: str = BACKUPS) -> Any:
            return self.aws("ec2", "create-restore-image-task", "--bucket", bucket, "--object-key", key, "--name", name)

        self.refused("NoSuchKey", restore, "gone.bin")
        self.refused("NoSuchBucket", restore, STORED_KEY, bucket="no-such-bucket-anywhere")
        self.refused("InvalidParameterValue", restore, STORED_KEY, bucket=ELSEWHERE)
        self.refused("InvalidObjectState", restore, ARCHIVED_KEY)
        self.refused("InvalidAMIName.Duplicate", restore, STORED_KEY, self.image(GOLDEN)["Name"])
        self.refused("InvalidAMIName.Malformed", restore, STORED_KEY, "no #!")


class CopyTest(WireTest):
    """copy-image."""

    def copy(self, **named: Any) -> str:
        """Copy the golden image to the other Region; returns the new image's id."""
        given = {"SourceImageId": GOLDEN, "SourceRegion": HOME, "Name": "a copy", "ClientToken": "t1", **named}
        return str(self.away.copy_image(**given)["ImageId"])

    def test_a_copy_arrives_in_the_other_region_without_tags_and_permissions(self) -> None:
        answer = self.aws(
            "ec2", "copy-image", "--source-image-id", GOLDEN, "--source-region", HOME, "--name", "golden copy",
            "--tag-specifications", "ResourceType=snapshot,Tags=[{Key=ami-backup:run,Value=r1}]", region=AWAY,
        )  # fmt: skip
        copy = self.settled(answer["ImageId"], self.away)
        self.assertEqual((copy["State"], copy["Name"]), ("available", "golden copy"))
        self.assertEqual((copy["SourceImageId"], copy["SourceImageRegion"]), (GOLDEN, HOME))
        self.assertEqual(self.tags(copy), {})
        snapshots = self.away.describe_snapshots(SnapshotIds=self.snapshots_of(copy))["Snapshots"]
        for snapshot in snapshots:
            self.assertEqual(self.tags(snapshot), {"ami-backup:run": "r1"})
            self.assertRegex(
                snapshot["Description"],
                rf"^Copied for DestinationAmi {copy['ImageId']} from SourceAmi {GOLDEN} for SourceSnapshot snap-",
            )
        allowed = self.away.describe_image_attribute(ImageId=copy["ImageId"], Attribute="launchPermission")
        self.assertEqual(allowed["LaunchPermissions"], [])
        self.refused("InvalidAMIID.NotFound", self.ec2.describe_images, ImageIds=[copy["ImageId"]])

    def test_the_same_token_gives_the_same_copy_and_other_parameters_a_mismatch(self) -> None:
        first = self.copy()
        self.assertEqual(self.copy(), first)
        self.refused("IdempotentParameterMismatch", self.copy, Name="another name")

    def test_an_encrypted_copy_has_the_key_that_was_named(self) -> None:
        key = f"arn:aws:kms:{AWAY}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
        copy = self.settled(self.copy(Encrypted=True, KmsKeyId=key), self.away)
        self.assertEqual(copy["State"], "available")
        for snapshot in self.away.describe_snapshots(SnapshotIds=self.snapshots_of(copy))["Snapshots"]:
            self.assertEqual((snapshot["Encrypted"], snapshot["KmsKeyId"]), (True, key))

    def test_what_cannot_be_copied_is_refused(self) -> None:
        self.refused("InvalidAMIID.NotFound", self.copy, SourceImageId=UNKNOWN)
        self.refused("InvalidAMIID.NotFound", self.copy, SourceImageId=NOT_SHARED)
        self.refused("InvalidAMIID.Malformed", self.copy, SourceImageId="golden")
        self.refused("InvalidAMIID.Unavailable", self.copy, SourceImageId=FAILED)
        self.refused("InvalidRegion", self.copy, SourceRegion="mars-north-1")
        self.refused("InvalidParameterCombination", self.copy, KmsKeyId="alias/x")
        self.refused("InvalidAMIName.Malformed", self.copy, Name="no #!")


class ExportTest(WireTest):
    """export-image."""

    def export(self, image: str = GOLDEN, bucket: str = EXPORTS, **named: Any) -> Any:
        """Start an export."""
        location = {"S3Bucket": bucket, "S3Prefix": "exports/"}
        given = {"DiskImageFormat": "VMDK", "RoleName": ROLE, **named}
        return self.ec2.export_image(ImageId=image, S3ExportLocation=location, **given)

    def test_an_export_ends_completed_with_its_file_under_the_prefix(self) -> None:
        answer = self.aws(
            "ec2", "export-image", "--image-id", GOLDEN, "--disk-image-format", "VMDK", "--role-name", ROLE,
            "--s3-export-location", f"S3Bucket={EXPORTS},S3Prefix=exports/",
        )  # fmt: skip
        task = answer["ExportImageTaskId"]
        self.assertRegex(task, "^export-ami-")
        self.assertEqual(answer["Status"], "active")

        def ended() -> dict[str, Any] | None:
            filters = self.ec2.describe_export_image_tasks()["ExportImageTasks"]
            found = [one for one in filters if one["ExportImageTaskId"] == task and one["Status"] != "active"]
            return found[0] if found else None

        self.assertEqual(eventually(ended)["Status"], "completed")
        self.assertIn(f"exports/{task}.vmdk", self.keys(EXPORTS))

    def test_what_cannot_be_exported_is_refused(self) -> None:
        self.refused("InvalidAMIID.NotFound", self.export, UNKNOWN)
        self.refused("NotExportable", self.export, ENCRYPTED)
        self.refused("InvalidParameter", self.export, bucket=ELSEWHERE)
        self.refused("InvalidParameter", self.export, bucket="no-such-bucket-anywhere")
        describe = self.ec2.describe_export_image_tasks
        self.refused("InvalidExportTaskID.NotFound", describe, ExportImageTaskIds=["export-ami-0123456789abcdef0"])
        self.refused("InvalidExportTaskID.Malformed", describe, ExportImageTaskIds=["export-1"])

    def test_a_second_export_of_the_same_image_waits_for_the_first(self) -> None:
        self.export(ClientToken="one")
        self.refused("NotExportable", self.export, ClientToken="two")

    def test_a_bucket_with_a_kms_key_is_refused(self) -> None:
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
        self.s3.put_bucket_encryption(Bucket=EXPORTS, ServerSideEncryptionConfiguration={"Rules": [rule]})
        self.refused("InvalidParameter", self.export)


class CleanupTest(WireTest):
    """deregister-image and delete-snapshot."""

    def test_a_snapshot_in_use_is_not_deleted_until_its_image_is_gone(self) -> None:
        (snapshot, *_) = self.snapshots_of(self.image(GOLDEN))
        delete = ("ec2", "delete-snapshot", "--snapshot-id", snapshot)
        self.assertIn(GOLDEN, self.refused("InvalidSnapshot.InUse", self.aws, *delete))
        self.aws("ec2", "deregister-image", "--image-id", GOLDEN)
        self.assertEqual(len(self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]), 1)
        self.aws(*delete)
        self.refused("InvalidSnapshot.NotFound", self.aws, *delete)
        self.refused("InvalidSnapshot.NotFound", self.ec2.describe_snapshots, SnapshotIds=[snapshot])
        self.refused("InvalidSnapshotID.Malformed", self.aws, "ec2", "delete-snapshot", "--snapshot-id", "snapshot")

    def test_a_deregistered_image_is_gone(self) -> None:
        self.ec2.deregister_image(ImageId=GOLDEN)
        self.refused("InvalidAMIID.NotFound", self.ec2.describe_images, ImageIds=[GOLDEN])
        self.refused("InvalidAMIID.NotFound", self.aws, "ec2", "deregister-image", "--image-id", GOLDEN)
        self.refused("InvalidAMIID.Malformed", self.aws, "ec2", "deregister-image", "--image-id", "golden")

    def test_deregistering_can_take_the_snapshots_along(self) -> None:
        snapshots = self.snapshots_of(self.image(GOLDEN))
        words = ("ec2", "deregister-image", "--image-id", GOLDEN, "--delete-associated-snapshots")
        results = self.aws(*words)["DeleteSnapshotResults"]
        self.assertEqual(results, [{"SnapshotId": one, "ReturnCode": "success"} for one in snapshots])
        self.refused("InvalidSnapshot.NotFound", self.ec2.describe_snapshots, SnapshotIds=snapshots)

    def test_a_snapshot_that_another_image_uses_is_skipped(self) -> None:
        (snapshot, *_) = self.snapshots_of(self.image(GOLDEN))
        device = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}
        self.ec2.register_image(
            Name="second", RootDeviceName="/dev/xvda", BlockDeviceMappings=[device], VirtualizationType="hvm",
            Architecture="x86_64",
        )  # fmt: skip
        answer = self.ec2.deregister_image(ImageId=GOLDEN, DeleteAssociatedSnapshots=True)
        codes = {one["SnapshotId"]: one["ReturnCode"] for one in answer["DeleteSnapshotResults"]}
        self.assertEqual(codes[snapshot], "skipped")

    def test_a_protected_image_stays(self) -> None:
        self.ec2.enable_image_deregistration_protection(ImageId=GOLDEN)
        self.refused("OperationNotPermitted", self.aws, "ec2", "deregister-image", "--image-id", GOLDEN)
        self.ec2.disable_image_deregistration_protection(ImageId=GOLDEN)
        self.aws("ec2", "deregister-image", "--image-id", GOLDEN)

    def test_an_image_of_another_account_cannot_be_deregistered(self) -> None:
        theirs = self.program.client("ec2", key=OTHER_ACCOUNT)
        self.assertEqual(self.image(GOLDEN, theirs)["OwnerId"], ACCOUNT)
        with self.assertRaises(ClientError) as caught:
            theirs.deregister_image(ImageId=GOLDEN)
        self.assertIn(caught.exception.response["Error"]["Code"], ("AuthFailure", "OperationNotPermitted"))
        self.image(GOLDEN)


class UseTest(WireTest):
    """What uses an image: instances, launch templates, Auto Scaling, fleets, parameters, other accounts."""

    holding: ClassVar[dict[str, list[Any]]] = {
        "launchTemplates": [
            {"region": HOME, "id": TEMPLATE, "name": "web", "versions": [
                {"number": 1, "imageId": GOLDEN}, {"number": 2, "imageId": "resolve:ssm:/golden"}]},
        ],
        "ssmParameters": [{"region": HOME, "name": "/golden", "value": ENCRYPTED}],
        "launchConfigurations": [
            {"region": HOME, "name": f"old-{number}", "imageId": GOLDEN, "snapshotIds": ["snap-0a1b2c3d4e5f60001"]}
            for number in range(3)
        ],
        "autoScalingGroups": [
            {"region": HOME, "name": "a", "launchConfigurationName": "old-1", "tags": {"Team": "x"}},
            {"region": HOME, "name": "b", "launchTemplate": {"launchTemplateName": "web", "version": "1"}},
            {"region": HOME, "name": "c", "mixedInstancesPolicy": {
                "launchTemplate": {"launchTemplateId": TEMPLATE},
                "overrides": [{"launchTemplate": {"launchTemplateName": "web", "version": "2"}}]}},
        ],
        "fleets": [
            {"region": HOME, "id": FLEET, "launchTemplateConfigs": [
                {"launchTemplate": {"launchTemplateName": "web"}, "overrides": [{"imageId": GOLDEN}]}]},
        ],
        "spotFleets": [{"region": HOME, "id": SPOT_FLEET, "launchSpecifications": [{"imageId": GOLDEN}]}],
    }  # fmt: skip

    def test_instances_come_and_go(self) -> None:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]}]
        launched = self.ec2.run_instances(
            LaunchTemplate={"LaunchTemplateId": TEMPLATE, "Version": "1"},
            MinCount=1,
            MaxCount=2,
            TagSpecifications=tags,
        )["Instances"]
        ids = [one["InstanceId"] for one in launched]
        self.assertEqual([one["State"]["Name"] for one in launched], ["pending", "pending"])
        self.assertEqual({one["ImageId"] for one in launched}, {GOLDEN})

        def all_are(state: str) -> bool:
            filters = [
                {"Name": "image-id", "Values": [GOLDEN]},
                {"Name": "instance-state-name", "Values": [state]},
                {"Name": "tag:Name", "Values": ["web"]},
            ]
            pages = self.ec2.get_paginator("describe_instances").paginate(Filters=filters)
            found = [
                one["InstanceId"] for page in pages for group in page["Reservations"] for one in group["Instances"]
            ]
            return sorted(found) == sorted(ids)

        eventually(lambda: all_are("running"))
        ended = self.ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
        self.assertEqual({one["CurrentState"]["Name"] for one in ended}, {"shutting-down"})
        eventually(lambda: all_are("terminated"))
        self.ec2.disable_image(ImageId=GOLDEN)
        launch = {"ImageId": GOLDEN, "MinCount": 1, "MaxCount": 1}
        self.refused("InvalidAMIID.Unavailable", self.ec2.run_instances, **launch)

    def test_versions_of_templates_are_described_resolved_and_made(self) -> None:
        def found(**named: Any) -> list[str]:
            pages = self.ec2.get_paginator("describe_launch_template_versions").paginate(**named)
            return [
                one["LaunchTemplateData"]["ImageId"] for page in pages for one in page["LaunchTemplateVersions"]
            ]  # fmt: skip

        both = ["$Latest", "$Default"]
        self.assertEqual(found(Versions=both), ["resolve:ssm:/golden", GOLDEN])
        several: dict[str, Any] = {"Versions": both, "ResolveAlias": True}
        refused = self.refused("InvalidParameterCombination", self.ec2.describe_launch_template_versions, **several)
        self.assertIn("single version describe", refused)
        self.refused("InvalidParameterCombination", found, LaunchTemplateId=TEMPLATE, ResolveAlias=True)
        self.assertEqual(found(LaunchTemplateId=TEMPLATE, Versions=["2"], ResolveAlias=True), [ENCRYPTED])
        self.assertEqual(found(Versions=both, Filters=[{"Name": "image-id", "Values": [GOLDEN]}]), [GOLDEN])
        made = self.ec2.create_launch_template_version(
            LaunchTemplateName="web", LaunchTemplateData={"ImageId": TOO_LARGE}
        )
        self.assertEqual(made["LaunchTemplateVersion"]["VersionNumber"], 3)
        eventually(lambda: found(LaunchTemplateId=TEMPLATE, PaginationConfig={"PageSize": 1})[0] == TOO_LARGE)
        changed = self.ec2.modify_launch_template(LaunchTemplateId=TEMPLATE, DefaultVersion="3")
        self.assertEqual(changed["LaunchTemplate"]["DefaultVersionNumber"], 3)
        shown = self.aws("ec2", "describe-launch-templates", "--launch-template-names", "web")["LaunchTemplates"]
        self.assertEqual(shown[0]["LatestVersionNumber"], 3)
        new = {"LaunchTemplateName": "fresh", "LaunchTemplateData": {"ImageId": GOLDEN}}
        fresh = self.ec2.create_launch_template(**new)["LaunchTemplate"]["LaunchTemplateId"]
        eventually(lambda: GOLDEN in found(Versions=["$Default"]))
        self.ec2.delete_launch_template(LaunchTemplateId=fresh)
        unknown = {"LaunchTemplateIds": [fresh]}
        self.refused("InvalidLaunchTemplateId.NotFound", self.ec2.describe_launch_templates, **unknown)

    def test_auto_scaling_shows_what_it_launches(self) -> None:
        scaling = self.program.client("autoscaling")
        groups = scaling.get_paginator("describe_auto_scaling_groups").paginate(PaginationConfig={"PageSize": 2})
        by_name = {group["AutoScalingGroupName"]: group for page in groups for group in page["AutoScalingGroups"]}
        self.assertEqual(by_name["a"]["LaunchConfigurationName"], "old-1")
        self.assertEqual(by_name["a"]["Tags"][0]["Key"], "Team")
        template = {"LaunchTemplateId": TEMPLATE, "LaunchTemplateName": "web", "Version": "1"}
        self.assertEqual(by_name["b"]["LaunchTemplate"], template)
        (override,) = by_name["c"]["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]
        self.assertEqual(override["LaunchTemplateSpecification"], {**template, "Version": "2"})
        pages = list(scaling.get_paginator("describe_launch_configurations").paginate(PaginationConfig={"PageSize": 2}))
        names = [one["LaunchConfigurationName"] for page in pages for one in page["LaunchConfigurations"]]
        self.assertEqual((names, len(pages)), (["old-0", "old-1", "old-2"], 2))
        shown = self.aws("autoscaling", "describe-launch-configurations")["LaunchConfigurations"][0]
        self.assertEqual(shown["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"], "snap-0a1b2c3d4e5f60001")
        allowed = {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}
        self.program.admin("PUT", "permissions", {"powerless": allowed})
        powerless = self.program.client("autoscaling", function="powerless")
        self.refused("AccessDenied", powerless.describe_auto_scaling_groups)

    def test_fleets_show_what_they_launch(self) -> None:
        (fleet,) = self.ec2.describe_fleets()["Fleets"]
        (configuration,) = fleet["LaunchTemplateConfigs"]
        self.assertEqual(configuration["LaunchTemplateSpecification"]["LaunchTemplateId"], TEMPLATE)
        self.assertEqual(configuration["Overrides"][0]["ImageId"], GOLDEN)
        (spot,) = self.ec2.describe_spot_fleet_requests()["SpotFleetRequestConfigs"]
        self.assertEqual(spot["SpotFleetRequestConfig"]["LaunchSpecifications"][0]["ImageId"], GOLDEN)

    def test_references_are_found_in_one_call(self) -> None:
        def found(**named: Any) -> list[tuple[str, str]]:
            answer = self.ec2.describe_image_references(ImageIds=[GOLDEN, ENCRYPTED], **named)
            return [(one["ImageId"], one["ResourceType"]) for one in answer["ImageReferences"]]

        everything = [(GOLDEN, "ec2:Instance"), (GOLDEN, "ec2:LaunchTemplate"), (ENCRYPTED, "ssm:Parameter")]
        self.assertEqual(found(IncludeAllResourceTypes=True), everything)
        depth = {"OptionName": "version-depth", "OptionValues": ["1"]}
        newest = [{"ResourceType": "ec2:LaunchTemplate", "ResourceTypeOptions": [depth]}]
        self.assertEqual(found(ResourceTypes=newest), [])
        self.refused("MissingParameter", self.ec2.describe_image_references, ImageIds=[GOLDEN])

    def test_a_report_counts_what_other_accounts_have(self) -> None:
        theirs = self.program.client("ec2", key=OTHER_ACCOUNT)
        theirs.run_instances(ImageId=GOLDEN, MinCount=1, MaxCount=1)
        kinds = [{"ResourceType": "ec2:Instance"}, {"ResourceType": "ec2:LaunchTemplate"}]
        report = self.ec2.create_image_usage_report(ImageId=GOLDEN, ResourceTypes=kinds)["ReportId"]

        def state() -> str | None:
            reports = self.ec2.describe_image_usage_reports(ImageIds=[GOLDEN])["ImageUsageReports"]
            return reports[0]["State"] if reports else None

        eventually(lambda: state() == "available")
        entries = self.ec2.describe_image_usage_report_entries(ReportIds=[report])["ImageUsageReportEntries"]
        counts = {(one["AccountId"], one["ResourceType"]): one["UsageCount"] for one in entries}
        self.assertEqual(counts[OTHER_ACCOUNT, "ec2:Instance"], 1)
        self.assertEqual(counts[ACCOUNT, "ec2:LaunchTemplate"], 1)
        self.assertTrue(self.ec2.delete_image_usage_report(ReportId=report)["Return"])


class KeepTest(WireTest):
    """What keeps images and snapshots: locks, the archive, the Recycle Bin."""

    holding: ClassVar[dict[str, list[Any]]] = {
        "snapshots": [
            {"region": HOME, "id": LOCKED, "sizeGib": 8, "lock": {"mode": "governance", "durationDays": 5}},
            {"region": HOME, "id": ARCHIVED, "sizeGib": 8, "storageTier": "archive"},
        ],
        # Longer than the account's own rules: the longest wins.
        "recycleBinRules": [
            {"region": HOME, "id": "AAAAAAAAAAA", "resourceType": "EC2_IMAGE", "retentionDays": 21},
            {"region": HOME, "resourceType": "EBS_SNAPSHOT", "retentionDays": 28, "resourceTags": {"Team": "platform"}},
        ],
    }

    def test_a_locked_snapshot_stays_until_it_is_unlocked(self) -> None:
        (locked,) = self.ec2.describe_locked_snapshots()["Snapshots"]
        self.assertEqual((locked["SnapshotId"], locked["LockState"]), (LOCKED, "governance"))
        self.refused("OperationNotPermitted", self.aws, "ec2", "delete-snapshot", "--snapshot-id", LOCKED)
        self.assertEqual(self.ec2.unlock_snapshot(SnapshotId=LOCKED)["SnapshotId"], LOCKED)
        self.aws("ec2", "delete-snapshot", "--snapshot-id", LOCKED)
        (snapshot, *_) = self.snapshots_of(self.image(GOLDEN))
        lock = self.ec2.lock_snapshot(SnapshotId=snapshot, LockMode="compliance", LockDuration=1, CoolOffPeriod=1)
        self.assertEqual(lock["LockState"], "compliance-cooloff")
        answer = self.ec2.deregister_image(ImageId=GOLDEN, DeleteAssociatedSnapshots=True)
        self.assertEqual(answer["DeleteSnapshotResults"], [{"SnapshotId": snapshot, "ReturnCode": "client-error"}])

    def test_an_archived_snapshot_says_so(self) -> None:
        self.assertEqual(self.ec2.describe_snapshots(SnapshotIds=[ARCHIVED])["Snapshots"][0]["StorageTier"], "archive")
        archived = [{"Name": "last-tiering-operation", "Values": ["archival-completed"]}]
        (status,) = self.ec2.describe_snapshot_tier_status(Filters=archived)["SnapshotTierStatuses"]
        self.assertEqual((status["SnapshotId"], status["StorageTier"]), (ARCHIVED, "archive"))

    def test_what_goes_into_the_bin_comes_back(self) -> None:
        (snapshot, *_) = self.snapshots_of(self.image(GOLDEN))
        self.ec2.deregister_image(ImageId=GOLDEN, DeleteAssociatedSnapshots=True)
        (image,) = self.ec2.list_images_in_recycle_bin()["Images"]
        self.assertEqual((image["ImageId"], image["Name"]), (GOLDEN, "golden-2026-11"))
        self.assertEqual((image["RecycleBinExitTime"] - image["RecycleBinEnterTime"]).days, 21)
        (binned,) = self.ec2.list_snapshots_in_recycle_bin()["Snapshots"]
        self.assertEqual(binned["SnapshotId"], snapshot)
        self.refused("InvalidSnapshot.NotFound", self.ec2.restore_image_from_recycle_bin, ImageId=GOLDEN)
        restored = self.ec2.restore_snapshot_from_recycle_bin(SnapshotId=snapshot)
        self.assertEqual((restored["SnapshotId"], restored["State"]), (snapshot, "completed"))
        self.assertTrue(self.ec2.restore_image_from_recycle_bin(ImageId=GOLDEN)["Return"])
        self.assertEqual(self.image(GOLDEN)["State"], "available")
        allowed = self.ec2.describe_image_attribute(ImageId=GOLDEN, Attribute="launchPermission")
        self.assertEqual(allowed["LaunchPermissions"], [{"UserId": OTHER_ACCOUNT}])

    def test_the_rules_of_the_bin_are_told(self) -> None:
        bin_ = self.program.client("rbin")
        period = {"RetentionPeriodValue": 28, "RetentionPeriodUnit": "DAYS"}
        rules = bin_.list_rules(ResourceType="EBS_SNAPSHOT")["Rules"]
        (rule,) = (one for one in rules if one["RetentionPeriod"] == period)
        whole = bin_.get_rule(Identifier=rule["Identifier"])
        self.assertEqual(whole["ResourceTags"], [{"ResourceTagKey": "Team", "ResourceTagValue": "platform"}])
        self.refused("ResourceNotFoundException", bin_.get_rule, Identifier="ZZZZZZZZZZZ")
        self.program.admin("PUT", "permissions", {"powerless": []})
        powerless = self.program.client("rbin", function="powerless")
        self.refused("AccessDeniedException", powerless.list_rules, ResourceType="EC2_IMAGE")
        self.assertEqual(
            self.aws("rbin", "list-rules", "--resource-type", "EC2_IMAGE")["Rules"][0]["Identifier"], "A" * 11
        )


class DescribeTest(WireTest):
    """describe-images, with filters and pages."""

    def found(self, *filters: str) -> list[str]:
        """Ids of own images that the CLI finds."""
        words = ["ec2", "describe-images", "--owners", "self", "--query", "Images[].ImageId"]
        return sorted(self.aws(*words, *(["--filters", *filters] if filters else [])))

    def test_filters_are_anded_and_take_wildcards(self) -> None:
        everything = self.found()
        self.assertIn(GOLDEN, everything)
        self.assertNotIn(NOT_SHARED, everything)
        self.assertIn(GOLDEN, self.found("Name=tag:Backup,Values=nightly"))
        self.assertIn(GOLDEN, self.found("Name=name,Values=golden-*,other-*", "Name=state,Values=available"))
        self.assertEqual(self.found("Name=name,Values=golden-*", "Name=state,Values=failed"), [])
        self.assertEqual(self.found("Name=root-device-type,Values=instance-store"), [INSTANCE_STORE])
        (snapshot, *_) = self.snapshots_of(self.image(GOLDEN))
        self.assertEqual(self.found(f"Name=block-device-mapping.snapshot-id,Values={snapshot}"), [GOLDEN])
        self.assertEqual(self.found(f"Name=image-id,Values={UNKNOWN}"), [])

    def test_pages_hold_every_image_once(self) -> None:
        everything = self.found()
        pages = list(
            self.ec2.get_paginator("describe_images").paginate(Owners=["self"], PaginationConfig={"PageSize": 2})
        )
        self.assertGreater(len(pages), 2)
        self.assertTrue(all(len(page["Images"]) <= 2 for page in pages))
        paged = sorted(image["ImageId"] for page in pages for image in page["Images"])
        self.assertEqual(paged, everything)
        words = ("ec2", "describe-images", "--owners", "self", "--page-size", "3", "--query", "Images[].ImageId")
        self.assertEqual(sorted(self.aws(*words)), everything)

    def test_bad_requests_are_refused(self) -> None:
        def describe(*words: str) -> Any:
            return self.aws("ec2", "describe-images", *words)

        self.refused("InvalidAMIID.NotFound", describe, "--image-ids", GOLDEN, UNKNOWN)
        self.refused("InvalidAMIID.Malformed", describe, "--image-ids", "golden")
        self.refused("InvalidParameterValue", describe, "--filters", "Name=colour,Values=red")
        self.refused("InvalidUserID.Malformed", describe, "--owners", "me")
        both = {"ImageIds": [GOLDEN], "MaxResults": 5}
        self.refused("InvalidParameterCombination", self.ec2.describe_images, **both)
        self.refused("InvalidNextToken", self.ec2.describe_images, NextToken="made up", MaxResults=5)

    def test_an_image_shows_what_its_account_file_says(self) -> None:
        image = self.image(GOLDEN)
        self.assertEqual((image["BootMode"], image["ImdsSupport"]), ("uefi", "v2.0"))
        self.assertEqual((image["Architecture"], image["VirtualizationType"]), ("x86_64", "hvm"))
        self.assertTrue(image["EnaSupport"])
        self.assertEqual(image["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"], 8)
        allowed = self.ec2.describe_image_attribute(ImageId=GOLDEN, Attribute="launchPermission")
        self.assertEqual(allowed["LaunchPermissions"], [{"UserId": OTHER_ACCOUNT}])

    def test_regions_of_the_account_are_listed(self) -> None:
        names = {one["RegionName"] for one in self.ec2.describe_regions()["Regions"]}
        self.assertLessEqual({HOME, AWAY}, names)
        self.assertNotIn("ap-east-1", names)


class DryRunTest(WireTest):
    """DryRun, and what a role may not do."""

    def commands(self) -> dict[str, tuple[str, ...]]:
        """One good command per changing action."""
        location = f"S3Bucket={EXPORTS},S3Prefix=exports/"
        return {
            "ec2:CreateStoreImageTask": ("create-store-image-task", "--image-id", GOLDEN, "--bucket", BACKUPS),
            "ec2:CreateRestoreImageTask": (
                "create-restore-image-task", "--bucket", BACKUPS, "--object-key", STORED_KEY, "--name", "n-1",
            ),
            "ec2:CopyImage": (
                "copy-image", "--source-image-id", GOLDEN, "--source-region", HOME, "--name", "n-2",
            ),
            "ec2:ExportImage": (
                "export-image", "--image-id", GOLDEN, "--disk-image-format", "VMDK", "--role-name", ROLE,
                "--s3-export-location", location,
            ),
            "ec2:DeregisterImage": ("deregister-image", "--image-id", GOLDEN),
            "ec2:CreateImage": ("create-image", "--instance-id", INSTANCE, "--name", "n-3"),
            "ec2:DescribeImages": ("describe-images", "--owners", "self"),
            "ec2:DescribeStoreImageTasks": ("describe-store-image-tasks",),
        }  # fmt: skip

    def test_a_dry_run_says_that_it_would_have_worked_and_changes_nothing(self) -> None:
        before = self.program.admin("GET", "state")
        for words in self.commands().values():
            with self.subTest(words[0]):
                self.refused("DryRunOperation", self.aws, "ec2", *words, "--dry-run")
        self.assertEqual(self.program.admin("GET", "state"), before)

    def test_a_dry_run_of_a_snapshot_in_use_and_of_a_free_one(self) -> None:
        volume = self.ec2.describe_instances(InstanceIds=[INSTANCE])["Reservations"][0]["Instances"][0]
        volume_id = volume["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
        snapshot = self.ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
        filters = [{"Name": "snapshot-id", "Values": [snapshot]}]
        eventually(lambda: self.ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"])
        self.refused("DryRunOperation", self.ec2.delete_snapshot, SnapshotId=snapshot, DryRun=True)
        (used, *_) = self.snapshots_of(self.image(GOLDEN))
        self.refused("InvalidSnapshot.InUse", self.ec2.delete_snapshot, SnapshotId=used, DryRun=True)

    def test_a_function_without_the_permission_is_refused(self) -> None:
        allowed = {"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}
        self.program.admin("PUT", "permissions", {"powerless": allowed})
        before = self.keys(BACKUPS)
        for action, words in self.commands().items():
            with self.subTest(words[0]):
                text = self.refused("UnauthorizedOperation", self.aws, "ec2", *words, function="powerless")
                self.assertIn(action, text)
        self.assertEqual(self.keys(BACKUPS), before)
        calls = self.program.admin("GET", "calls")
        self.assertTrue(any(call["function"] == "powerless" for call in calls))

    def test_a_store_without_rights_on_the_bucket_fails_with_the_reason(self) -> None:
        allowed = {"Effect": "Allow", "Action": ["ec2:*", "ebs:*"], "Resource": "*"}
        self.program.admin("PUT", "permissions", {"start-store": allowed})
        client = self.program.client("ec2", function="start-store")
        client.create_store_image_task(ImageId=GOLDEN, Bucket=BACKUPS)
        task = self.stored(GOLDEN)
        self.assertEqual(task["StoreTaskState"], "Failed")
        self.assertIn("s3:", task["StoreTaskFailureReason"])


class IdentityTest(WireTest):
    """sts get-caller-identity."""

    def test_the_access_key_says_the_account(self) -> None:
        mine = self.aws("sts", "get-caller-identity")
        self.assertEqual(mine["Account"], ACCOUNT)
        self.assertEqual(self.aws("sts", "get-caller-identity", key=OTHER_ACCOUNT)["Account"], OTHER_ACCOUNT)
        role = self.program.client("sts", function="start-store").get_caller_identity()
        self.assertIn(":assumed-role/start-store/", role["Arn"])

    def test_accounts_see_their_own_images(self) -> None:
        theirs = self.program.client("ec2", key=OTHER_ACCOUNT)
        self.assertEqual(self.image(NOT_SHARED, theirs)["OwnerId"], OTHER_ACCOUNT)
        self.refused("InvalidAMIID.NotFound", self.ec2.describe_images, ImageIds=[NOT_SHARED])


class S3Test(WireTest):
    """The CLI's s3 commands and boto3 against the simulator's own S3."""

    def test_cp_and_ls_move_a_file_there_and_back(self) -> None:
        source, back = self.program.directory / "source", self.program.directory / "back"
        source.write_bytes(os.urandom(9 * 1024 * 1024))  # more than one part
        self.aws("s3", "cp", "--no-progress", str(source), f"s3://{BACKUPS}/a folder/file")
        self.assertIn("PRE a folder/", self.aws("s3", "ls", f"s3://{BACKUPS}"))
        self.assertIn("a folder/file", self.aws("s3", "ls", "--recursive", f"s3://{BACKUPS}"))
        self.aws("s3", "cp", "--no-progress", f"s3://{BACKUPS}/a folder/file", str(back))
        self.assertEqual(back.read_bytes(), source.read_bytes())
        self.aws("s3", "rm", f"s3://{BACKUPS}/a folder/file")
        self.assertNotIn("a folder/file", self.keys(BACKUPS))
        self.assertIn(BACKUPS, self.aws("s3", "ls"))

    def test_a_conditional_put_keeps_what_is_there(self) -> None:
        self.s3.put_object(Bucket=BACKUPS, Key="k", Body=b"first", IfNoneMatch="*")
        put = self.s3.put_object
        self.refused("PreconditionFailed", put, Bucket=BACKUPS, Key="k", Body=b"second", IfNoneMatch="*")
        self.assertEqual(self.s3.get_object(Bucket=BACKUPS, Key="k")["Body"].read(), b"first")

    def test_what_is_archived_missing_or_elsewhere_is_refused(self) -> None:
        self.refused("InvalidObjectState", self.s3.get_object, Bucket=BACKUPS, Key=ARCHIVED_KEY)
        self.assertEqual(self.s3.head_object(Bucket=BACKUPS, Key=ARCHIVED_KEY)["StorageClass"], "DEEP_ARCHIVE")
        self.refused("NoSuchKey", self.s3.get_object, Bucket=BACKUPS, Key="gone")
        self.refused("404", self.s3.head_object, Bucket=BACKUPS, Key="gone")
        self.refused("NoSuchBucket", self.s3.list_objects_v2, Bucket="no-such-bucket-anywhere")
        place = self.aws("s3api", "get-bucket-location", "--bucket", ELSEWHERE)
        self.assertEqual(place["LocationConstraint"], AWAY)
        raw = urllib.request.Request(f"{self.program.url}/{ELSEWHERE}", method="HEAD")
        connection = http.client.HTTPConnection(raw.host, timeout=10)
        connection.request("HEAD", f"/{ELSEWHERE}", headers={"Authorization": authorization("s3")})
        reply = connection.getresponse()
        self.assertEqual((reply.status, reply.getheader("x-amz-bucket-region")), (301, AWAY))
        connection.close()

    def test_head_without_the_right_to_list_is_forbidden(self) -> None:
        allowed = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
        self.program.admin("PUT", "permissions", {"check-store": allowed})
        client = self.program.client("s3", function="check-store")
        client.head_object(Bucket=BACKUPS, Key=STORED_KEY)
        self.refused("403", client.head_object, Bucket=BACKUPS, Key="gone")

    def test_what_is_replaced_or_deleted_stays_as_a_version(self) -> None:
        self.s3.put_bucket_versioning(Bucket=BACKUPS, VersioningConfiguration={"Status": "Enabled"})
        self.assertEqual(self.s3.get_bucket_versioning(Bucket=BACKUPS)["Status"], "Enabled")
        first = self.s3.put_object(Bucket=BACKUPS, Key="k", Body=b"first")["VersionId"]
        second = self.s3.put_object(Bucket=BACKUPS, Key="k", Body=b"second")["VersionId"]
        marker = self.s3.delete_object(Bucket=BACKUPS, Key="k")
        self.assertTrue(marker["DeleteMarker"])
        self.refused("NoSuchKey", self.s3.get_object, Bucket=BACKUPS, Key="k")
        body = self.s3.get_object(Bucket=BACKUPS, Key="k", VersionId=first)["Body"].read()
        self.assertEqual(body, b"first")
        listed = self.s3.list_object_versions(Bucket=BACKUPS, Prefix="k")
        self.assertEqual([one["VersionId"] for one in listed["Versions"]], [second, first])
        self.assertEqual([one["VersionId"] for one in listed["DeleteMarkers"]], [marker["VersionId"]])
        self.s3.delete_object(Bucket=BACKUPS, Key="k", VersionId=marker["VersionId"])
        self.assertEqual(self.s3.get_object(Bucket=BACKUPS, Key="k")["Body"].read(), b"second")
        self.s3.delete_object(Bucket=BACKUPS, Key="k", VersionId=second)
        self.assertEqual(self.s3.get_object(Bucket=BACKUPS, Key="k")["Body"].read(), b"first")
        self.refused("NoSuchVersion", self.s3.get_object, Bucket=BACKUPS, Key="k", VersionId=second)

    def test_the_policy_of_a_bucket_denies_to_all_but_a_role(self) -> None:
        deny = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": f"arn:aws:s3:::{BACKUPS}/papers/*",
            "Condition": {"ArnNotLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/writer"}},
        }
        self.s3.put_bucket_policy(Bucket=BACKUPS, Policy=json.dumps({"Statement": deny}))
        self.refused("AccessDenied", self.s3.put_object, Bucket=BACKUPS, Key="papers/a", Body=b"")
        self.program.client("s3", function="writer").put_object(Bucket=BACKUPS, Key="papers/a", Body=b"")
        self.s3.put_object(Bucket=BACKUPS, Key="elsewhere", Body=b"")
        self.assertEqual(json.loads(self.s3.get_bucket_policy(Bucket=BACKUPS)["Policy"])["Statement"], deny)
        self.refused("MalformedPolicy", self.s3.put_bucket_policy, Bucket=BACKUPS, Policy='{"Statement": {}}')
        self.s3.delete_bucket_policy(Bucket=BACKUPS)
        self.refused("NoSuchBucketPolicy", self.s3.get_bucket_policy, Bucket=BACKUPS)
        self.s3.put_object(Bucket=BACKUPS, Key="papers/a", Body=b"")

    def test_a_bucket_of_another_account_than_is_expected_is_refused(self) -> None:
        head = self.s3.head_object
        head(Bucket=BACKUPS, Key=STORED_KEY, ExpectedBucketOwner=ACCOUNT)
        self.refused("403", head, Bucket=BACKUPS, Key=STORED_KEY, ExpectedBucketOwner=OTHER_ACCOUNT)

    def test_a_restore_from_the_archive_is_asked_for_once(self) -> None:
        ask = {"Bucket": BACKUPS, "Key": ARCHIVED_KEY, "RestoreRequest": {"Days": 1}}
        answer = self.s3.restore_object(**ask)
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 202)
        self.assertIn("ongoing-request", self.s3.head_object(Bucket=BACKUPS, Key=ARCHIVED_KEY)["Restore"])


def authorization(service: str) -> str:
    """A signature that nobody verifies."""
    scope = f"test/20260101/{HOME}/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"


class FaultTest(WireTest):
    """The rules that make calls go wrong."""

    def faults(self, *rules: dict[str, Any]) -> None:
        """Replace the rules."""
        self.program.admin("POST", "faults", list(rules))

    def test_a_refused_call_carries_the_code_and_the_next_one_works(self) -> None:
        self.faults({"action": "CopyImage", "nth": 1, "effect": {"refuse": {"code": "RequestLimitExceeded"}}})
        copy = {"SourceImageId": GOLDEN, "SourceRegion": HOME, "Name": "copy", "ClientToken": "t"}
        self.refused("RequestLimitExceeded", self.away.copy_image, **copy)
        self.away.copy_image(**copy)
        outcomes = [call["outcome"] for call in self.program.admin("GET", "calls") if call["action"] == "CopyImage"]
        self.assertEqual(outcomes, ["RequestLimitExceeded", "ok"])

    def test_a_cut_connection_has_no_effect(self) -> None:
        self.faults({"service": "ec2", "action": "CreateStoreImageTask", "effect": "cut"})
        with self.assertRaises(ConnectionClosedError):
            self.ec2.create_store_image_task(ImageId=GOLDEN, Bucket=BACKUPS)
        self.program.admin("DELETE", "faults")
        self.assertEqual(self.ec2.describe_store_image_tasks()["StoreImageTaskResults"], [])

    def test_a_held_reply_never_comes_and_the_effect_is_there(self) -> None:
        self.faults({"action": "CreateStoreImageTask", "function": "start-store", "effect": "holdReply"})
        config = Config(retries={"total_max_attempts": 1}, read_timeout=0.5, user_agent_appid="start-store")
        client = boto3.client(
            "ec2", region_name=HOME, endpoint_url=self.program.url, aws_access_key_id="test",
            aws_secret_access_key="any secret", config=config,
        )  # fmt: skip
        with self.assertRaises(ReadTimeoutError):
            client.create_store_image_task(ImageId=GOLDEN, Bucket=BACKUPS)
        self.assertEqual(self.stored(GOLDEN)["StoreTaskState"], "Completed")

    def test_a_task_fails_with_the_reason_that_was_asked_for(self) -> None:
        self.faults({"action": "*", "effect": {"failTask": {"reason": "the disk is on fire"}}})
        self.ec2.create_store_image_task(ImageId=GOLDEN, Bucket=BACKUPS)
        task = self.stored(GOLDEN)
        self.assertEqual((task["StoreTaskState"], task["StoreTaskFailureReason"]), ("Failed", "the disk is on fire"))
        self.assertNotIn(f"{GOLDEN}.bin", self.keys(BACKUPS))
        image = self.ec2.create_image(InstanceId=INSTANCE, Name="broken", NoReboot=True)["ImageId"]
        self.assertEqual(self.settled(image)["State"], "failed")

    def test_rules_that_are_not_understood_are_refused(self) -> None:
        with self.assertRaises(urllib.error.HTTPError) as caught:
            self.faults({"action": "CopyImage", "effect": "explode"})
        with caught.exception as answer:
            self.assertEqual(answer.code, 400)
            self.assertIn("explode", answer.read().decode())


class ProgramTest(unittest.TestCase):
    """The program itself."""

    @classmethod
    def setUpClass(cls) -> None:
        if not PROGRAM:
            raise unittest.SkipTest("SIMULATED_AWS does not name the program")

    def test_it_says_where_it_listens_and_ends_cleanly(self) -> None:
        program = Program()
        self.assertEqual(program.admin("GET", "health"), {"status": "ok"})
        code, out, err = program.stop()
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(json.loads(out), {"listening": program.url})
        self.assertRegex(program.url, r"^http://127\.0\.0\.1:\d+$")

    def test_it_listens_on_the_loopback_only(self) -> None:
        command = [PROGRAM, "--account", str(ACCOUNT_FILE), "--listen", "0.0.0.0:0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("not a loopback address", done.stderr)

    def test_objects_can_live_in_another_s3(self) -> None:
        store = Program()
        self.addCleanup(store.stop)
        program = Program("--s3-endpoint", store.url)
        self.addCleanup(program.stop)
        ec2, s3 = program.client("ec2"), store.client("s3")
        ec2.create_store_image_task(ImageId=GOLDEN, Bucket=BACKUPS, S3ObjectTags=[{"Key": "k", "Value": "v"}])

        def there() -> bool:
            return f"{GOLDEN}.bin" in [one["Key"] for one in s3.list_objects_v2(Bucket=BACKUPS)["Contents"]]

        # Nobody asks EC2 meanwhile: the object appears on time by itself.
        eventually(there)
        tags = s3.get_object_tagging(Bucket=BACKUPS, Key=f"{GOLDEN}.bin")["TagSet"]
        self.assertEqual(tags, [{"Key": "k", "Value": "v"}])
        restore = ec2.create_restore_image_task
        restored = restore(Bucket=BACKUPS, ObjectKey=f"{GOLDEN}.bin", Name="back")["ImageId"]
        named = [{"Name": "image-id", "Values": [restored]}, {"Name": "state", "Values": ["available"]}]
        eventually(lambda: ec2.describe_images(Filters=named)["Images"])
        for key, code in ((ARCHIVED_KEY, "InvalidObjectState"), ("gone", "NoSuchKey")):
            with self.assertRaises(ClientError) as caught:
                restore(Bucket=BACKUPS, ObjectKey=key, Name="not this")
            self.assertEqual(caught.exception.response["Error"]["Code"], code)
        with self.assertRaises(ClientError) as caught:
            ec2.create_store_image_task(ImageId=GOLDEN, Bucket=ELSEWHERE)
        self.assertEqual(caught.exception.response["Error"]["Code"], "InvalidParameterValue")


if __name__ == "__main__":
    unittest.main()
