"""The main job, start to end, against a simulated AWS: `make demo`.

An instance and an image are backed up in all three ways, the image is brought
back from its object, and the same run is started again. What the machines
report is not believed: each claim is looked up through EC2's and S3's own API,
and the exit status says whether all of them hold.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich.console import Console

from . import executions, inventory
from .processes import StackError, end_on_signals
from .progress import Leg, Watch, backup_legs, described
from .stack import HOME_REGION, Stack

INSTANCE = "i-0a1b2c3d4e5f60001"
IMAGE = "ami-0a1b2c3d4e5f60001"
COPIES = ["eu-west-1", "eu-central-1"]
RUN = "demo"
RESTORE_RUN = "demo-restore"
OURS = "ami-backup:"


class Demo:
    """One demonstration on a running stack."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack = stack
        self._console = console
        self._states = stack.client("stepfunctions")
        self._wrong = 0
        self.legs: list[Leg] = []

    def claim(self, text: str, holds: bool, found: object = "") -> None:
        """Print a claim and whether it holds; one that does not fails the demonstration."""
        self._wrong += not holds
        detail = f" — {found}" if found != "" and not holds else ""
        self._console.print(f"  {'[green]✓[/]' if holds else '[bold red]✗[/]'} {text}{detail}", highlight=False)

    def say(self, text: str) -> None:
        """Print a heading."""
        self._console.print(f"\n[bold]{text}[/]", highlight=False)

    def holds(self) -> bool:
        """Whether every claim so far holds."""
        return self._wrong == 0

    def back_up(self, name: str, watch: bool) -> dict[str, Any]:
        """Run the backup machine; returns its output."""
        given = {
            "run": RUN,
            "instanceIds": [INSTANCE],
            "imageIds": [IMAGE],
            "copyTo": COPIES,
            "export": {"format": "VMDK"},
        }
        outputs = self._stack.outputs
        self._console.print(f"  input {json.dumps(given)}", highlight=False, soft_wrap=True)
        buckets = {"store": "s3 (objects)", "export": "s3 (files)"}
        legs = backup_legs([INSTANCE, IMAGE], COPIES, buckets) if watch else []
        ended = self._watched(outputs["BackupMachineArn"], given, name, RUN, legs)
        self.claim(f"the execution succeeded ({ended.seconds:.1f} s)", ended.good(), ended.why())
        if not ended.good():
            raise StackError(f"the backup did not succeed: {ended.why()}")
        self.claim("its report says OK", ended.output["verdict"] == "OK", ended.output)
        return dict(ended.output)

    def _watched(self, machine: str, given: Any, name: str, run: str, legs: list[Leg]) -> executions.Ended:
        if not legs:
            return executions.run(self._states, machine, given, name)
        with Watch(self._stack, self._console, run, legs) as watch:
            ended = executions.run(self._states, machine, given, name, watch.look)
        self.legs += legs
        return ended

    def report(self, output: dict[str, Any]) -> list[dict[str, Any]]:
        """The lines of a run's report, one per image and leg."""
        place = output["report"]
        body = self._stack.client("s3").get_object(Bucket=place["bucket"], Key=place["key"])["Body"].read()
        lines = [json.loads(line) for line in body.decode().splitlines() if line.strip()]
        return [line for line in lines if "leg" in line]

    def check_backups(self, lines: list[dict[str, Any]]) -> None:
        """Look up everything that the report claims."""
        wanted = {(INSTANCE, "image"), *((source, leg) for source in (INSTANCE, IMAGE) for leg in ("store", "export"))}
        found = {(line["source"], line["leg"]) for line in lines}
        copies = {(line["source"], line.get("region")) for line in lines if line["leg"] == "copy"}
        self.claim("there is a line for each image and leg", wanted <= found and len(copies) == 4, sorted(found))
        for line in lines:
            check = {"image": self._check_image, "copy": self._check_image, "store": self._check_object}
            check.get(line["leg"], self._check_file)(line)

    def _check_image(self, line: dict[str, Any]) -> None:
        """An image or a copy is available, and it and its snapshots carry the run's tags and those of the source."""
        claim = line["claim"]
        ec2 = self._stack.client("ec2", claim["region"])
        found = ec2.describe_images(ImageIds=[claim["id"]])["Images"]
        what = f"{line['source']}: {'copy' if line['leg'] == 'copy' else 'image'} {claim['id']} in {claim['region']}"
        if not found:
            self.claim(f"{what} is there", False)
            return
        self.claim(f"{what} is available", found[0]["State"] == "available", found[0]["State"])
        tags = inventory.tags_of(found[0])
        snapshots = self._snapshots(found[0], claim["region"])
        ours = [tags, *map(inventory.tags_of, snapshots)]
        marked = bool(snapshots) and all(one.get(f"{OURS}run") == RUN for one in ours)
        self.claim(f"{what}: it and its {len(snapshots)} snapshots say which run made them", marked, ours)
        if line["leg"] == "copy":
            source = self._image(line["imageId"])
            same = _own_tags(tags) == _own_tags(inventory.tags_of(source))
            self.claim(f"{what} has the tags of its source", same, tags)
            wanted = self._snapshots(source, HOME_REGION)
            same = _all_own_tags(snapshots) == _all_own_tags(wanted)
            self.claim(f"{what}: its snapshots have the tags of the source's snapshots", same, _all_own_tags(snapshots))

    def _snapshots(self, image: dict[str, Any], region: str) -> list[dict[str, Any]]:
        """The snapshots behind an image."""
        ids = [mapping["Ebs"]["SnapshotId"] for mapping in image["BlockDeviceMappings"] if "Ebs" in mapping]
        return list(self._stack.client("ec2", region).describe_snapshots(SnapshotIds=ids)["Snapshots"])

    def _check_object(self, line: dict[str, Any]) -> None:
        """The object is there, and the record of its image too, in its place and beside the object."""
        claim = line["claim"]
        there = inventory.objects(self._stack, claim["bucket"])
        size = there.get(claim["id"], 0)
        self.claim(f"{line['source']}: object {claim['id']} is there ({size} bytes)", size > 0)
        recorded = f"records/{line['imageId']}.json" in there and f"{claim['id']}.json" in there
        self.claim(f"{line['source']}: the record of {line['imageId']} is there, also beside the object", recorded)

    def _check_file(self, line: dict[str, Any]) -> None:
        """The file is there, at the key that the record has."""
        claim = line["claim"]
        size = inventory.objects(self._stack, claim["bucket"]).get(claim["id"], 0)
        self.claim(f"{line['source']}: file {claim['id']} is there ({size} bytes)", size > 0)
        bucket = self._stack.outputs["BackupBucketName"]
        body = self._stack.client("s3").get_object(Bucket=bucket, Key=f"records/{line['imageId']}.json")["Body"].read()
        files = [backup["id"] for backup in json.loads(body)["backups"] if backup["leg"] == "export"]
        self.claim(f"{line['source']}: the record names that file", claim["id"] in files, files)

    def _image(self, image_id: str) -> dict[str, Any]:
        images = self._stack.client("ec2").describe_images(ImageIds=[image_id])["Images"]
        if not images:
            raise StackError(f"there is no image {image_id} in {HOME_REGION}")
        return dict(images[0])

    def _permissions(self, image_id: str) -> set[str]:
        answer = self._stack.client("ec2").describe_image_attribute(ImageId=image_id, Attribute="launchPermission")
        return {str(value) for permission in answer["LaunchPermissions"] for value in permission.values()}

    def restore(self, stored: dict[str, Any]) -> str:
        """Run the restore machine on a stored object and compare what comes back with its source."""
        claim = stored["claim"]
        given = {"bucket": claim["bucket"], "key": claim["id"], "run": RESTORE_RUN}
        self._console.print(f"  input {json.dumps(given)}", highlight=False, soft_wrap=True)
        legs = [Leg(IMAGE, "restore", HOME_REGION)]
        machine = self._stack.outputs["RestoreMachineArn"]
        ended = self._watched(machine, given, "restore", RESTORE_RUN, legs)
        self.claim(f"the execution succeeded ({ended.seconds:.1f} s)", ended.good(), ended.why())
        if not ended.good():
            raise StackError(f"the restore did not succeed: {ended.why()}")
        restored = str(ended.output["imageId"])
        source, image = self._image(IMAGE), self._image(restored)
        self.claim(
            f"{restored} is another image than {IMAGE}, and available",
            image["State"] == "available" and restored != IMAGE,
        )
        before, after = _own_tags(inventory.tags_of(source)), _own_tags(inventory.tags_of(image))
        self.claim(f"its tags are those of {IMAGE}: {before}", before == after, after)
        granted, again = self._permissions(IMAGE), self._permissions(restored)
        self.claim(
            f"its launch permissions are those of {IMAGE}: {sorted(granted)}", granted == again and bool(granted), again
        )
        return restored

    def show(self, lines: list[dict[str, Any]], restored: str) -> None:
        """Print what became of each source: ids, sizes, durations."""
        kinds = {"image": "image made of it", "store": "object", "copy": "copy", "export": "VM file"}
        rows = []
        for source in (INSTANCE, IMAGE):
            for line in (line for line in lines if line["source"] == source):
                claim = line["claim"]
                size = f"{claim['sizeBytes']} bytes" if claim.get("sizeBytes") else self._volumes(claim)
                place = f"s3://{claim['bucket']}" if claim.get("bucket") else claim["region"]
                rows.append([source, kinds[line["leg"]], claim["id"], place, size, self._took(line)])
        claim = {"id": restored, "region": HOME_REGION}
        line = {"source": IMAGE, "leg": "restore", "claim": claim}
        rows.append([IMAGE, "restored AMI", restored, HOME_REGION, self._volumes(claim), self._took(line)])
        described(self._console, "What became of it", rows, ["source", "", "id", "where", "size", "took"])

    def _took(self, line: dict[str, Any]) -> str:
        """How long the leg of a report line was seen under way."""
        for leg in self.legs:
            place = line["claim"]["region"] if leg.leg == "copy" else leg.place
            if (leg.source, leg.leg, leg.place) == (line["source"], line["leg"], place):
                return f"{leg.seconds():.1f} s"
        return ""

    def _volumes(self, claim: dict[str, Any]) -> str:
        """The size of an image's volumes."""
        image = self._stack.client("ec2", claim["region"]).describe_images(ImageIds=[claim["id"]])["Images"][0]
        sizes = [mapping["Ebs"]["VolumeSize"] for mapping in image["BlockDeviceMappings"] if "Ebs" in mapping]
        return f"{' + '.join(map(str, sizes))} GiB"


def _own_tags(tags: dict[str, str]) -> dict[str, str]:
    """The tags that are not this product's."""
    return {name: value for name, value in tags.items() if not name.startswith(OURS)}


def _all_own_tags(resources: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    """The tags of several resources, in an order of their own."""
    return sorted(sorted(_own_tags(inventory.tags_of(resource)).items()) for resource in resources)


def _counts(console: Console, before: dict[str, int], after: dict[str, int], again: dict[str, int]) -> None:
    rows = [[what, before[what], after[what], again[what]] for what in before]
    described(console, "How many there are", rows, ["", "before", "after the run", "after the same run again"])


def demonstrate(stack: Stack, console: Console) -> bool:
    """Run it all on a stack that is up; returns whether every claim holds."""
    demo = Demo(stack, console)
    before = inventory.count(stack)
    demo.say(f"Back up the instance {INSTANCE} and the image {IMAGE}")
    output = demo.back_up("backup-1", watch=True)
    demo.say("What the report claims, looked up")
    lines = demo.report(output)
    demo.check_backups(lines)
    after = inventory.count(stack)
    demo.say("The same run again")
    second = demo.report(demo.back_up("backup-2", watch=False))
    again = inventory.count(stack)
    demo.claim("it made nothing: as many images, snapshots, objects and files as before", after == again, again)
    ids = [sorted((line["source"], line["leg"], line["claim"]["id"]) for line in one) for one in (lines, second)]
    demo.claim("and reports the same ids", ids[0] == ids[1], ids[1])
    demo.say(f"Bring {IMAGE} back from its object")
    stored = next(line for line in lines if line["source"] == IMAGE and line["leg"] == "store")
    restored = demo.restore(stored)
    console.print()
    _counts(console, before, after, again)
    demo.show(lines, restored)
    return demo.holds()


def main() -> None:
    """Start a stack, demonstrate, stop it; the exit status says whether everything held."""
    end_on_signals()
    console = Console(width=None if sys.stdout.isatty() else 160)
    began = time.monotonic()
    try:
        with Stack.temporary("demo") as stack:
            console.print(
                f"stack up in {time.monotonic() - began:.1f} s (MiniStack {stack.ministack}, EC2 {stack.simulator})"
            )
            good = demonstrate(stack, console)
    except StackError as error:
        sys.exit(f"The demo failed: {error}")
    verdict = "everything above holds" if good else "something above does not hold"
    console.print(f"{verdict} ({time.monotonic() - began:.0f} s)")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
