"""The detectors, one module each: `DETECTOR` says what it is, see `jfrecon.data.detection.detector`."""
