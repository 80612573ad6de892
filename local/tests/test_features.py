"""Which ends of a feature are the same, and when the list of MiniStack's differences is right."""

from __future__ import annotations

import unittest

from local.features import deviations, filled, load, verdict


class Deviations(unittest.TestCase):
    """An end held against what a feature expects."""

    def test_only_what_is_expected_is_compared_and_no_time(self) -> None:
        found = {"status": "SUCCEEDED", "output": 1, "error": None, "calls": {"f": 2}}
        expected = {"status": "SUCCEEDED", "output": 1, "seconds": 60, "events": {"atMost": 3}}
        self.assertEqual(deviations(expected, found), {})
        self.assertEqual(deviations(expected | {"calls": {"f": 1}}, found), {"calls": {"f": 2}})

    def test_of_what_does_not_end_only_that_is_said(self) -> None:
        expected = {"status": "FAILED", "error": "States.Runtime"}
        self.assertEqual(deviations(expected, {"status": "RUNNING"}), {"status": "RUNNING"})

    def test_a_long_output_is_shortened(self) -> None:
        found = deviations({"output": "y"}, {"status": "SUCCEEDED", "output": "x" * 300})
        self.assertEqual(found, {"output": "(302 bytes)"})


class Verdicts(unittest.TestCase):
    """What MiniStack did held against what is listed."""

    def test_a_difference_that_is_listed_as_it_is_is_right(self) -> None:
        self.assertIsNone(verdict(None, {}))
        self.assertIsNone(verdict({"did": {"output": 1}, "because": "so"}, {"output": 1}))

    def test_a_difference_that_is_not_listed_or_otherwise_or_gone_is_wrong(self) -> None:
        self.assertEqual(verdict(None, {"output": 1}), 'not listed: {"output": 1}')
        self.assertEqual(verdict({"did": {"output": 1}}, {"output": 2}), 'listed as {"output": 1}, but {"output": 2}')
        self.assertEqual(verdict({"did": {"output": 1}}, {}), "listed, but gone")


class Features(unittest.TestCase):
    """The files themselves."""

    def test_every_placeholder_of_every_feature_is_filled_in(self) -> None:
        features, _ = load([])
        for feature in features:
            with self.subTest(feature["feature"]):
                functions = list(feature.get("functions", {}))
                for part in ("definition", "input"):
                    self.assertNotIn("${", filled(feature[part], feature["feature"], functions))
