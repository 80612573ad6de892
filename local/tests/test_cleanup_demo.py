"""What the demonstration of a clean-up makes of a plan."""

from __future__ import annotations

import unittest
from datetime import datetime, timezone

from local import cleanup_demo

TABLE = """Clean-up of account 1 in us-east-1, run r, policy p

images           4   1 KEEP, 3 DEREGISTER

What goes
  DEREGISTER      ami-1 a: old
  DEREGISTER      ami-2 b: old
  DEREGISTER      ami-3 c: old
  DELETE_SNAPSHOT snap-1: ami-1 is on it and goes
  DELETE_SNAPSHOT snap-2: ami-2 is on it and goes

What stays, by reason (one thing can have several)
  images           1   last-good"""


class Table(unittest.TestCase):
    """The plan as it is printed."""

    def test_of_each_action_some_lines_are_printed_and_the_others_counted(self) -> None:
        table = cleanup_demo.shortened(TABLE, 1).splitlines()
        self.assertEqual(
            table[4:9],
            [
                "What goes",
                "  DEREGISTER      ami-1 a: old",
                "  DEREGISTER      … and 2 more",
                "  DELETE_SNAPSHOT snap-1: ami-1 is on it and goes",
                "  DELETE_SNAPSHOT … and 1 more",
            ],
        )
        self.assertEqual((table[:5], table[9:]), (TABLE.splitlines()[:5], TABLE.splitlines()[10:]))

    def test_a_table_that_is_short_stays_as_it_is(self) -> None:
        self.assertEqual(cleanup_demo.shortened(TABLE, 3), TABLE)

    def test_lines_at_the_end_are_counted_too(self) -> None:
        cut = TABLE[: TABLE.index("\n\nWhat stays")]
        self.assertTrue(cleanup_demo.shortened(cut, 1).endswith("\n  DELETE_SNAPSHOT … and 1 more"))


class Facts(unittest.TestCase):
    """What the demonstration says of the account."""

    def test_what_changes_something_is_told_from_what_asks(self) -> None:
        for action in ("DeregisterImage", "DeleteSnapshot", "CreateTags", "ModifyImageAttribute"):
            self.assertTrue(cleanup_demo.changes(action), action)
        for action in (
            "DescribeImages",
            "GetEbsEncryptionByDefault",
            "ListImagesInRecycleBin",
            "CreateImageUsageReport",
        ):
            self.assertFalse(cleanup_demo.changes(action), action)

    def test_orphans_have_been_seen_for_longer_than_the_grace(self) -> None:
        now = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
        aged = cleanup_demo.aged({"snap-1": "2026-11-24T12:00:00Z"}, now)
        self.assertEqual(aged, {"snap-1": "2026-10-25T12:00:00Z"})
        self.assertGreater(cleanup_demo.SEEN_DAYS, cleanup_demo.POLICY["orphans"]["graceDays"])
