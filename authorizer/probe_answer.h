/* SPDX-License-Identifier: MIT */
/*
 * What a denial tells `spendgate doctor` about itself: how the web server called us, and whether we
 * run with the settings and the store that the doctor looks at. Source: common/probe.h.
 */
#ifndef SPENDGATE_PROBE_ANSWER_H
#define SPENDGATE_PROBE_ANSWER_H

#include <stdint.h>

#include "authorizer/verification.h"
#include "common/buf.h"
#include "common/error.h"
#include "common/request.h"
#include "common/settings.h"

/*
 * Write a whole answer as request_write does. To a denial of a request that carries a valid ticket
 * a header line is added, behind "Status:":
 *
 *   X-Spendgate-Doctor: version=0.1.0 role=authorizer apache=ACCESS_CHECKER unique_id=yes
 *   settings=01234567 store=89abcdef cache=yes server=Apache/2.4.62 (Debian)
 *
 * in one line. `role`: authorizer, responder or cgi. `mode` is there when the web server sets
 * SPENDGATE_MODE, `apache` when one of Apache's modules called, `cache` whether this process can
 * use the verification cache, `server` is the rest of the line.
 */
enum status probe_write_answer(const struct settings *settings, struct verification *verification,
                               struct request *request, int64_t now_us, const struct buf *answer,
                               struct error *err) MUST_CHECK;

#endif
