"""ELIAS++ on top of an index: sparse ranker, score combination, calibration."""
