#!/bin/sh
# SPDX-License-Identifier: MIT
# What make check runs of the simulator; make sim runs all of it.
set -eu
tests/sim/sim --seeds 32 --events 3000
tests/sim/sim --store --seeds 4 --events 300
echo "2 passed, 0 failed"
