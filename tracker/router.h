/* SPDX-License-Identifier: MIT */
/*
 * Which call is this, and may the caller make it? The worker's context, the table of calls, and
 * everything that is the same for all of them: path, method, token, body. Source: contract,
 * section 5.
 */
#ifndef SPENDGATE_TRACKER_ROUTER_H
#define SPENDGATE_TRACKER_ROUTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/server.h"

#include "tracker/call.h"

/*
 * The path below the mount point, without the query and still encoded: `path_info` when there is
 * one, else what follows `prefix` in `request_uri` (an absolute form is reduced to its path first).
 * False when there is none. Any argument but `out` may be NULL.
 */
bool router_path(const char *path_info, const char *request_uri, const char *prefix, char *out,
                 size_t size) MUST_CHECK;
/* What a Content-Type header announces; its parameters are not looked at. */
enum body_type router_body_type(const char *content_type);

/* The program, for server_main. */
extern const struct server_program tracker_program;

#endif
