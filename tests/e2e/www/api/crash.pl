#!/usr/bin/perl
# SPDX-License-Identifier: MIT
# A backend that dies without an answer.
exit 3;
