/* SPDX-License-Identifier: MIT */
/*
 * Names that must not be used in this project, each with a safer one of ours. Included last, after
 * every system header, so that only our own code is judged.
 */
#ifndef SPENDGATE_BANNED_H
#define SPENDGATE_BANNED_H

#undef sprintf /* a macro of a fortified stdio.h, which clang would warn of */
#pragma GCC poison sprintf vsprintf strcpy strcat strncpy strncat stpcpy strtok gets
#pragma GCC poison atoi atol atoll atof strtol strtoll strtoul strtoull strtod strtof sscanf
#pragma GCC poison gmtime localtime ctime asctime mktime tmpnam tempnam mktemp
#undef alloca /* a macro of stdlib.h, which gcc would warn of */
#pragma GCC poison alloca rand srand system popen

#endif
