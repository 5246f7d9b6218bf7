# SPDX-License-Identifier: BSD-2-Clause
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench" / "faults"))
import stats  # noqa: E402


class Wilson(unittest.TestCase):
    def test_published(self):
        """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
        for hits, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):
            found = stats.wilson(hits, of)
            self.assertAlmostEqual(found[0], low, 4)
            self.assertAlmostEqual(found[1], high, 4)

    def test_ends(self):
        self.assertIsNone(stats.wilson(0, 0))
        self.assertEqual(stats.wilson(0, 2000)[0], 0.0)
        self.assertLess(stats.wilson(0, 2000)[1], 0.002)
        self.assertEqual(stats.wilson(7, 7)[1], 1.0)
        for hits, of in ((-1, 3), (4, 3)):
            self.assertRaises(ValueError, stats.wilson, hits, of)

    def test_mirror(self):
        low, high = stats.wilson(3, 50)
        other = stats.wilson(47, 50)
        self.assertAlmostEqual(low, 1 - other[1])
        self.assertAlmostEqual(high, 1 - other[0])


class Percentile(unittest.TestCase):
    def test_nearest_rank(self):
        for values, percent, want in (([5], 50, 5), ([3, 1, 2], 50, 2), ([4, 3, 2, 1], 50, 2), (range(1, 101), 99, 99), (range(1, 101), 100, 100), ([1, 9], 0, 1)):
            self.assertEqual(stats.percentile(values, percent), want)
        self.assertIsNone(stats.percentile([], 50))

    def test_text(self):
        self.assertEqual(stats.rate_text(0, 0), "-")
        self.assertEqual(stats.rate_text(1, 2), "1/2 = 50.0 % [9.5, 90.5]")


if __name__ == "__main__":
    unittest.main()
