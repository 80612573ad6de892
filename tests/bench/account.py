"""Writes the account file of a large account, for `simulated-aws --account`.

The same options give the same account. It is that of a company that has backed up its instances every night for years:
families of generations of one instance, golden images from which most instances run, images and snapshots of other
tools, and many snapshots whose image is long gone. What each thing is, is in docs/benchmark.md.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

HOME = "us-east-1"
REGIONS = [HOME, "eu-west-1", "eu-central-1"]
ACCOUNT = "000000000000"
OTHER_ACCOUNT = "111122223333"
# The names of `local.simulator.DEMO_SETTINGS`.
BACKUP_BUCKET = "ami-backup-demo-backups"
EXPORT_BUCKET = "ami-backup-demo-exports"

GENERATIONS = 20
POLICIES = ("nightly", "databases", "web", "month-end")
TEAMS = ("platform", "payments", "search", "data", "mobile")
ROLES = ("web", "api", "db", "worker", "cache", "queue", "batch", "mail")
# Sizes in GiB of root volumes and of the others.
ROOT_SIZES = (8, 8, 20, 30, 50)
DATA_SIZES = (20, 50, 100, 200, 500)


@dataclass
class Sizes:
    """How many of what there are in the home Region."""

    images: int = 20_000
    snapshots: int = 100_000
    instances: int = 5_000
    templates: int = 300
    groups: int = 24


@dataclass
class Source:
    """An instance that has been backed up, there or gone."""

    id: str
    name: str
    team: str
    policy: str
    volumes: list[dict[str, Any]] = field(default_factory=list)


class Generator:
    """Makes one account."""

    def __init__(self, sizes: Sizes, seed: int, until: datetime) -> None:
        self._sizes = sizes
        self._random = random.Random(seed)
        self._until = until
        self._images: list[dict[str, Any]] = []
        self._snapshots: list[dict[str, Any]] = []
        self._behind_images = 0
        self._golden: list[str] = []
        self._sources: list[Source] = []

    # ---- Small things ------------------------------------------------------------------------------------------

    def _digits(self, count: int) -> str:
        return f"{self._random.getrandbits(4 * count):0{count}x}"

    def _id(self, prefix: str) -> str:
        return f"{prefix}-0{self._digits(16)}"

    def _ago(self, days: float) -> str:
        return (self._until - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _volumes(self, count: int) -> list[dict[str, Any]]:
        volumes = []
        for number in range(count):
            size = self._random.choice(DATA_SIZES if number else ROOT_SIZES)
            volume = {"device": f"/dev/sd{chr(ord('e') + number)}" if number else "/dev/xvda", "id": self._id("vol")}
            volumes.append({**volume, "sizeGib": size, "usedGib": max(1, size // 4)})
        return volumes

    def _how_many_volumes(self) -> int:
        return self._random.choices((1, 2, 3), (15, 45, 40))[0]

    def _source(self) -> Source:
        team, role = self._random.choice(TEAMS), self._random.choice(ROLES)
        return Source(
            id=self._id("i"),
            name=f"{team}-{role}-{self._digits(4)}",
            team=team,
            policy=self._random.choices(POLICIES, (70, 15, 10, 5))[0],
            volumes=self._volumes(self._how_many_volumes()),
        )

    def _managed_tags(self, source: Source, days: float, expires: str = "by-policy") -> dict[str, str]:
        """What the product writes on everything that it makes."""
        return {
            "Name": source.name,
            "Team": source.team,
            "ami-backup:managed": "true",
            "ami-backup:run": f"{source.policy}-{self._ago(days)[:10]}",
            "ami-backup:policy": source.policy,
            "ami-backup:source": source.id,
            "ami-backup:origin": source.id,
            "ami-backup:expires": expires,
            "ami-backup:token": self._digits(64),
        }

    def _image(
        self, days: float, name: str, tags: dict[str, str], volumes: list[dict[str, Any]], **more: Any
    ) -> dict[str, Any]:
        """An image, with a new snapshot behind each of its volumes."""
        backed = [{**volume, "snapshotId": self._id("snap"), "snapshotTags": tags} for volume in volumes]
        image = {"region": HOME, "id": self._id("ami"), "name": name, "tags": tags, "creationDate": self._ago(days)}
        image |= {"volumes": backed, **more}
        self._images.append(image)
        self._behind_images += len(backed)
        return image

    # ---- Images ------------------------------------------------------------------------------------------------

    def _family(self, source: Source, generations: int) -> None:
        """Generations of one instance, a day apart; the newest is of some day of the last weeks."""
        newest = self._random.choice((0.3, 0.3, 0.3, 12.3, 40.3))
        for generation in range(generations):
            days = newest + generation + self._random.random() / 24
            expires = self._random.choices(("by-policy", "never", self._ago(days - 30)), (96, 1, 3))[0]
            tags = self._managed_tags(source, days, expires)
            name = f"{source.name}-{tags['ami-backup:run']}-{tags['ami-backup:token'][:12]}"
            self._image(days, name, tags, source.volumes, sourceInstanceId=source.id, description=f"Of {source.name}")

    def _golden_images(self, count: int) -> None:
        """What instances are launched from: lines of releases that another tool has built."""
        lines = max(1, count // 40)
        for number in range(count):
            line, release = number % lines, number // lines
            days = 3 + 9.0 * release + self._random.random()
            tags = {"Name": f"base-{line:03}", "Release": f"{release:03}", "Builder": "packer"}
            name = f"base-{line:03}-{self._ago(days)[:10]}-{self._digits(6)}"
            image = self._image(days, name, tags, self._volumes(1), description="Golden image")
            if release < 8:
                self._golden.append(image["id"])
            if self._random.random() < 0.05:
                image["launchPermissions"] = [OTHER_ACCOUNT]
            if release > 20 and self._random.random() < 0.3:
                image["deprecateAt"] = self._ago(days - 180)

    def _copies(self, count: int) -> None:
        """Copies of another Region's images, made for a disaster."""
        for _ in range(count):
            source, days = self._source(), self._random.uniform(1, 400)
            tags = {**self._managed_tags(source, days), "ami-backup:source": self._id("ami")}
            name = f"{source.name}-{self._ago(days)[:10]}-{tags['ami-backup:token'][:12]}"
            volumes = [{**volume, "id": "vol-ffffffff"} for volume in source.volumes]
            origin = {"sourceImageId": tags["ami-backup:source"], "sourceImageRegion": "eu-west-1"}
            image = self._image(days, name, tags, volumes, **origin)
            image["deregistrationProtection"] = self._random.random() < 0.1

    def _images_of_aws_backup(self, count: int) -> None:
        for _ in range(count):
            instance, days = self._id("i"), self._random.uniform(1, 365)
            tags = {"aws:backup:source-resource": instance}
            name = f"AwsBackup_{instance}_{self._digits(12)}"
            self._image(days, name, tags, self._volumes(1), sourceInstanceId=instance)

    def _handmade_images(self, count: int) -> None:
        """What people have made and forgotten."""
        for number in range(count):
            source, days = self._source(), self._random.uniform(1, 1_500)
            tags = self._random.choice(({}, {"Name": source.name}, {"Owner": source.team, "Ticket": self._digits(5)}))
            name = f"{source.name} before change {number}"
            state = self._random.choices(("available", "failed", "disabled"), (95, 2, 3))[0]
            self._image(days, name, tags, source.volumes, sourceInstanceId=source.id, state=state)

    def _all_images(self) -> None:
        total = self._sizes.images
        golden, copies, of_backup, handmade = (total * share // 100 for share in (10, 4, 3, 3))
        self._golden_images(golden)
        self._copies(copies)
        self._images_of_aws_backup(of_backup)
        self._handmade_images(handmade)
        missing = total - len(self._images)
        while missing > 0:
            generations = min(missing, GENERATIONS)
            self._sources.append(self._source())
            self._family(self._sources[-1], generations)
            missing -= generations

    # ---- Snapshots ---------------------------------------------------------------------------------------------

    def _snapshot(self, days: float, description: str, tags: dict[str, str], **more: Any) -> None:
        size = self._random.choice(ROOT_SIZES + DATA_SIZES)
        facts = {"region": HOME, "id": self._id("snap"), "description": description, "tags": tags, "sizeGib": size}
        facts |= {"volumeId": self._id("vol"), "startTime": self._ago(days)}
        self._snapshots.append({**facts, **more})

    def _orphan(self, source: Source, managed: bool) -> None:
        """Left behind when its image was deregistered."""
        days = self._random.uniform(21, 1_200)
        tags = self._managed_tags(source, days) if managed else {}
        self._snapshot(days, f"Created by CreateImage({source.id}) for {self._id('ami')}", tags)

    def _orphan_of_copy(self) -> None:
        ids = self._id("ami"), self._id("ami"), self._id("snap")
        description = "Copied for DestinationAmi {} from SourceAmi {} for SourceSnapshot {}.".format(*ids)
        self._snapshot(self._random.uniform(21, 1_200), description, {}, volumeId="vol-ffffffff")

    def _of_lifecycle_manager(self) -> None:
        policy = f"policy-0{self._digits(16)}"
        tags = {"aws:dlm:lifecycle-policy-id": policy, "aws:dlm:lifecycle-schedule-name": "daily", "Volume": "data"}
        days = self._random.uniform(0, 60)
        self._snapshot(days, f"Created for policy: {policy} schedule: daily", tags)

    def _of_aws_backup(self) -> None:
        tags = {"aws:backup:source-resource": self._id("vol")}
        days = self._random.uniform(0, 365)
        self._snapshot(days, "This snapshot is created by the AWS Backup service.", tags)

    def _of_people(self) -> None:
        description = self._random.choice(("", "before the upgrade", "do not delete", "migration"))
        tags = self._random.choice(({}, {"Owner": self._random.choice(TEAMS)}))
        days = self._random.uniform(0, 2_000)
        more: dict[str, Any] = {}
        chance = self._random.random()
        if chance < 0.03:
            more["lock"] = {"mode": "governance", "createdAt": self._ago(days), "durationDays": 3_650}
        elif chance < 0.06:
            more["storageTier"] = "archive"
        self._snapshot(days, description, tags, **more)

    def _all_snapshots(self) -> None:
        missing = max(0, self._sizes.snapshots - self._behind_images)
        sources = [*self._sources, *(self._source() for _ in range(max(1, missing // 100)))]
        kinds = ("ours", "theirs", "copy", "lifecycle", "backup", "people")
        for kind in self._random.choices(kinds, (35, 30, 5, 15, 5, 10), k=missing):
            match kind:
                case "ours" | "theirs":
                    self._orphan(self._random.choice(sources), managed=kind == "ours")
                case "copy":
                    self._orphan_of_copy()
                case "lifecycle":
                    self._of_lifecycle_manager()
                case "backup":
                    self._of_aws_backup()
                case _:
                    self._of_people()

    # ---- What uses them ----------------------------------------------------------------------------------------

    def _instances(self) -> list[dict[str, Any]]:
        """Most run a golden image; some a restored backup, some an image that is gone. Most sources still run."""
        golden = set(self._golden)
        others = [image["id"] for image in self._images if image["id"] not in golden]
        sources = [source for source in self._sources if self._random.random() < 0.7]
        instances = []
        for number in range(self._sizes.instances):
            source = sources[number] if number < len(sources) else self._source()
            where = self._random.choices((self._golden, others, None), (80, 10, 10))[0]
            instances.append(
                {
                    "region": HOME,
                    "id": source.id,
                    "state": self._random.choices(("running", "stopped"), (85, 15))[0],
                    "tags": {"Name": source.name, "Team": source.team, "Backup": source.policy},
                    "imageId": self._random.choice(where) if where else self._id("ami"),
                    "instanceType": self._random.choice(("t3.micro", "m6i.large", "r6i.xlarge", "c7g.large")),
                    "launchTime": self._ago(self._random.uniform(0, 900)),
                    "volumes": source.volumes,
                }
            )
        return instances

    def _templates(self) -> list[dict[str, Any]]:
        templates = []
        for number in range(self._sizes.templates):
            versions = []
            for version in range(1, self._random.randint(1, 12) + 1):
                made = {"number": version, "imageId": self._random.choice(self._golden)}
                versions.append({**made, "createTime": self._ago(self._random.uniform(1, 900))})
            if number % 50 == 0:
                versions[-1]["imageId"] = "resolve:ssm:/golden/base"
            default = self._random.choice(versions)["number"]
            facts = {"region": HOME, "id": self._id("lt"), "name": f"template-{number:04}", "defaultVersion": default}
            templates.append({**facts, "tags": {"Team": self._random.choice(TEAMS)}, "versions": versions})
        return templates

    def _launch_configurations(self) -> list[dict[str, Any]]:
        names = (f"configuration-{number:03}" for number in range(self._sizes.groups // 4))
        return [{"region": HOME, "name": name, "imageId": self._random.choice(self._golden)} for name in names]

    def _groups(self, templates: list[dict[str, Any]], configurations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        groups = []
        for number in range(self._sizes.groups):
            group = {"region": HOME, "name": f"group-{number:03}", "desiredCapacity": self._random.randint(0, 20)}
            template = {"launchTemplateId": self._random.choice(templates)["id"], "version": "$Latest"}
            if configurations and number % 4 == 0:
                group["launchConfigurationName"] = configurations[number // 4 % len(configurations)]["name"]
            elif number % 4 == 1:
                group["mixedInstancesPolicy"] = {"launchTemplate": {**template, "version": "$Default"}}
            else:
                group["launchTemplate"] = template
            groups.append(group)
        return groups

    def _bin_rules(self) -> list[dict[str, Any]]:
        of_ours = {"ami-backup:managed": "true"}
        return [
            {"region": HOME, "resourceType": "EC2_IMAGE", "retentionDays": 14, "resourceTags": of_ours},
            {"region": HOME, "resourceType": "EBS_SNAPSHOT", "retentionDays": 14, "resourceTags": of_ours},
            {"region": HOME, "resourceType": "EBS_SNAPSHOT", "retentionDays": 3, "resourceTags": {"Owner": None}},
        ]

    def _buckets(self) -> list[dict[str, Any]]:
        """Some of the newest backups are stored as objects too."""
        ours = [image for image in self._images if image["tags"].get("ami-backup:policy") == "databases"]
        objects = []
        for image in ours[:400]:
            kept = {name: value for name, value in image["tags"].items() if name.startswith("ami-backup:")}
            objects.append({"key": f"{image['id']}.bin", "imageId": image["id"], "tags": kept})
        return [
            {"name": BACKUP_BUCKET, "region": HOME, "objects": objects},
            {"name": EXPORT_BUCKET, "region": HOME},
        ]

    def _other_account(self) -> dict[str, Any]:
        """Somebody else's images and snapshots, shared with this account: seen by it, and not its own."""
        images = []
        for number in range(self._sizes.images // 100):
            shared = {"snapshotId": self._id("snap"), "snapshotPermissions": [ACCOUNT]}
            volumes = [{**volume, **shared} for volume in self._volumes(1)]
            facts = {"region": HOME, "id": self._id("ami"), "name": f"shared-{number:05}"}
            images.append({**facts, "launchPermissions": [ACCOUNT], "volumes": volumes})
        return {"id": OTHER_ACCOUNT, "accessKeys": [OTHER_ACCOUNT], "regions": REGIONS, "images": images}

    def account_file(self, token_buckets: bool) -> dict[str, Any]:
        """The whole file."""
        self._all_images()
        self._all_snapshots()
        templates, configurations = self._templates(), self._launch_configurations()
        account = {
            "id": ACCOUNT,
            "accessKeys": [ACCOUNT, "test"],
            "regions": REGIONS,
            "images": self._images,
            "snapshots": self._snapshots,
            "instances": self._instances(),
            "launchTemplates": templates,
            "launchConfigurations": configurations,
            "autoScalingGroups": self._groups(templates, configurations),
            "ssmParameters": [{"region": HOME, "name": "/golden/base", "value": self._golden[0]}],
            "recycleBinRules": self._bin_rules(),
            "buckets": self._buckets(),
        }
        settings = {"seed": 1, "minimumTaskMs": 1_000, "apiBuckets": token_buckets}
        return {"home": HOME, "settings": settings, "accounts": [account, self._other_account()]}


def midnight() -> datetime:
    """The beginning of this day."""
    return datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)


def moment(text: str) -> datetime:
    """A day as an option gives it."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="where to write the account file")
    parser.add_argument("--images", type=int, default=Sizes.images, help="images that the account owns")
    parser.add_argument(
        "--snapshots", type=int, default=Sizes.snapshots, help="its snapshots, those of images included"
    )
    parser.add_argument("--instances", type=int, default=Sizes.instances)
    parser.add_argument("--templates", type=int, default=Sizes.templates)
    parser.add_argument("--groups", type=int, default=Sizes.groups)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--until", type=moment, default=midnight(), help="day of the newest things; absent: this day")
    parser.add_argument("--token-buckets", action="store_true", help="limit request rates as EC2 does")
    asked = parser.parse_args()
    sizes = Sizes(asked.images, asked.snapshots, asked.instances, asked.templates, asked.groups)
    account = Generator(sizes, asked.seed, asked.until).account_file(asked.token_buckets)
    asked.file.write_text(json.dumps(account, separators=(",", ":")), encoding="utf-8")


if __name__ == "__main__":
    main()
