"""Speed, measured as ratios within one run on one machine; never asserted in a test. `make bench`."""
